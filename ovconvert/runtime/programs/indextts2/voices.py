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
SEMANTIC = "semantic_encoder"
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

    Each graph of the front end is compiled for a new recording and given back once it has run: together they have two thirds
    of a model's weights, and nothing else needs them.
    """

    def __init__(self, engine: Engine, settings: Mapping[str, Any]) -> None:
        self._engine = engine
        self._settings = settings
        self._voices: OrderedDict[tuple[str, float], Voice] = OrderedDict()
        self._emotions: OrderedDict[tuple[str, float], np.ndarray] = OrderedDict()

    def voice(self, path: Path, max_seconds: float, *, with_emotion: bool = False) -> Voice:
        """Return the voice in the recording at `path`, cut to `max_seconds`.

        A new one is heard for its emotion at the same time if that will be wanted. Raises UsageError if it is no recording,
        or too short to hear a voice in.
        """
        key = (_digest(path), max_seconds)
        if key not in self._voices:
            recording = audio.resample(_read(path, max_seconds), self._settings["mel"]["sample_rate"])
            low = audio.resample_sinc(recording.samples, recording.sample_rate, RATE)
            semantic = self._semantic(low)
            felt = self._semantic(_straight(path, max_seconds)) if with_emotion and key not in self._emotions else None
            self._engine.release(SEMANTIC)
            if felt is not None:
                self._feel(key, felt)
            _remember(self._voices, key, self._make_voice(recording, low, semantic))
        self._voices.move_to_end(key)
        return self._voices[key]

    def emotion(self, path: Path, max_seconds: float) -> np.ndarray:
        """Return the emotion vector (1, width) of the recording at `path`. Raises UsageError as `voice` does."""
        key = (_digest(path), max_seconds)
        if key not in self._emotions:
            felt = self._semantic(_straight(path, max_seconds))
            self._engine.release(SEMANTIC)
            self._feel(key, felt)
        self._emotions.move_to_end(key)
        return self._emotions[key]

    def _feel(self, key: tuple[str, float], semantic: np.ndarray) -> None:
        _remember(self._emotions, key, self._once("emotion_conditioner", "emotion", features=semantic))

    def _make_voice(self, recording: audio.Audio, low: np.ndarray, semantic: np.ndarray) -> Voice:
        style = self._once("speaker_encoder", "style", fbank=features.speaker_fbank(low))
        mel = features.log_mel(recording.samples, **self._settings["mel"])
        content = semantic
        conditioning = None
        if self._engine.manifest.has("semantic_codec"):
            content = self._once("semantic_codec", "quantized", features=semantic)
            conditioning = self._once("speaker_conditioner", "conditioning", features=semantic)
        index = nearest_index(content.shape[1], mel.shape[2])
        prompt = self._engine.run("length_regulator", content=content, index=index)["condition"]
        return Voice(prompt, mel, style, conditioning)

    def _semantic(self, samples: np.ndarray) -> np.ndarray:
        """Return normalised features (1, frames, width) of 16 kHz samples."""
        stacked, mask = features.semantic_features(samples)
        return self._engine.run(SEMANTIC, input_features=stacked, attention_mask=mask)["features"]

    def _once(self, name: str, output: str, **inputs: np.ndarray) -> np.ndarray:
        """Return one output of a graph, and give its memory back."""
        found = self._engine.run(name, **inputs)[output]
        self._engine.release(name)
        return found


def _straight(path: Path, max_seconds: float) -> np.ndarray:
    """Return the samples decoded straight to 16 kHz, as the reference does for emotion: not those the voice is made from."""
    return audio.resample(_read(path, max_seconds), RATE).samples


def _read(path: Path, max_seconds: float) -> audio.Audio:
    return audio.read_audio(path, max_seconds=max_seconds, min_seconds=SHORTEST_SECONDS)


def _digest(path: Path) -> str:
    """Return what tells a recording from another: the hash of its file, or its name if there is no file to read."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)


def _remember(known: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    known[key] = value
    while len(known) > REMEMBERED:
        known.popitem(last=False)
