"""Whether a change of a mean means something: its interval, the noise floor of the reference, and a verdict.

The interval is the percentile interval of the paired bootstrap: utterances are drawn anew, with replacement, each with the
values of both sides, and the change of the mean is taken each time (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, sections 13.3 and 15.4). Below some ten utterances it is too narrow.

The noise floor says what chance alone does. The reference speaks once more with another seed; which of its two takes of an
utterance comes first is a coin's matter, so their differences, drawn anew with random signs, show how the change of a mean
is spread when nothing has changed. The floor is the 95th percentile of its size. Where nothing is drawn (the same speech
codes, the same noise) a reference that is measured twice gives the same number twice, and the floor is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovconvert.intervals import LEVEL, Estimate
from ovconvert.quality.metric import Metric

BETTER, SAME, WORSE, UNCLEAR = "better", "same", "worse", "unclear"
DRAWS = 4000
FEW = 10  # utterances: below, intervals are too narrow


@dataclass(frozen=True)
class Change:
    """What became of a metric: both means, the change with its interval, the noise floor, and the verdict.

    `other_seed` is the mean of the reference's takes with another seed.
    """

    metric: Metric
    reference: float
    candidate: float
    change: Estimate
    floor: float
    verdict: str
    per_utterance: tuple[float, ...]  # changes
    other_seed: float

    @property
    def loss(self) -> float:
        """Return by how much the mean became worse; negative if it became better."""
        return -self.change.value if self.metric.better == "higher" else self.change.value

    @property
    def in_the_noise(self) -> bool:
        """Tell whether chance alone makes such a change."""
        return abs(self.change.value) <= self.floor


def judge(
    metric: Metric,
    reference: Sequence[float],
    candidate: Sequence[float],
    again: Sequence[float],
    weights: Sequence[float],
    *,
    exact: bool = False,
    seed: int = 0,
) -> Change:
    """Return what became of a metric from `reference` to `candidate`: a value per utterance each, in the same order.

    `again` are the values of the reference's takes with another seed. Means weigh utterances by `weights`. With `exact`
    nothing was drawn by chance between the two, so the noise floor is zero. Raises ValueError for no utterances, or values
    that are no numbers: what failed counts as the metric's worst, and that is a number.
    """
    first, second, third, weight = (np.asarray(one, np.float64) for one in (reference, candidate, again, weights))
    if not len(first) or not np.isfinite([*first, *second, *third]).all():
        raise ValueError(f"{metric.name}: needs a finite value for every one of at least one utterance")
    delta = second - first
    change = mean(delta, weight, seed)
    floor = 0.0 if exact else noise_floor(third - first, weight, seed)
    verdict = _verdict(metric, change, floor)
    means = (float(_mean(values, weight)) for values in (first, second, third))
    before, after, other = means
    return Change(metric, before, after, change, floor, verdict, tuple(delta.tolist()), other)


def mean(values: Sequence[float] | np.ndarray, weights: Sequence[float] | np.ndarray, seed: int = 0) -> Estimate:
    """Return the weighted mean of a value per utterance, with its bootstrap interval. Infinite values make it infinite."""
    value, weight = (np.asarray(one, np.float64) for one in (values, weights))
    if not np.isfinite(value).all():
        return Estimate(float(_mean(value, weight)), -np.inf, np.inf)
    drawn = np.random.default_rng(seed).integers(len(value), size=(DRAWS, len(value)))
    tails = 50 * (1 - LEVEL)
    low, high = (float(end) for end in np.percentile(_mean(value[drawn], weight[drawn]), (tails, 100 - tails)))
    return Estimate(float(_mean(value, weight)), low, high)


def noise_floor(differences: np.ndarray, weights: np.ndarray, seed: int = 0) -> float:
    """Return the 95th percentile of the size of the mean of `differences` (utterances,), drawn anew with random signs."""
    rng = np.random.default_rng([seed, 1])
    drawn = rng.integers(len(differences), size=(DRAWS, len(differences)))
    signs = rng.choice((-1.0, 1.0), size=drawn.shape)
    return float(np.percentile(np.abs(_mean(differences[drawn] * signs, weights[drawn])), 100 * LEVEL))


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    found: np.ndarray = (values * weights).sum(-1) / weights.sum(-1)
    return found


def _verdict(metric: Metric, change: Estimate, floor: float) -> str:
    """Same: the whole interval is smaller than what matters. Better or worse: it lies on one side of zero, and the change
    is beyond the floor. Unclear: neither."""
    if max(abs(change.low), abs(change.high)) <= metric.matters:
        return SAME
    sure = change.low > 0 or change.high < 0
    if not sure or abs(change.value) <= floor:
        return UNCLEAR
    return BETTER if (change.value > 0) == (metric.better == "higher") else WORSE
