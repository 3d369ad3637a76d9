"""Two halves of a measurement make one, and who is opened first does not decide."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ovconvert.bench import both_ways
from ovconvert.bench.both_ways import measure_both_ways
from ovconvert.bench.measure import Findings, Plan
from ovconvert.bench.reading import Reading, Table
from ovconvert.intervals import ratio
from ovconvert.machine import describe
from ovconvert.options import silent

KEY = ("end to end", "given", "RTF")
PLAN = Plan(subjects=tuple(SimpleNamespace(label=label) for label in ("base", "new")), texts=(), rounds=5, loads=2)  # type: ignore[arg-type]


def table(value: float, rounds: int) -> Table:
    made = Table()
    for number in range(rounds):
        made.add(number, [Reading(*KEY, value + number / 1000, "s", "lower")])
    return made


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans of what was measured: equal packages, of which the one that is opened first is slower by 4 %."""
    asked: list[Plan] = []

    def measure(plan: Plan, progress: Any) -> Findings:
        asked.append(plan)
        labels = ["base", "new"][:: -1 if plan.last_first else 1]
        tables = {label: table(1.04 if label == labels[0] else 1.0, plan.rounds) for label in labels}
        found = Findings("run", describe(versions={}), plan.rounds, plan.loads, speech=tables)
        found.notes, found.disturbances = ("the same", f"{plan.rounds} rounds"), (f"half {len(asked)}",)
        return found

    monkeypatch.setattr(both_ways, "measure", measure)
    return asked


def test_each_side_is_opened_first_once(plans: list[Plan]) -> None:
    found = measure_both_ways(PLAN, silent)
    assert [(plan.rounds, plan.loads, plan.last_first) for plan in plans] == [(3, 2, False), (2, 0, True)]
    assert plans[0].seed != plans[1].seed
    assert (found.run, found.rounds, found.loads) == ("run", 5, 2)
    assert found.speech["base"].samples(KEY, 5) == (1.04, 1.041, 1.042, 1.0, 1.001)
    assert found.speech["new"].samples(KEY, 5) == (1.0, 1.001, 1.002, 1.04, 1.041)
    assert found.disturbances == ("half 1", "half 2")
    assert found.notes == ("the same", "3 rounds", "2 rounds", both_ways.NOTE)


def test_a_single_round_is_measured_one_way(plans: list[Plan]) -> None:
    found = measure_both_ways(Plan(PLAN.subjects, (), rounds=1), silent)
    assert len(plans) == 1 and found.rounds == 1 and both_ways.NOTE not in found.notes


def test_one_way_the_first_would_be_called_slower(plans: list[Plan]) -> None:
    rounds = 40
    one_way = both_ways.measure(Plan(PLAN.subjects, (), rounds), silent)
    both = measure_both_ways(Plan(PLAN.subjects, (), rounds), silent)
    sides = [[found.speech[label].samples(KEY, rounds) or () for label in ("base", "new")] for found in (one_way, both)]
    assert ratio(*sides[0], paired=True).high < 0.98
    assert ratio(*sides[1], paired=True).value == pytest.approx(1.0, abs=0.005)
