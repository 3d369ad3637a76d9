"""A small real measurement of the tiny package: what is in the report, not how fast it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ovconvert import package
from ovconvert.bench import both_ways
from ovconvert.judges import benchmark
from ovconvert.judges.benchmark import Options
from ovconvert.report import Report

pytestmark = pytest.mark.slow  # a minute and more: processes, compilation, rounds

TEXT = "Good morning."
ROUNDS = 2


@pytest.fixture(scope="module")
def options(checkpoint: Path) -> Options:
    return Options(
        voice=checkpoint / "voices/sample.wav",
        text=TEXT,
        rounds=ROUNDS,
        loads=1,
        threads=(1,),
        num_beams=1,
        steps=2,
        max_new_tokens=8,
    )


@pytest.fixture(scope="module")
def report(package_dir: Path, options: Options) -> Report:
    return benchmark.run(package_dir, options)


def test_end_to_end(report: Report) -> None:
    found = {row.metric: row for row in report.rows if row.subject == "end to end" and row.case == "given"}
    assert {"RTF", "seconds in all", "seconds to first audio", "audio"} <= set(found)
    assert len(found["RTF"].samples) == ROUNDS
    assert found["RTF"].value == pytest.approx(found["seconds in all"].value / found["audio"].value, rel=0.5)
    tokens = {row.metric for row in report.rows if row.subject == "decoder" and row.case == "given"}
    assert {"per token, P50", "per token, P90", "per token, P99"} <= tokens


def test_every_component_that_speaks_is_told_apart_and_alone(report: Report) -> None:
    shares = {row.subject: row.value for row in report.rows if row.case == "given" and row.metric == "share"}
    assert {"decoder", "flow_estimator", "vocoder", "between the graphs"} <= set(shares)
    assert sum(shares.values()) == pytest.approx(100.0, abs=10.0)
    # the front end works for a voice that is new, and not again
    assert "semantic_encoder" not in shares
    assert any(row.subject == "semantic_encoder" and "new voice" in row.case for row in report.rows)
    alone = {row.subject for row in report.rows if row.metric == "one call"}
    assert {"decoder alone", "semantic_encoder alone", "vocoder alone"} <= alone
    reached = [row for row in report.rows if row.metric == "part of the limit reached"]
    assert reached and all(len(row.samples) == ROUNDS and row.value > 0 for row in reached)


def test_loading_is_told_apart(report: Report, package_dir: Path) -> None:
    names = {packed.component.name for packed in package.load(package_dir).components}
    for case in ("cold", "from cache"):
        for metric in ("compile", "first inference", "steady state"):
            assert {row.subject for row in report.rows if (row.case, row.metric) == (case, metric)} == names
    memory = [row.value for row in report.rows if row.metric == "peak RSS"]
    assert memory and all(value > 10 for value in memory)


def test_a_pair_has_the_same_rounds_and_each_is_opened_first_once(package_dir: Path, options: Options) -> None:
    quick = dataclasses.replace(options, rounds=2, loads=0, components=False)
    base, new = benchmark.measure_pair(package_dir, package_dir, quick)
    assert base.run == new.run and both_ways.NOTE in base.notes
    assert {len(row.samples) for row in base.rows if row.subject == "end to end"} == {2}
    keys = [{(row.subject, row.case, row.metric) for row in one.rows} for one in (base, new)]
    assert keys[0] == keys[1]
    audio = [next(row.value for row in one.rows if row.metric == "audio") for one in (base, new)]
    assert audio[0] == audio[1]
