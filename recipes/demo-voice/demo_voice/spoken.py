"""One utterance to be measured: what was to be said, by whom and how, and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
INDEX = "spoken.json"


@dataclass(frozen=True, eq=False)
class Spoken:
    """`samples` are (count,) float32 in [-1, 1] at 16 kHz; `finished` is false if the tokens ran into their limit."""

    text: str
    speaker: str
    style: str
    samples: np.ndarray
    finished: bool = True
    speed: float = 1.0  # as asked for: 1.25 is a quarter faster

    @property
    def seconds(self) -> float:
        """Return the duration."""
        return len(self.samples) / RATE


def save(rows: Iterable[Spoken], dest: Path) -> None:
    """Write each utterance as a WAV file of int16 into `dest`, and `spoken.json` beside them."""
    dest.mkdir(parents=True, exist_ok=True)
    index = []
    for number, row in enumerate(rows):
        name = f"{number:04d}_{row.speaker}_{row.style}.wav"
        soundfile.write(dest / name, row.samples, RATE, "PCM_16")
        index.append(
            {"file": name, "text": row.text, "speaker": row.speaker, "style": row.style}
            | {"finished": row.finished, "speed": row.speed}
        )
    (dest / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def load(source: Path) -> list[Spoken]:
    """Read what `save` wrote. Raises ValueError if a file is not mono at 16 kHz."""
    rows = []
    for entry in json.loads((source / INDEX).read_text(encoding="utf-8")):
        samples = read(source / entry.pop("file"))
        rows.append(Spoken(samples=samples, **entry))
    return rows


def read(path: Path) -> np.ndarray:
    """Return the samples (count,) float32 of an audio file. Raises ValueError if it is not mono at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise ValueError(f"{path}: mono audio at {RATE} Hz expected, found shape {samples.shape} at {rate} Hz")
    return samples
