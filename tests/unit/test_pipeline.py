"""Finished steps are reused, changed ones run again, and a killed run goes on."""

from __future__ import annotations

from pathlib import Path

import fakes
import pytest

from ovconvert import pipeline, recipe
from ovconvert.errors import ParityError, UsageError
from ovconvert.report import from_json

TEXT = """
name = "garden"
[[step]]
verb = "seedling"
[[step]]
verb = "grow"
soil = "@seedling/seed.txt"
[[step]]
verb = "weigh"
floor = 1.0
"""


@pytest.fixture(autouse=True)
def garden(monkeypatch: pytest.MonkeyPatch) -> fakes.Garden:
    return fakes.install(monkeypatch)


def reuses(text: str, output: Path) -> list[bool]:
    return [task.reuse for task in pipeline.plan(recipe.parse(text, output.parent), output)]


def test_a_second_run_reuses_all(garden: fakes.Garden, tmp_path: Path) -> None:
    output = tmp_path / "out"
    read = recipe.parse(TEXT, tmp_path)
    assert reuses(TEXT, output) == [False, False, False]
    made = pipeline.run(read, output)
    assert made == (output / "weigh.json", output / "weigh.md", output / "weigh.xml")
    assert from_json(made[0].read_bytes()).rows[0].passed
    assert reuses(TEXT, output) == [True, True, True]
    assert pipeline.run(read, output) == made
    assert garden.calls == ["seedling", "grow", "weigh"]


def test_a_changed_option_runs_its_step_and_those_after_it(garden: fakes.Garden, tmp_path: Path) -> None:
    output = tmp_path / "out"
    pipeline.run(recipe.parse(TEXT, tmp_path), output)
    assert reuses(TEXT.replace('verb = "grow"', 'verb = "grow"\nwater = 3'), output) == [True, False, False]
    assert reuses(TEXT.replace('verb = "seedling"', 'verb = "seedling"\nseed = 3'), output) == [False] * 3
    assert reuses(TEXT.replace("floor = 1.0", "floor = 2.0"), output) == [True, True, False]


def test_other_tools_run_all_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    pipeline.run(recipe.parse(TEXT, tmp_path), output)
    monkeypatch.setattr(pipeline, "tool_versions", lambda: {"openvino": "0"})
    assert reuses(TEXT, output) == [False] * 3


def test_a_killed_run_goes_on(garden: fakes.Garden, tmp_path: Path) -> None:
    output = tmp_path / "out"
    read = recipe.parse(TEXT, tmp_path)
    garden.broken = True
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(read, output)
    assert reuses(TEXT, output) == [True, False, False]
    garden.broken = False
    pipeline.run(read, output)
    assert garden.calls == ["seedling", "grow", "grow", "weigh"]


def test_a_judge_that_says_no_leaves_its_report(garden: fakes.Garden, tmp_path: Path) -> None:
    output = tmp_path / "out"
    read = recipe.parse(TEXT.replace("floor = 1.0", "floor = 9.0"), tmp_path)
    with pytest.raises(ParityError, match=r"trunk \[n=1\]: weight 5 kg, asked: 9"):
        pipeline.run(read, output)
    assert from_json((output / "weigh.json").read_bytes()).failed
    assert "<failure" in (output / "weigh.xml").read_text()
    with pytest.raises(ParityError):  # it is asked again, not taken for finished
        pipeline.run(read, output)
    assert garden.calls.count("weigh") == 2


def test_a_source_from_outside_enters_with_its_content(tmp_path: Path) -> None:
    text = 'name = "x"\n[[step]]\nverb = "grow"\nsource = "wood"'
    (tmp_path / "wood").mkdir()
    (tmp_path / "wood" / "seed.txt").write_text("ash")
    pipeline.run(recipe.parse(text, tmp_path), tmp_path / "out")
    (tmp_path / "wood" / "seed.txt").touch()
    assert reuses(text, tmp_path / "out") == [True]
    (tmp_path / "wood" / "seed.txt").write_text("fir")
    assert reuses(text, tmp_path / "out") == [False]


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not empty"):
        pipeline.run(recipe.parse(TEXT, tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_plan_runs_nothing(garden: fakes.Garden, tmp_path: Path) -> None:
    lines = pipeline.describe(pipeline.plan(recipe.parse(TEXT, tmp_path), tmp_path / "out"))
    assert [line.split()[:2] for line in lines] == [["run", "seedling"], ["run", "grow"], ["run", "weigh"]]
    assert not garden.calls
    assert not list(tmp_path.iterdir())
