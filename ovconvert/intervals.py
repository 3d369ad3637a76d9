"""Estimates with their intervals, from raw samples: a median, a mean, a percentile, and how one set compares with another.

No method here draws random numbers: the same samples give the same interval. Order statistics and ranks need no law of
the noise, and one round that was twice as slow moves them little. A bootstrap was left out on purpose: it draws from what
was seen, so twenty samples would give a tight and wrong interval of P99, and below some ten samples any of its intervals is
too narrow. Where the samples are too few for ranks, Student's t of the logarithms stands in; where even that cannot bound,
an end is infinite.

All of it takes the samples as independent. Drift breaks that: measure two things in turns, give `paired=True`, and what
both share cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
ONE_SIGMA = 0.6827  # the level of an interval of one standard error to either side
POWER = 0.9  # of `samples_needed`: the chance that so many samples really settle it
MOST = 500  # samples of a set whose pairs are all looked at; of more, every n-th, which only widens the interval
EXACT_RANKS = 60  # signed ranks up to here are counted, above it their normal approximation is good to 1e-4
NORMAL_FROM = 1000  # degrees of freedom from which Student's t is taken as normal


@dataclass(frozen=True)
class Estimate:
    """A number and the ends of its interval. An end is infinite where the samples cannot bound it."""

    value: float
    low: float
    high: float


def mean(samples: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the mean of (n,) samples and Student's interval: mean ± t s / sqrt(n) (Student, 1908).

    One outlier moves it: of times, prefer the median. Raises ValueError for no samples or one that is not finite.
    """
    values = _finite(samples)
    half = _student_half_width(values, level)
    return Estimate(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half)


def median(samples: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the median of (n,) samples; interval of order statistics, see `percentile`.

    Below 6 samples (at 95 %) no pair of order statistics covers it, and Student's interval stands in: of the logarithms if
    all samples are positive, as times are. Raises ValueError for no samples or one that is not finite.
    """
    values = _finite(samples)
    by_rank = percentile(samples, 50, level)
    if math.isfinite(by_rank.low) or len(values) < 2:
        return by_rank
    if values.min() > 0:
        logs = np.log(values)
        half = _student_half_width(logs, level)
        return Estimate(by_rank.value, math.exp(logs.mean() - half), _exp(logs.mean() + half))
    centred = mean(samples, level)
    return Estimate(by_rank.value, centred.low, centred.high)


def percentile(samples: Sequence[float], q: float, level: float = LEVEL) -> Estimate:
    """Return the q-th percentile (0 < q < 100) of (n,) samples, its interval from order statistics.

    The number of samples below the true percentile is binomial (n, q / 100), whatever the law of the samples, so order
    statistics l and u with P(B < l) and P(B >= u) of at most (1 - level) / 2 each hold it (David and Nagaraja, Order
    Statistics, 3rd ed., section 7.1). The interval is exact or wider. An end that no sample can bound is infinite: the upper
    end of P90 needs 36 samples, that of P99 368. Raises ValueError for no samples, one that is not finite, or such a q.
    """
    if not 0 < q < 100:
        raise ValueError(f"percentile {q}: must lie between 0 and 100")
    values = np.sort(_finite(samples))
    below = np.cumsum(_binomial(len(values), q / 100))  # below[k] = P(B <= k)
    tail = (1 - level) / 2
    lower = int(np.searchsorted(below, tail, side="right"))  # the largest l with P(B <= l - 1) <= tail
    upper = int(np.searchsorted(below, 1 - tail, side="left")) + 1  # the smallest u with P(B <= u - 1) >= 1 - tail
    return Estimate(
        float(np.percentile(values, q)),
        float(values[lower - 1]) if lower >= 1 else -math.inf,
        float(values[upper - 1]) if upper <= len(values) else math.inf,
    )


def ratio(base: Sequence[float], new: Sequence[float], paired: bool, level: float = LEVEL) -> Estimate:
    """Return new / base, two sets of positive samples, with its interval.

    Paired: sample i of both is from one round, in which they were taken in turns. Of the logarithms of the n ratios, the
    median of all n (n + 1) / 2 pairwise means, with the interval that inverts Wilcoxon's signed-rank test (Hodges and
    Lehmann, 1963; Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd ed., chapter 3). It needs only that
    the log ratios lie symmetrically about their centre, which equal noise on both sides gives, outliers or not; it wants two
    thirds of the rounds that the plain median of the ratios wants for the same interval.

    Unpaired: the median of all differences of the logarithms, with the interval that inverts the Mann-Whitney test (same
    book, chapter 4). It holds for samples of one run of the machine; between two runs the machine drifts, and no
    formula can see that in the samples.

    Too few samples for ranks (below 6 rounds at 95 %): Student's interval, unpaired Welch's, of the logarithms. With one
    round nothing is bounded, and the interval is 0 to infinity.

    Raises ValueError for no samples, one that is not finite and positive, or pairs of unequal number.
    """
    before, after = _logs(base), _logs(new)
    if not paired:
        return _exponential(_shift(before, after, level))
    if len(before) != len(after):
        raise ValueError(f"{len(before)} and {len(after)} samples are not pairs")
    return _exponential(_centre(after - before, level))


def samples_needed(
    base: Sequence[float], new: Sequence[float], paired: bool, effect: float, level: float = LEVEL, power: float = POWER
) -> int:
    """Return how many rounds (unpaired: samples of each set) tell a change by the factor `effect` from none.

    n = ((z(1/2 + level/2) + z(power)) s / log(effect))^2, the usual size of a test of a mean (Cochran and Cox, Experimental
    Designs, 2nd ed., section 2.2). The spread s is the one that the samples at hand show, outliers and all: the standard
    error, half the width of the 68.27 % interval of `ratio`, times the square root of their number. One round shows no
    spread; then, and at least, the answer is `fewest`.

    `effect` is a ratio (1.05: 5 %), either side of 1 alike. Raises ValueError for an effect of 1, and as `ratio` does.
    """
    if not (math.isfinite(effect) and effect > 0 and effect != 1):
        raise ValueError(f"effect {effect}: must be a positive ratio other than 1")
    around = ratio(base, new, paired, ONE_SIGMA)
    if not math.isfinite(around.high):
        return fewest(paired, level)
    error = (math.log(around.high) - math.log(around.low)) / 2
    per_round = len(base) if paired else 2 / (1 / len(base) + 1 / len(new))
    reach = NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(power)
    wanted = math.ceil(per_round * (reach * error / math.log(effect)) ** 2)
    return max(wanted, fewest(paired, level))


def fewest(paired: bool, level: float = LEVEL) -> int:
    """Return the smallest number of rounds (unpaired: samples of each set) whose ranks bound a ratio at this level."""
    number = 2
    while (0.5**number if paired else 1 / math.comb(2 * number, number)) > (1 - level) / 2:
        number += 1
    return number


def _finite(samples: Sequence[float]) -> np.ndarray:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError("an estimate needs at least one sample, and all of them finite")
    return values


def _logs(samples: Sequence[float]) -> np.ndarray:
    values = _finite(samples)
    if values.min() <= 0:
        raise ValueError(f"a ratio needs positive samples; the smallest is {values.min():g}")
    logs: np.ndarray = np.log(values)
    return logs


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf  # exp overflows at 709


def _exponential(estimate: Estimate) -> Estimate:
    return Estimate(_exp(estimate.value), _exp(estimate.low), _exp(estimate.high))


def _thinned(values: np.ndarray) -> np.ndarray:
    return values[:: math.ceil(len(values) / MOST)]


def _centre(values: np.ndarray, level: float) -> Estimate:
    """Return the centre of symmetry of `values`: the median of their pairwise means, interval by signed ranks."""
    values = _thinned(values)
    rows, columns = np.triu_indices(len(values))
    means = np.sort((values[rows] + values[columns]) / 2)
    rank = _signed_rank(len(values), (1 - level) / 2)
    if rank:
        return Estimate(float(np.median(means)), float(means[rank - 1]), float(means[-rank]))
    half = _student_half_width(values, level)
    return Estimate(float(np.median(means)), float(values.mean()) - half, float(values.mean()) + half)


def _shift(before: np.ndarray, after: np.ndarray, level: float) -> Estimate:
    """Return by how much `after` lies above `before`: the median of all differences, interval by rank sums."""
    before, after = _thinned(before), _thinned(after)
    differences = np.sort(np.subtract.outer(after, before), axis=None)
    value = float(np.median(differences))
    rank = _rank_sum(len(before), len(after), (1 - level) / 2)
    if rank:
        return Estimate(value, float(differences[rank - 1]), float(differences[-rank]))
    half = _welch_half_width(before, after, level)
    centre = float(after.mean() - before.mean())
    return Estimate(value, centre - half, centre + half)


def _binomial(trials: int, chance: float) -> np.ndarray:
    """Return the probabilities of 0 .. trials successes, (trials + 1,)."""
    successes = range(trials + 1)
    ways = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in successes]
    return np.exp(
        [way + k * math.log(chance) + (trials - k) * math.log1p(-chance) for k, way in zip(successes, ways, strict=True)]
    )


@lru_cache(maxsize=256)
def _signed_rank(number: int, tail: float) -> int:
    """Return the largest c with P(T < c) <= tail, T the sum of the positive ranks of `number` values; 0 if there is none."""
    if number > EXACT_RANKS:
        spread = math.sqrt(number * (number + 1) * (2 * number + 1) / 24)
        return _normal_rank(number * (number + 1) / 4, spread, tail)
    chances = np.ones(1)
    for rank in range(1, number + 1):  # each rank is positive or not, by a coin
        without, with_it = np.pad(chances, (0, rank)), np.pad(chances, (rank, 0))
        chances = (without + with_it) / 2
    return int(np.searchsorted(np.cumsum(chances), tail, side="right"))


@lru_cache(maxsize=256)
def _rank_sum(first: int, second: int, tail: float) -> int:
    """Return the largest c with P(U < c) <= tail, U the statistic of Mann and Whitney; 0 if there is none."""
    all_ways = math.comb(first + second, first)
    if all_ways >= 2**53:  # more than a float64 counts
        return _normal_rank(first * second / 2, math.sqrt(first * second * (first + second + 1) / 12), tail)
    ways = np.zeros(first * second + 1)
    ways[0] = 1
    for i in range(1, first + 1):  # the Gaussian binomial coefficient: times (1 - x^(second + i)), over (1 - x^i)
        ways[second + i :] -= ways[: max(len(ways) - second - i, 0)].copy()
        for start in range(min(i, len(ways))):
            ways[start::i] = np.cumsum(ways[start::i])
    return int(np.searchsorted(np.cumsum(ways) / all_ways, tail, side="right"))


def _normal_rank(centre: float, spread: float, tail: float) -> int:
    return max(0, math.floor(centre + 0.5 + spread * NormalDist().inv_cdf(tail)))


def _student_half_width(values: np.ndarray, level: float) -> float:
    if len(values) < 2:
        return math.inf
    return student(len(values) - 1, level) * float(values.std(ddof=1)) / math.sqrt(len(values))


def _welch_half_width(before: np.ndarray, after: np.ndarray, level: float) -> float:
    """Return t sqrt(a + b), a and b the variances of the means; degrees of freedom by Welch (1947), rounded down."""
    if min(len(before), len(after)) < 2:
        return math.inf
    first, second = (float(values.var(ddof=1)) / len(values) for values in (before, after))
    if first + second == 0:
        return 0.0
    freedom = (first + second) ** 2 / (first**2 / (len(before) - 1) + second**2 / (len(after) - 1))
    return student(max(1, math.floor(freedom)), level) * math.sqrt(first + second)


@lru_cache(maxsize=256)
def student(freedom: int, level: float) -> float:
    """Return t such that Student's distribution of `freedom` degrees has `level` of its weight within ± t."""
    if freedom >= NORMAL_FROM:
        return NormalDist().inv_cdf((1 + level) / 2)
    low, high = 0.0, math.pi / 2  # of the angle atan(t / sqrt(freedom))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _student_within(angle: float, freedom: int) -> float:
    """Return the weight within ± sqrt(freedom) tan(angle): Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    odd = freedom % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (k - 1) / k
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
