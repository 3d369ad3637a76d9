"""Who speaks: a speaker that the checkpoint stores, or the one of a recording (spec sections 2 and 3.2)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.runtime import audio, features
from ovconvert.runtime.engine import Engine

RATE = 16000  # of the speaker encoder and of the speech tokenizer; a recording with less lacks what they listen to
LONGEST_SECONDS = 30.0  # which the speech tokenizer was made for
SHORTEST_SECONDS = 0.5
REMEMBERED = 64  # recordings
FRONT_END = ("speaker_encoder", "speech_tokenizer")


@dataclass(frozen=True)
class Voice:
    """A speaker's vector (1, 192); of a recording also the speech tokens (n,) and the natural-log mel (1, bands, frames).

    A stored speaker has none of either.
    """

    speaker: np.ndarray
    codes: np.ndarray
    mel: np.ndarray

    def last(self, codes: int, frames: int) -> Voice:
        """Return the voice with no more than the last so many speech tokens, and frames, of its recording."""
        if len(self.codes) <= codes:
            return self
        return Voice(self.speaker, self.codes[-codes:], np.ascontiguousarray(self.mel[:, :, -frames:]))


class Voices:
    """Finds stored speakers; hears recordings, remembered by the content of the file.

    The graphs of the front end are given back when a recording was heard: they have a third of a model's weights.
    """

    def __init__(self, engine: Engine, settings: Mapping[str, Any], vectors: np.ndarray) -> None:
        self._engine = engine
        self._settings = settings
        self._vectors = vectors
        self._heard: OrderedDict[tuple[str, float], Voice] = OrderedDict()

    def stored(self, name: str | None) -> Voice:
        """Return the stored speaker called `name`, the first if it is None. Raises UsageError if there is none."""
        names: list[str] = self._settings["speakers"]
        if not names:
            raise UsageError(
                "the package has no stored speaker, as its checkpoint had no spk2info.pt: give a recording with --voice, or "
                "export a checkpoint that has one"
            )
        if name is not None and name not in names:
            raise UsageError(f"no stored speaker {name!r}; have: {', '.join(names)}")
        row = 0 if name is None else names.index(name)
        silence = np.zeros((1, self._settings["mel"]["n_mels"], 0), np.float32)
        return Voice(self._vectors[row : row + 1], np.zeros(0, np.int64), silence)

    def heard(self, path: Path, max_seconds: float, *, whole: bool = False) -> Voice:
        """Return the voice in the recording at `path`, cut to `max_seconds`, and to 30 at most.

        Raises UsageError if it is no recording or not one to hear a voice in, if it would be cut and must stay `whole`, and
        if the package has no front end.
        """
        missing = [name for name in FRONT_END if not self._engine.manifest.has(name)]
        if missing:
            raise UsageError(
                f"the package has no {' and no '.join(missing)}, so it cannot hear a recording: its checkpoint directory "
                "lacked the ONNX files; give a stored speaker with --speaker, or export a whole directory"
            )
        longest = min(max_seconds, LONGEST_SECONDS)
        recording = audio.read_audio(path, max_seconds=longest + 1.0, min_seconds=SHORTEST_SECONDS)
        if recording.sample_rate < RATE:
            raise UsageError(f"{path} has {recording.sample_rate} Hz; at least {RATE} are needed to hear a voice")
        if whole and recording.seconds > longest:
            raise UsageError(
                f"{path} is longer than {longest:g} s and would be cut, so that its text would say too much; give a shorter "
                f"one, a higher --max-reference-seconds (at most {LONGEST_SECONDS:g}), or an empty --voice-text"
            )
        key = (hashlib.sha256(path.read_bytes()).hexdigest(), longest)
        if key not in self._heard:
            count = int(longest * recording.sample_rate)
            self._heard[key] = self._listen(audio.Audio(recording.samples[:count], recording.sample_rate))
            while len(self._heard) > REMEMBERED:
                self._heard.popitem(last=False)
        self._heard.move_to_end(key)
        return self._heard[key]

    def _listen(self, recording: audio.Audio) -> Voice:
        low = audio.resample_sinc(recording.samples, recording.sample_rate, RATE)
        speaker = self._engine.run("speaker_encoder", fbank=features.speaker_fbank(low))["speaker"]
        spectrum = features.decade_mel(low, **self._settings["spectrum"])[None]
        frames = np.array([spectrum.shape[2]], np.int32)
        codes = self._engine.run("speech_tokenizer", mel=spectrum, frames=frames)["codes"]
        self._engine.release(*FRONT_END)
        mel_settings = self._settings["mel"]
        # as the original: the mel is of the 16 kHz signal too, and reaches to 8 kHz
        mel = features.log_mel(audio.resample_sinc(low, RATE, mel_settings["sample_rate"]), **mel_settings)
        return Voice(speaker, codes.reshape(-1).astype(np.int64), mel)


def spoken(path: Path, given: str | None) -> str:
    """Return what is said in the recording at `path`: as given, else from the text file beside it, "" if it is not known.

    Raises UsageError for a file that is not UTF-8.
    """
    beside = path.with_suffix(".txt")
    if given is not None or not beside.is_file():
        return given or ""
    try:
        return beside.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"{beside} is not UTF-8: {error}") from error
