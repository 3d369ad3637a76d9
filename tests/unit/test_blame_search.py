"""The search for culprits, errors of outputs, and how components are ranked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from ovconvert.blame.components import Share, severity
from ovconvert.blame.outputs import decibels, error
from ovconvert.blame.search import LEAST_SHARE, worst_first
from ovconvert.blame.weights import Distance, odd_ones
from ovconvert.intervals import Estimate
from ovconvert.quality import mos
from ovconvert.quality.verdicts import Change

NAMES = tuple(f"layer {number}" for number in range(64))


class Costs:
    """Costs of things that add up, and how often a group was measured."""

    def __init__(self, costs: dict[str, float], rest: float = 0.0) -> None:
        self.costs, self.rest, self.trials = costs, rest, 0

    def __call__(self, group: Sequence[str]) -> float:
        self.trials += 1
        return sum(self.costs.get(name, self.rest) for name in group)


@pytest.mark.parametrize("culprit", ["layer 0", "layer 41", "layer 63"])
def test_one_culprit_takes_few_measurements(culprit: str) -> None:
    costs = Costs({culprit: 1.0}, rest=1e-4)
    first, rest = worst_first(NAMES, costs, 5)
    assert (first.names, first.cost) == ((culprit,), 1.0)
    assert costs.trials == 1 + 2 * math.log2(len(NAMES))
    assert set(rest.names) == set(NAMES) - {culprit} and rest.cost == pytest.approx(63e-4)


def test_several_culprits_come_in_order_and_no_more_than_asked() -> None:
    costs = {"layer 5": 3.0, "layer 6": 5.0, "layer 50": 4.0, "layer 9": 2.0}
    found = list(worst_first(NAMES, Costs(costs), 3))
    assert [one.names for one in found[:3]] == [("layer 6",), ("layer 50",), ("layer 5",)]
    assert "layer 9" in found[3].names and len(found) == 4


def test_what_everybody_shares_is_not_told_apart() -> None:
    costs = Costs({}, rest=1.0)
    (rest,) = worst_first(NAMES, costs, 5)
    assert rest.names == NAMES and rest.cost == 64.0
    assert costs.trials < 2 / LEAST_SHARE * 2


def test_nothing_and_everything_end_the_search() -> None:
    assert list(worst_first((), Costs({}), 5)) == []
    (rest,) = worst_first(NAMES, Costs({}), 5)
    assert rest.cost == 0.0
    assert next(worst_first(NAMES, Costs({"layer 7": math.inf}), 5)).names == ("layer 7",)


def test_errors_of_outputs() -> None:
    one = np.array([3.0, 4.0], np.float32)
    expected = [{"x": one, "codes": np.array([1, 2, 3, 4])}]
    assert error(expected, expected) == 0.0
    found = [{"x": one + np.array([0.5, 0.0], np.float32), "codes": np.array([1, 2, 3, 5])}]
    assert error(expected, found) == pytest.approx((0.01 + 0.25) / 2)
    assert error([{"x": one}], [{"x": one * np.nan}]) == math.inf
    assert error([{"x": one}], [{"x": one[:1]}]) == math.inf
    assert (decibels(0.0), decibels(0.01), decibels(math.inf)) == (math.inf, pytest.approx(20.0), -math.inf)


def test_weights_stand_out_among_those_stored_alike() -> None:
    rounded = [Distance("decoder", f"h.{number}", 1e-4, "u8") for number in range(5)]
    halved = [Distance("vocoder", f"c.{number}", 1e-7, "f16") for number in range(5)]
    same = Distance("vocoder", "same", 0.0, "f16")
    wrong = Distance("decoder", "wrong", 0.25, "u8")
    coarse = Distance("vocoder", "coarse", 1e-3, "f16")  # fine for u8, not for f16
    assert odd_ones([*rounded, *halved, same]) == []
    odd = odd_ones([*rounded, coarse, *halved, same, wrong])
    assert [one.distance for one in odd] == [wrong, coarse]
    assert odd[0].median_db == pytest.approx(40.0)
    alone = Distance("decoder", "alone", 1e-6, "f32")
    kept = [Distance("decoder", f"k.{number}", 0.0, "f32") for number in range(3)]
    assert [one.distance for one in odd_ones([*kept, alone])] == [alone]
    rounded_to_f16 = Distance("decoder", "rounded", 1e-9, "f16")
    assert odd_ones([*(Distance("decoder", f"r.{number}", 0.0, "f16") for number in range(3)), rounded_to_f16]) == []
    assert odd_ones([alone]) == []  # nothing to compare it with


def share(name: str, lost: float, error: float | None) -> Share:
    change = Change(mos.MOS, 5.0, 5.0 - lost, Estimate(-lost, -lost, -lost), 0.0, "worse", (-lost,), 5.0)
    return Share(name, change, 0.0, error)


def test_components_are_ranked_by_what_is_heard_then_by_outputs() -> None:
    shares = [
        share("as good", 0.01, 1e-6),
        share("moved", 0.02, 1e-2),
        share("heard", 0.4, 1e-3),
        Share("not used", None, None, 1e-9),
        share("unknown", 0.0, None),
    ]
    assert [one.name for one in sorted(shares, key=severity)] == ["heard", "moved", "as good", "not used", "unknown"]
    broken = sorted(shares, key=lambda one: severity(one, {"as good", "unknown"}))
    assert [one.name for one in broken] == ["heard", "as good", "unknown", "moved", "not used"]
