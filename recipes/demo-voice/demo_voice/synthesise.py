"""Full synthesis of the test set: by the checkpoint's PyTorch networks, or by the IRs of a package made from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demo_voice.corpus import STYLES
from demo_voice.spoken import Spoken
from demo_voice.testset import Row
from ovconvert.baselines.pytorch import TorchEngine
from ovconvert.runtime import Request, open_package
from ovconvert.runtime.programs.indextts2 import Program

NO_EMOTION = "calm"  # what the voices' recordings are spoken in: nothing is asked for then


def open_original(checkpoint: Path, package: Path) -> Any:
    """Return the program of `package` with the PyTorch networks of `checkpoint` in place of its IRs."""
    return Program(TorchEngine(checkpoint, package))  # type: ignore[arg-type]


def open_irs(package: Path, threads: int | None = None) -> Any:
    """Return the program of `package`."""
    return open_package(package, threads=threads)


def emotion(style: str) -> tuple[float, ...] | None:
    """Return the emotion vector of a style, None for the voice's own."""
    return None if style == NO_EMOTION else tuple(float(name == style) for name in STYLES)


def synthesise(program: Any, rows: Sequence[Row], voices: Path, *, seed: int = 0, **settings: Any) -> Iterator[Spoken]:
    """Yield each row's text in its speaker's voice and style; utterance i has the seed `seed` + i."""
    for number, row in enumerate(rows):
        request = Request(
            voice=voices / f"{row.speaker}.wav", emotion_vector=emotion(row.style), seed=seed + number, **settings
        )
        speech = program.speak(f"{row.text}.", request)
        finished = not any("limit" in note for note in speech.notes)
        samples = np.asarray(speech.samples, np.float32)
        yield Spoken(row.text, row.speaker, row.style, samples, finished, settings.get("speed", 1.0))
