"""What is generated from, drawn anew for every turn: ids, or a window of sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ovconvert.runtime.audio import read_audio, resample

LOUDNESS = 0.1  # of drawn sound: its deviation, where full scale is 1


class Source(Protocol):
    """Something to go on from, of one size."""

    @property
    def case(self) -> str:
        """How reports name it."""

    @property
    def positions(self) -> int:
        """How many positions it takes of those that the tokens have to share with it."""

    def draw(self, rng: np.random.Generator) -> Any:
        """Return the ids, or the samples (count,) float32."""


@dataclass(frozen=True)
class Ids:
    """So many ids of a vocabulary. `name` is what they are to the model: its prompt, or what its encoder reads."""

    name: str
    count: int
    vocabulary: int

    @property
    def case(self) -> str:
        """Return how reports name it."""
        return f"{self.name}={self.count}"

    @property
    def positions(self) -> int:
        """Return the length."""
        return self.count

    def draw(self, rng: np.random.Generator) -> list[int]:
        """Return ids drawn from the whole vocabulary, as no text has them."""
        return [int(code) for code in rng.integers(0, self.vocabulary, self.count)]


@dataclass(frozen=True)
class Noise:
    """A full window of noise."""

    samples: int
    rate: int
    positions: int = 0

    @property
    def case(self) -> str:
        """Return how reports name it."""
        return f"noise={self.samples / self.rate:g} s"

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return white noise."""
        return LOUDNESS * rng.standard_normal(self.samples, np.float32)


@dataclass(frozen=True)
class Recording:
    """The first window of a recording, the same every time; silence behind one that is shorter."""

    path: Path
    samples: int
    rate: int
    positions: int = 0

    @property
    def case(self) -> str:
        """Return how reports name it."""
        return f"recording={self.path.name}"

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return its samples. Raises UsageError if it cannot be read."""
        heard = resample(read_audio(self.path, allow_silence=True), self.rate).samples[: self.samples]
        return np.pad(heard, (0, self.samples - len(heard))).astype(np.float32)
