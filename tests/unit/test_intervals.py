"""Intervals hold what they promise: against the printed tables, and counted over seeded noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from ovconvert import intervals
from ovconvert.intervals import Estimate, mean, median, percentile, ratio, samples_needed

TRIALS = 200
NORMAL = 1.96 * math.sqrt(0.95 * 0.05 / TRIALS)  # two standard errors of a coverage of 95 % counted so often


def covered(make: Callable[[np.random.Generator], Estimate], truth: float) -> float:
    """Return the share of seeded trials whose interval holds the truth."""
    found = [make(np.random.default_rng(seed)) for seed in range(TRIALS)]
    return sum(estimate.low <= truth <= estimate.high for estimate in found) / TRIALS


def jitter(rng: np.random.Generator, rounds: int, sigma: float = 0.08) -> np.ndarray:
    """Return log-normal factors about 1, (rounds,), every thirtieth or so twice as large."""
    return np.exp(rng.normal(0, sigma, rounds)) * np.where(rng.random(rounds) < 0.03, 2.0, 1.0)


@pytest.mark.parametrize(("freedom", "t"), [(1, 12.706), (2, 4.303), (4, 2.776), (5, 2.571), (29, 2.045), (5000, 1.960)])
def test_student_is_that_of_the_tables(freedom: int, t: float) -> None:
    assert intervals.student(freedom, 0.95) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize(("number", "rank"), [(5, 0), (6, 1), (7, 3), (8, 4), (10, 9), (20, 53), (25, 90)])
def test_signed_ranks_are_those_of_the_tables(number: int, rank: int) -> None:
    assert intervals._signed_rank(number, 0.025) == rank


@pytest.mark.parametrize(
    ("sizes", "rank"), [((3, 3), 0), ((4, 4), 1), ((3, 5), 1), ((5, 5), 3), ((10, 10), 24), ((8, 12), 23)]
)
def test_rank_sums_are_those_of_the_tables(sizes: tuple[int, int], rank: int) -> None:
    assert intervals._rank_sum(*sizes, 0.025) == intervals._rank_sum(*sizes[::-1], 0.025) == rank


def test_the_normal_ranks_continue_the_counted_ones() -> None:
    assert [intervals._signed_rank(number, 0.025) for number in (60, 61, 62)] == [649, 673, 697]
    sums = [intervals._rank_sum(number, number, 0.025) for number in (26, 27, 28, 29, 30)]
    assert np.diff(sums).min() >= 19 and np.diff(sums).max() <= 25


@pytest.mark.parametrize(
    ("make", "truth", "least", "most"),
    [
        (lambda rng: mean(rng.normal(3, 1, 10)), 3, 0.95, 0.95),
        (lambda rng: median(rng.lognormal(1, 0.5, 25)), math.e, 0.957, 0.957),  # order statistics: exact, not 95 %
        (lambda rng: median(rng.lognormal(1, 0.1, 3)), math.e, 0.95, 0.95),  # too few for them: Student's of the logs
        (lambda rng: percentile(rng.exponential(1, 60), 90), math.log(10), 0.95, 0.98),
        (lambda rng: ratio(jitter(rng, 30), 1.1 * jitter(rng, 30), True), 1.1, 0.95, 0.96),
        (lambda rng: ratio(jitter(rng, 4), 1.1 * jitter(rng, 4), True), 1.1, 0.95, 0.99),
        (lambda rng: ratio(jitter(rng, 30), 1.1 * jitter(rng, 20), False), 1.1, 0.95, 0.96),
        (lambda rng: ratio(jitter(rng, 80), 1.1 * jitter(rng, 80), False), 1.1, 0.95, 0.95),
    ],
    ids=["mean", "median", "median of 3", "P90", "paired", "paired of 4", "unpaired", "unpaired, many"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    make: Callable[[np.random.Generator], Estimate], truth: float, least: float, most: float
) -> None:
    share = covered(make, truth)
    assert least - NORMAL <= share <= min(1.0, most + NORMAL)


def test_what_both_of_a_round_share_cancels_in_pairs_only() -> None:
    def drifted(rng: np.random.Generator, paired: bool) -> Estimate:
        drift = np.exp(np.cumsum(rng.normal(0, 0.1, 40)))
        return ratio(drift * jitter(rng, 40, 0.03), 1.1 * drift * jitter(rng, 40, 0.03), paired)

    pairs, apart = (drifted(np.random.default_rng(1), paired) for paired in (True, False))
    assert pairs.low < 1.1 < pairs.high
    assert (apart.high / apart.low - 1) > 3 * (pairs.high / pairs.low - 1)


def test_an_outlier_moves_the_mean_and_not_the_median() -> None:
    samples = [*np.linspace(9.9, 10.1, 20), 1000.0]
    assert mean(samples).value > 50
    assert median(samples).high < 10.2


@pytest.mark.parametrize("q", [50, 90, 99])
def test_an_end_that_nothing_bounds_is_infinite(q: int) -> None:
    fewest = {50: 6, 90: 36, 99: 368}[q]
    assert percentile(range(fewest), q).high == fewest - 1
    assert percentile(range(fewest - 1), q).high == math.inf


def test_one_sample_bounds_nothing() -> None:
    assert ratio([2.0], [3.0], paired=True) == Estimate(pytest.approx(1.5), 0.0, math.inf)
    assert ratio([2.0], [3.0, 3.1], paired=False).high == math.inf
    assert mean([2.0]) == median([2.0]) == Estimate(2.0, -math.inf, math.inf)


def test_equal_samples_are_a_ratio_of_exactly_one() -> None:
    samples = [1.1, 1.3, 0.7, 1.2, 5.0, 1.0, 1.05]
    assert ratio(samples, samples, paired=True) == Estimate(1.0, 1.0, 1.0)


def test_a_ratio_turned_round_is_its_inverse() -> None:
    rng = np.random.default_rng(5)
    base, new = jitter(rng, 25), jitter(rng, 25)
    for paired in (True, False):
        there, back = ratio(base, new, paired), ratio(new, base, paired)
        assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx((there.value, there.low, there.high))


def test_a_higher_level_is_a_wider_interval() -> None:
    rng = np.random.default_rng(6)
    base, new = jitter(rng, 25), jitter(rng, 25)
    narrow, wide = (ratio(base, new, True, level) for level in (0.9, 0.999))
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high


def test_very_many_samples_are_thinned() -> None:
    rng = np.random.default_rng(7)
    base, new = jitter(rng, 30_000, 0.02), 1.1 * jitter(rng, 30_000, 0.02)
    for paired in (True, False):
        found = ratio(base, new, paired)
        assert 1.09 < found.low < 1.1 < found.high < 1.11


def test_so_many_samples_as_needed_do_tell() -> None:
    rng = np.random.default_rng(8)
    for paired in (True, False):
        number = samples_needed(jitter(rng, 300), jitter(rng, 300), paired, 1.05)
        assert 50 < number < 120
        told = [ratio(jitter(rng, number), 1.05 * jitter(rng, number), paired).low > 1 for _ in range(100)]
        assert 0.82 < np.mean(told) < 0.98  # 90 % was asked
        few = [ratio(jitter(rng, number // 4), 1.05 * jitter(rng, number // 4), paired).low > 1 for _ in range(100)]
        assert np.mean(few) < 0.6


def test_samples_needed_grow_with_the_noise_and_shrink_with_the_effect() -> None:
    rng = np.random.default_rng(9)
    quiet, loud = jitter(rng, 100, 0.02), jitter(rng, 100, 0.1)
    assert samples_needed(quiet, quiet[::-1], True, 1.05) < samples_needed(loud, loud[::-1], True, 1.05)
    assert samples_needed(loud, loud[::-1], True, 1.1) < samples_needed(loud, loud[::-1], True, 1.05)
    assert samples_needed(quiet, quiet, True, 1.05) == intervals.fewest(True) == 6


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: median([]), "at least one sample"),
        (lambda: mean([1.0, math.nan]), "all of them finite"),
        (lambda: percentile([1.0], 100), "between 0 and 100"),
        (lambda: ratio([1.0, 2.0], [1.0], paired=True), "2 and 1 samples are not pairs"),
        (lambda: ratio([1.0, 0.0], [1.0, 1.0], paired=True), "positive"),
        (lambda: samples_needed([1.0], [1.0], True, 1.0), "effect 1"),
        (lambda: samples_needed([1.0, 2.0], [1.0], True, 1.1), "not pairs"),
    ],
)
def test_what_no_estimate_can_be_made_of_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
