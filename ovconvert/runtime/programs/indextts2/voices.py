"""What a reference recording gives: features, style, mel and prompt, computed once per voice (spec sections 1 and 4)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.runtime import audio, features
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.resize import nearest_index

RATE = 16000  # of the semantic and the speaker features
REMEMBERED = 64  # voices
# What nothing but a new voice needs: two thirds of the weights, and of the memory of a program that kept them.
FRONT_END = ("semantic_encoder", "semantic_codec", "speaker_encoder", "speaker_conditioner", "emotion_conditioner")
SHORTEST_SECONDS = 0.5  # below this the conformer has too few frames, and no voice can be heard


@dataclass(frozen=True)
class Voice:
    """A speaker.

    `prompt` (1, frames, channels) is the regulated content of the recording, `mel` (1, bands, frames) its natural-log mel,
    `style` (1, 192) the speaker vector, `conditioning` (1, rows, width) what the language model reads in version 2.0.
    """

    prompt: np.ndarray
    mel: np.ndarray
    style: np.ndarray
    conditioning: np.ndarray | None


class Voices:
    """Voices and emotion vectors of recordings, remembered by the content of the file.

    `release` gives back the memory of the graphs that made new ones; the next new voice compiles them again.
    """

    def __init__(self, engine: Engine, settings: Mapping[str, Any]) -> None:
        self._engine = engine
        self._settings = settings
        self._voices: OrderedDict[tuple[str, float], Voice] = OrderedDict()
        self._emotions: OrderedDict[tuple[str, float], np.ndarray] = OrderedDict()
        self._used = False  # the front end, since it was last released

    def voice(self, path: Path, max_seconds: float) -> Voice:
        """Return the voice in the recording at `path`, cut to `max_seconds`.

        Raises UsageError if it is no recording, or too short to hear a voice in.
        """
        key = (_digest(path), max_seconds)
        if key not in self._voices:
            _remember(self._voices, key, self._make_voice(path, max_seconds))
        self._voices.move_to_end(key)
        return self._voices[key]

    def emotion(self, path: Path, max_seconds: float) -> np.ndarray:
        """Return the emotion vector (1, width) of the recording at `path`. Raises UsageError as `voice` does."""
        key = (_digest(path), max_seconds)
        if key not in self._emotions:
            # decoded straight to 16 kHz, as the reference does for emotion: not the samples that the voice is made from
            recording = audio.resample(_read(path, max_seconds), RATE)
            found = self._engine.run("emotion_conditioner", features=self._semantic(recording.samples))["emotion"]
            _remember(self._emotions, key, found)
        self._emotions.move_to_end(key)
        return self._emotions[key]

    def release(self) -> None:
        """Give back the memory of the front end, if a voice was made with it."""
        if self._used:
            self._engine.release(*FRONT_END)
            self._used = False

    def _make_voice(self, path: Path, max_seconds: float) -> Voice:
        mel_settings = self._settings["mel"]
        recording = audio.resample(_read(path, max_seconds), mel_settings["sample_rate"])
        low = audio.resample_sinc(recording.samples, recording.sample_rate, RATE)
        semantic = self._semantic(low)
        style = self._engine.run("speaker_encoder", fbank=features.speaker_fbank(low))["style"]
        mel = features.log_mel(recording.samples, **mel_settings)
        content = semantic
        conditioning = None
        if self._engine.manifest.has("semantic_codec"):
            content = self._engine.run("semantic_codec", features=semantic)["quantized"]
            conditioning = self._engine.run("speaker_conditioner", features=semantic)["conditioning"]
        index = nearest_index(content.shape[1], mel.shape[2])
        prompt = self._engine.run("length_regulator", content=content, index=index)["condition"]
        return Voice(prompt, mel, style, conditioning)

    def _semantic(self, samples: np.ndarray) -> np.ndarray:
        """Return normalised features (1, frames, width) of 16 kHz samples."""
        self._used = True
        stacked, mask = features.semantic_features(samples)
        return self._engine.run("semantic_encoder", input_features=stacked, attention_mask=mask)["features"]


def _read(path: Path, max_seconds: float) -> audio.Audio:
    return audio.read_audio(path, max_seconds=max_seconds, min_seconds=SHORTEST_SECONDS)


def _digest(path: Path) -> str:
    """Return what tells a recording from another: the hash of its file, or its name if there is no file to read."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)


def _remember(known: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    known[key] = value
    while len(known) > REMEMBERED:
        known.popitem(last=False)
