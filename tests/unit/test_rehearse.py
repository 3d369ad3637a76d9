"""A rehearsal counts verdicts rightly, on figures whose noise is known, and fails where verdicts are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ovconvert.bench.reading import Reading, Table
from ovconvert.judges import rehearse
from ovconvert.judges.rehearse import AGAIN, BASE, SLOWED, Options
from ovconvert.report import Measurement, Report
from ovconvert.runtime.request import Request

TRIALS, ROUNDS = 6, 20
Make = Callable[..., Report]


def table(rng: np.random.Generator, factor: float, noise: float, drift: np.ndarray) -> Table:
    made = Table()
    for number, slow in enumerate(drift):
        value = factor * slow * float(np.exp(rng.normal(0, noise)))
        made.add(number, [Reading("end to end", "given", name, value, "s", "lower") for name in ("RTF", "CPU seconds")])
    return made


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Nothing is measured: the figures of each competitor are drawn, on a machine that drifts by tens of per cent."""

    def run(again: float = 1.0, slowed: float = 1.1, noise: float = 0.02, **given: Any) -> Report:
        def fake(
            place: Path, options: Options, texts: object, rounds: int, number: int, last_first: bool, progress: object
        ) -> object:
            rng = np.random.default_rng(number)
            drift = np.exp(np.cumsum(rng.normal(0, 0.05, rounds)))
            opened = (1.0, 1.01, 1.02)[:: -1 if last_first else 1]  # who is opened first is the slowest
            asked = zip((BASE, AGAIN, SLOWED), (1.0, again, slowed), opened, strict=True)
            factors = {label: factor / faster for label, factor, faster in asked}
            return {label: table(rng, factor, noise, drift) for label, factor in factors.items()}, [], {}

        monkeypatch.setattr(rehearse, "_measured", fake)
        monkeypatch.setattr(rehearse.package, "load", lambda place: SimpleNamespace(family="made_up"))
        return rehearse.run(Path("package"), Options(**{"text": "a", "trials": TRIALS, "rounds": ROUNDS, **given}))

    return run


def found(report: Report, metric: str) -> Measurement:
    return next(row for row in report.rows if row.metric == metric)


def test_right_verdicts_pass(rehearsed: Make) -> None:
    report = rehearsed()
    assert not report.failed
    assert found(report, "caught: worse").value == found(report, "not called different").value == TRIALS
    assert found(report, "told the same or not worse in every metric").value == TRIALS
    ratios = [row for row in report.rows if "RTF" in row.metric]
    assert [round(row.value, 1) for row in ratios] == [1.0, 1.1]
    assert all(len(row.samples) == TRIALS for row in ratios)
    assert f"{TRIALS} worse; from round to round ± " in ratios[1].detail


@pytest.mark.parametrize(
    ("given", "metric"),
    [
        ({"slowed": 1.0}, "caught: worse"),  # nothing was slowed
        ({"slowed": 1.1, "noise": 0.5}, "caught: worse"),  # too noisy for so few rounds
        ({"again": 1.2}, "not called different"),
        ({"again": 0.8}, "not called different"),
    ],
)
def test_wrong_verdicts_fail(rehearsed: Make, given: dict[str, float], metric: str) -> None:
    report = rehearsed(**given)
    assert [row.metric for row in report.failed] == [metric]


def test_single_figures_without_intervals_would_be_wrong(rehearsed: Make) -> None:
    report = rehearsed(noise=0.08, rounds=120)
    contrast = [row for row in report.rows if "without intervals" in row.metric and row.subject == "the same package"]
    assert contrast[0].value > 0 and not report.failed


def test_the_choice_of_metrics_holds(rehearsed: Make) -> None:
    report = rehearsed(metrics=("end to end:RTF",))
    details = {row.metric: row.detail for row in report.rows if row.subject == "the same package"}
    assert "end to end: CPU seconds, against the package" not in details
    assert "same" in details["end to end: RTF, against the package"]


def test_what_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearse.benchmark, "requires", lambda place, options: ["no voice"])
    problems = rehearse.requires(Path(), Options(trials=0, rounds=0, slowdown=0.05, fail_over=0.05))
    for said in ("trials 0", "rounds 0", "slowdown 0.05", "no voice"):
        assert any(said in problem for problem in problems), said


@pytest.mark.parametrize(
    ("metrics", "called"), [((), ["turn", "memory"]), (("process:*",), ["turn", "memory"]), (("end to end:*",), ["turn"])]
)
def test_memory_is_read_only_where_it_is_judged(metrics: tuple[str, ...], called: list[str]) -> None:
    memory = Reading("process", "all texts", "peak RSS", 1.0, "MB")
    weighed = rehearse._judges([memory], metrics)
    asked: list[str] = []
    process = SimpleNamespace(call=lambda method, *_: asked.append(method) or [memory])
    assert len(rehearse._turn(process, Request(), [], weighed)) == len(called)
    assert asked == called
