"""The search, the figures that are kept, the recipe that makes the choice again, and the gate: on small graphs made by hand.

Times and losses are made up, so that what is best is known; packages are made by `quantize` as they always are.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import by_hand
import fakes
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from ovconvert import package, recipe
from ovconvert.cli import cli
from ovconvert.graphs.save import save_ir
from ovconvert.intervals import Estimate, ratio
from ovconvert.judges import tune
from ovconvert.judges.tune import Options
from ovconvert.package import Graph, Manifest, PackedComponent
from ovconvert.page.front import GAIN, LOSS, Mark, front, marks
from ovconvert.quality import mos
from ovconvert.quality.verdicts import Change
from ovconvert.report import from_json
from ovconvert.runtime.request import Request
from ovconvert.spec import Component, Port
from ovconvert.stages import lower, quantize
from ovconvert.tuning import hearing, tuning
from ovconvert.tuning.hearing import Heard
from ovconvert.tuning.packages import Shelf
from ovconvert.tuning.search import settings_of
from ovconvert.tuning.speed import Race, Runner
from ovconvert.tuning.store import Store
from ovconvert.tuning.tuning import Outcome, Point, fastest

FLOORS_DB = {"fp32": 60.0, "fp16": 40.0}
MILLISECONDS = {
    "flow": {"fp32": 8.0, "fp16": 8.0, "int8": 4.0, "int4": 3.0},
    "vocoder": {"fp32": 5.0, "fp16": 5.2, "int8": 8.0, "int4": 9.0},
    "codec": {"fp32": 1.0, "fp16": 1.0},
}
LOSSES = {("flow", "int8"): 0.03, ("flow", "int4"): 0.4, ("vocoder", "int8"): 0.01, ("vocoder", "int4"): 0.3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of three small graphs: one that gains by INT8, one that loses, one that makes choices."""
    import openvino as ov
    from openvino import opset13 as ops

    place = tmp_path_factory.mktemp("tune") / "package"
    place.mkdir()
    parts = []
    for name, role, dtype in (
        ("codec", "frontend", "int64"),
        ("flow", "estimator", "float32"),
        ("vocoder",) * 2 + ("float32",),
    ):
        x = ops.parameter([1, -1, 64], np.float32, name="x")
        y = by_hand.linear(by_hand.linear(x, by_hand.weights(128, 64)), by_hand.weights(64, 128))
        y = ops.convert(y, "i64") if dtype == "int64" else y
        model = ov.Model([ops.result(y)], [x], name)
        xml = place / f"{lower.ir_name(name)}.xml"
        save_ir(model, xml, weight_format="fp32", runtime_options={})
        (place / f"{name}.npz").write_bytes(b"golden")
        ports = tuple((Port(port, kind, (1, "n", 64)),) for port, kind in (("x", "float32"), ("y", dtype)))
        component = Component(name, role, *ports, floor_db=FLOORS_DB)
        graphs = {"plain": Graph(xml.name, xml.with_suffix(".bin").name)}
        parts.append(PackedComponent(component, "fp32", graphs, f"{name}.npz"))
    (place / "assets/voices").mkdir(parents=True)
    soundfile.write(place / "assets/voices/tone.wav", np.sin(np.arange(8000) / 10), 16000)
    package.save(Manifest("made_up", "", 16000, {}, tuple(parts), package.seal(place), {}), place)
    return place


@pytest.fixture(scope="module")
def kept(made: Path) -> Path:
    """The package in every precision, as a tuning keeps them."""
    shelf = Shelf(made, made.with_name("kept"))
    for precision in shelf.precisions:
        shelf.uniform(precision)
    return made.with_name("kept")


class Made:
    """Makes up what a race and a listener find. `mixing` slows whatever is not uniform, and `noise` makes its rounds
    differ; `lost` is added to every loss."""

    def __init__(self) -> None:
        self.races = self.judgements = 0
        self.mixing, self.lost, self.stop_at, self.noise = 1.0, 0.0, math.inf, 0.0

    def race(self, runners: Sequence[Runner], texts: object, rounds: int, **how: Any) -> Race:
        self.races += 1
        calls: dict[str, dict[str, tuple[float, ...]]] = {name: {} for name in MILLISECONDS}
        rtf = {}
        for runner in runners:
            formats = precisions(runner.place)
            took = {name: MILLISECONDS[name][precision] for name, precision in formats.items()}
            for name, value in took.items():
                calls[name][runner.name] = tuple(value * (1 + 0.1 * number) for number in range(rounds))
            whole = sum(took.values()) * (1.0 if len(set(formats.values()) - {"fp16"}) < 2 else self.mixing)
            whole *= 0.5 if runner.request.num_beams == 1 else 1.0
            whole *= 0.25 if runner.request.solver == "dpm++" else 1.0
            mixed = len(set(formats.values()) - {"fp16"}) > 1
            swing = [1 + self.noise * (-1) ** number * mixed for number in range(rounds)]
            rtf[runner.name] = tuple(whole / 10 * (1 + 0.1 * number) * swing[number] for number in range(rounds))
        if not how["components"]:
            return Race(rtf)
        return Race(rtf, calls, dict.fromkeys(calls, "n=7"), {"flow": 60.0, "vocoder": 35.0, "codec": 5.0})

    def hear(self, place: Path, request: Request) -> Heard:
        if self.judgements == self.stop_at:
            raise KeyboardInterrupt
        self.judgements += 1
        loss = sum(LOSSES.get(item, 0.0) for item in precisions(place).items()) + self.lost
        loss += 0.02 if request.num_beams == 1 else 0.0
        loss += 0.5 if request.solver == "dpm++" else 0.0
        change = Change(mos.MOS, 5.0, 5.0 - loss, Estimate(-loss, -math.inf, math.inf), 0.0, "worse", (-loss,), 5.0)
        return Heard(1, 0, (change,), ())


def precisions(place: Path) -> dict[str, str]:
    return {one.component.name: one.precision for one in package.load(place).components}


@pytest.fixture(autouse=True)
def speaking(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.speaking(monkeypatch, "made_up")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, kept: Path, tmp_path: Path) -> Made:
    """Made-up figures, and packages that are there already below `tmp_path`/work."""
    found = Made()
    shutil.copytree(kept, tmp_path / "work" / tune.PACKAGES)
    monkeypatch.setattr(tuning, "race", found.race)
    monkeypatch.setattr(hearing.Listener, "hear", lambda listener, place, request, progress: found.hear(place, request))
    return found


def asked(room: Path, **changes: Any) -> Options:
    return Options(work_dir=room, utterances=1, rounds=3, **changes)


def test_each_component_gets_what_is_fastest_here_and_passes(made: Path, fake: Made, tmp_path: Path) -> None:
    room = tmp_path / "work"
    assert tune.requires(made, asked(room)) == []
    report = tune.run(made, asked(room))
    assert not report.failed
    text = (room / tune.RECIPE).read_text()
    for said in (
        "flow becomes int8: 2.00x faster here (4.4 against 8.8 ms a call), MOS proxy drop 0.050",
        "of the size of fp32; int4 is 2.67x faster, but fails: MOS proxy, drop 0.42",
        "vocoder stays fp32: fp16 is 1.04x slower; int8 is 1.60x slower; int4 is 1.80x slower (5.5 ms a call)",
        "codec becomes fp16: as fast here",
    ):
        assert said in text, text
    assert precisions(room / tune.PACKAGE) == {"codec": "fp16", "flow": "int8", "vocoder": "fp32"}
    found = {(row.subject, row.metric): row for row in report.rows}
    assert found["gate", "times as fast as any uniform setting"].value == pytest.approx(13 / 10)  # all int8: 4 + 8 + 1
    assert found[f"point: {tuning.MIXED}", GAIN].value == pytest.approx(14 / 5)  # 8 + 5 + 1 over (4 + 5 + 1) / 2
    assert not any(mark.passes for mark in marks(report.rows) if "int4" in mark.name or "profile" in mark.name)


def test_the_recipe_makes_the_package_again_bit_for_bit(made: Path, fake: Made, tmp_path: Path) -> None:
    room = tmp_path / "work"
    tune.run(made, asked(room))
    steps = recipe.load(room / tune.RECIPE).steps
    assert [step.verb.name for step in steps] == ["quantize", "validate", "speak"]
    assert steps[0].source is not None
    source = (room / steps[0].source).resolve()
    assert source == made.resolve() and quantize.requires(source, steps[0].options) == []
    again = quantize.run(source, tmp_path / "again", steps[0].options)
    for name in (package.MANIFEST, *package.load(again).files):
        assert (again / name).read_bytes() == (room / tune.PACKAGE / name).read_bytes(), name
    told = tomllib.loads((room / tune.RECIPE).read_text())["step"][2]
    assert told["num_beams"] == 1 and "solver" not in told


def test_a_second_call_measures_nothing(made: Path, fake: Made, tmp_path: Path) -> None:
    room = tmp_path / "work"
    first = tune.run(made, asked(room))
    before = (fake.races, fake.judgements)
    again = tune.run(made, asked(room, max_mos_drop=0.11))  # floors are asked of what is kept
    assert (fake.races, fake.judgements) == before
    assert [row.value for row in again.rows] == [row.value for row in first.rows]
    tune.run(made, asked(room, seed=1))
    assert fake.races == 2 * before[0]


def test_an_interrupted_tuning_goes_on(made: Path, fake: Made, tmp_path: Path) -> None:
    room = tmp_path / "work"
    fake.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        tune.run(made, asked(room))
    assert not (room / tune.RECIPE).exists()
    fake.stop_at = math.inf
    report = tune.run(made, asked(room))
    done = fake.judgements
    shutil.rmtree(room / tune.FIGURES)
    assert tune.run(made, asked(room)).rows == report.rows
    assert fake.judgements == 2 * done  # nothing was heard twice


def test_a_uniform_package_that_wins_the_race_is_chosen(made: Path, fake: Made, tmp_path: Path) -> None:
    fake.mixing = 2.0
    room = tmp_path / "work"
    report = tune.run(made, asked(room))
    found = {(row.subject, row.metric): row for row in report.rows}
    assert found["gate", "times as fast as any uniform setting"].value == 1.0
    assert set(precisions(room / tune.PACKAGE).values()) <= {"int8", "fp16"}
    assert "won by another point: all int8" in report.summaries[1].text
    assert "but all int8 won the race, in which it is int8" in (room / tune.RECIPE).read_text()


@pytest.mark.parametrize(("noise", "told"), [(0.0, "faster"), (0.6, "cannot tell: noise decides")])
def test_where_noise_decides_the_report_says_so(made: Path, fake: Made, tmp_path: Path, noise: float, told: str) -> None:
    fake.noise = noise
    report = tune.run(made, asked(tmp_path / "work", settings=False))
    (gate,) = [row for row in report.rows if row.metric == "times as fast as any uniform setting"]
    assert gate.passed and gate.detail.endswith(told) and gate.low is not None
    assert (gate.low <= 1) == ("Cannot tell which is faster" in report.summaries[0].text) == (noise > 0)


def test_a_point_that_is_shown_to_be_slower_fails_the_gate() -> None:
    def point(name: str, rtf: tuple[float, ...], uniform: bool) -> Point:
        gain = ratio(rtf, (1.0, 1.1, 1.2), paired=True)
        return Point(name, {}, {}, rtf, gain, Heard(1, 0, (), ()), True, 1, uniform)

    mixed, alike = point("mixed", (0.9, 1.0, 1.1), uniform=False), point("all int8", (0.5, 0.55, 0.6), uniform=True)
    assert fastest([mixed, alike]) is alike
    found = {one.name: Outcome((mixed, alike), one, (), (), Race({})) for one in (mixed, alike)}
    rows = {name: next(tune._beside_uniform(outcome)) for name, outcome in found.items()}
    assert not rows["mixed"].passed and rows["mixed"].detail.endswith("slower")
    assert rows["all int8"].passed and rows["all int8"].detail.endswith("it is that one")


def tuned(made: Path, room: Path, *more: str) -> Result:
    reports = [word for suffix in ("json", "md", "xml", "html") for word in ("-r", str(room / f"report.{suffix}"))]
    given = ["tune", str(made), "--work-dir", str(room / "work"), "--utterances", "1", "--rounds", "3", *reports, *more]
    return CliRunner().invoke(cli, given)


def test_the_gate_has_its_exit_code(made: Path, fake: Made, tmp_path: Path) -> None:
    result = tuned(made, tmp_path)
    assert result.exit_code == 0, result.output
    assert "<failure" not in (tmp_path / "report.xml").read_text()
    assert 'aria-label="Loss of the MOS proxy over speed"' in (tmp_path / "report.html").read_text()
    assert "| flow | 60 | int8 | flow becomes int8" in (tmp_path / "report.md").read_text()


def test_where_nothing_passes_the_gate_fails(made: Path, fake: Made, tmp_path: Path) -> None:
    fake.lost = 0.2
    result = tuned(made, tmp_path)
    assert result.exit_code == 6, result.output
    assert "MOS proxy, drop" in result.output and "asked: 0.1" in result.output
    assert from_json((tmp_path / "report.json").read_bytes()).failed
    assert "<failure" in (tmp_path / "report.xml").read_text()
    assert "0 of 1 checks passed" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "work" / tune.RECIPE).exists()


def test_what_is_wrong_is_told_at_once(made: Path, tmp_path: Path) -> None:
    options = asked(tmp_path, max_mos_drop=-1.0, threads=0, precisions=("int8-full",), reference=tmp_path / "none")
    found = "\n".join(tune.requires(made, dataclasses.replace(options, texts=tmp_path / "none.txt")))
    for said in ("threads 0", "--max-mos-drop -1.0", "int8-full needs --dataset", "no such package", "none.txt"):
        assert said in found


def test_settings_that_are_given_stay() -> None:
    names = {setting.name for setting in settings_of(Request(), fakes.EVERYTHING)}
    assert {"profile fast", "one beam", "prompt of 5 s"} <= names
    assert {setting.name for setting in settings_of(Request(), {"num_beams": ()})} == {"profile fast", "one beam"}
    left = settings_of(Request(num_beams=2, prompt_seconds=3.0), fakes.EVERYTHING)
    assert {"one beam", "prompt of 5 s"} & {setting.name for setting in left} == set()
    assert all("num_beams" not in setting.changes for setting in left)


def test_figures_are_kept_by_all_that_they_depend_on(tmp_path: Path) -> None:
    store = Store(tmp_path, {"machine": "a"})
    whole = Mark("x", math.inf, -math.inf, passes=True)
    assert store.recall("mark", {"n": 1}, Mark, lambda: whole) == whole
    assert store.recall("mark", {"n": 1}, Mark, lambda: pytest.fail("measured again")) == whole
    other = dataclasses.replace(whole, gain=2.0)
    assert store.recall("mark", {"n": 2}, Mark, lambda: other) == other
    assert Store(tmp_path, {"machine": "b"}).recall("mark", {"n": 1}, Mark, lambda: other) == other
    store.path("mark", {"n": 1}).write_text(json.dumps({"name": 3}))
    assert store.recall("mark", {"n": 1}, Mark, lambda: other) == other
    assert (store.made, store.reused) == (3, 1)


def test_the_front_is_what_nothing_beats() -> None:
    shown = [
        Mark(str(number), gain, loss, passes=True)
        for number, (gain, loss) in enumerate(((1, 0), (2, 0.1), (2, 0.2), (3, 0.4), (2.5, 0.4)))
    ]
    assert [mark.name for mark in front(shown)] == ["0", "1", "3"]
    assert LOSS != GAIN
