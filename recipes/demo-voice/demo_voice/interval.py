"""Figures over utterances with their 95 % bootstrap intervals, seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
OUTSIDE = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Figure:
    """A figure over `count` utterances, and the interval that holds 95 % of what resampled utterances give."""

    value: float
    low: float
    high: float
    count: int


def mean(values: Sequence[float], seed: int = 0) -> Figure:
    """Return the mean of one value per utterance. Raises ValueError if there is none."""
    return ratio(values, [1.0] * len(values), seed)


def ratio(above: Sequence[float], below: Sequence[float], seed: int = 0) -> Figure:
    """Return sum(above) / sum(below), utterances drawn anew as pairs. Raises ValueError if there is none."""
    top, bottom = _array(above), _array(below)
    drawn = np.random.default_rng(seed).integers(len(top), size=(DRAWS, len(top)))
    return _figure(top.sum() / bottom.sum(), top[drawn].sum(axis=1) / bottom[drawn].sum(axis=1), len(top))


def difference(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> Figure:
    """Return mean(ours) - mean(theirs), each drawn anew on its own; `count` is that of ours. Raises ValueError if either is
    empty."""
    rng = np.random.default_rng(seed)
    first, second = _array(ours), _array(theirs)
    means = [one[rng.integers(len(one), size=(DRAWS, len(one)))].mean(axis=1) for one in (first, second)]
    return _figure(first.mean() - second.mean(), means[0] - means[1], len(first))


def _array(values: Sequence[float]) -> np.ndarray:
    if not len(values):
        raise ValueError("no utterances to take a figure of")
    return np.asarray(values, np.float64)


def _figure(value: float, drawn: np.ndarray, count: int) -> Figure:
    low, high = np.percentile(drawn, OUTSIDE)
    return Figure(round(float(value), 5), round(float(low), 5), round(float(high), 5), count)
