"""What a measure of audio is: name and unit, which way is better, what a failed utterance counts as, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np

RATE = 16000  # Hz; every take is judged at this rate, which all listeners here want


@dataclass(frozen=True, eq=False)
class Take:
    """One utterance as one side spoke it: `samples` (count,) float32 in [-1, 1] at RATE.

    `voice` are the samples (count,) of the recording whose voice was asked for. `finished` is false if the tokens ran into
    their limit.
    """

    text: str
    samples: np.ndarray
    voice: np.ndarray
    finished: bool = True

    @property
    def seconds(self) -> float:
        """Return the duration."""
        return len(self.samples) / RATE


GIVEN, APART, FREE = "same codes", "another seed", "free running"
"""How takes are held against the reference's.

GIVEN: both are given the reference's speech codes and draw the same noise, so a candidate that computes the same sounds the
same, and the reference beside itself is perfect. APART: the codes are given, the noise is of another seed, for the reference
too; so a candidate may sound otherwise, but not worse. FREE: a take of free running by itself; what is said of it is
compared with what is said of the reference's."""

Listen = Callable[[Take, Take], tuple[float, ...]]
"""(what is judged, what it is held against) -> a value per metric. A single-sided listener ignores the second.

Raises ValueError where there is nothing to judge; that counts as the worst."""


@dataclass(frozen=True)
class Metric:
    """One number about a take.

    `worst` is what a failed utterance counts as. `matters` is the smallest change of a mean that is worth a word. With
    `per_word` a mean weighs utterances by their words.
    """

    name: str
    unit: str
    better: str
    worst: float
    matters: float
    per_word: bool = False


@dataclass(frozen=True)
class Instrument:
    """Something that listens: what it tells, what it wants to be installed, and how it is opened.

    `held` is GIVEN, APART or FREE. `made_of` returns what its numbers are made of: those of different make-up are never
    compared.
    """

    metrics: tuple[Metric, ...]
    held: str
    open: Callable[[], Listen]
    made_of: Callable[[], str]
    needs: tuple[str, ...] = ()
    install: str = ""  # how to get what it needs

    def missing(self) -> tuple[str, ...]:
        """Return the modules that are not installed."""
        return tuple(name for name in self.needs if find_spec(name) is None)


def of_package(distribution: str) -> str:
    """Return a package's name and version, as a make-up tells them."""
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"{distribution} of unknown version"
