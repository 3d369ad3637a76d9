"""The judge: what it asks for, whom it lets compete, and which rows it draws from what was measured."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest

from ovconvert import package
from ovconvert.bench import limits, measure, rows
from ovconvert.bench.alone import Alone
from ovconvert.bench.measure import Findings, Plan
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.texts import SHIPPED, of_file, shipped
from ovconvert.errors import UsageError
from ovconvert.judges import benchmark
from ovconvert.judges.benchmark import Options
from ovconvert.machine import describe
from ovconvert.package import Graph, Manifest, PackedComponent
from ovconvert.report import Measurement, Report, from_json, to_json, to_markdown
from ovconvert.roofline.count import Work
from ovconvert.spec import CacheSpec, Component, Port

ROUNDS = 8
MACHINE = describe(versions={})


@pytest.fixture(autouse=True)
def speaking(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.speaking(monkeypatch, "made_up")


@pytest.fixture
def package_dir(tmp_path: Path) -> Path:
    """A package that hears a voice and has a step; its files are empty but sealed."""
    place = tmp_path / "package"
    place.mkdir()
    for name in ("ear.xml", "ear.bin", "step.xml", "step.bin", "golden.npz"):
        (place / name).write_bytes(b"x" * 1000)
    port = (Port("x", "float32", (1, "n")),)
    components = (
        PackedComponent(
            Component("ear", "frontend", port, port), "fp32", {"plain": Graph("ear.xml", "ear.bin")}, "golden.npz"
        ),
        PackedComponent(
            Component("decoder", "step", port, port, CacheSpec(1, 1, 1)),
            "fp32",
            {form: Graph("step.xml", "step.bin") for form in ("stateful", "with_past")},
            "golden.npz",
        ),
    )
    package.save(Manifest("made_up", "", 100, {}, components, package.seal(place), {}), place)
    return place


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    path = tmp_path / "voice.wav"
    path.write_bytes(b"RIFF")
    return path


def table(value: float, rounds: int = ROUNDS, metric: str = "RTF") -> Table:
    """A table whose figures drift with the rounds."""
    made = Table()
    for number in range(rounds):
        readings = [Reading("end to end", "short", metric, value * (1 + number), "s/s", "lower")]
        readings.append(Reading("decoder", "short", "seconds", value * (1 + number), "s", "lower"))
        made.add(number, readings)
    return made


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Plan]:
    """Nothing is measured: every competitor takes as many seconds as its place. Returns the plan that was to be measured."""
    plans: list[Plan] = []

    def fake(plan: Plan, progress: Any) -> Findings:
        plans.append(plan)
        found = Findings("run-1", MACHINE, plan.rounds, plan.loads)
        for place, subject in enumerate(plan.subjects, 1):
            found.speech[subject.label] = table(float(place))
            found.settings[subject.label] = {"num_beams": 3}
            found.sounds[subject.label] = {text: subject.label.encode() for text in ("short", "short, new voice")}
        found.speech[limits.MACHINE] = Table()
        found.disturbances = ("others used a core",)
        found.notes = ("a note",)
        return found

    monkeypatch.setattr(benchmark, "measure", fake)
    monkeypatch.setattr(benchmark, "measure_both_ways", fake)
    return lambda: plans[-1]


def test_everything_that_is_wrong_is_said_at_once(package_dir: Path, tmp_path: Path) -> None:
    options = Options(rounds=0, threads=(0,), text="a", text_file=tmp_path, baseline=("pytorch",))
    problems = benchmark.requires(package_dir, options)
    for said in ("rounds 0", "threads 0", "either --text or --text-file", "--voice", "--model"):
        assert any(said in problem for problem in problems), (said, problems)


def test_nothing_is_wrong_with_a_voice(package_dir: Path, voice: Path) -> None:
    assert benchmark.requires(package_dir, Options(voice=voice)) == []
    assert "no such file" in benchmark.requires(package_dir, Options(voice=voice.with_name("x.wav")))[0]


def test_rows_want_a_component_that_takes_them(package_dir: Path, voice: Path) -> None:
    (problem,) = benchmark.requires(package_dir, Options(voice=voice, batch=(1, 2)))
    assert "no component of this package takes several rows" in problem
    problems = benchmark.requires(package_dir, Options(voice=voice, batch=(0,), streams=(0,), components=False))
    for said in ("batch 0: at least 1", "streams 0: at least 1", "leave out --no-components"):
        assert any(said in problem for problem in problems), (said, problems)


def test_a_package_may_hold_a_voice(package_dir: Path) -> None:
    held = package_dir / package.ASSETS / "voices" / "a.wav"
    held.parent.mkdir(parents=True)
    held.write_bytes(b"RIFF")
    assert benchmark.requires(package_dir, Options()) == []
    assert benchmark.voice_of(package_dir, Options()) == held


def test_a_baseline_that_is_not_installed(package_dir: Path, voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    (problem,) = benchmark.requires(package_dir, Options(voice=voice, baseline=("onnxruntime",)))
    assert "onnxruntime needs onnxruntime" in problem


def test_a_package_that_nothing_speaks_with_is_not_asked_to(
    package_dir: Path, monkeypatch: pytest.MonkeyPatch, opened: list[FakeWorker]
) -> None:
    monkeypatch.delitem(sys.modules, "ovconvert.runtime.programs.made_up")
    asked = Options(text="Hello.", streams=(2,), threads=(1, 2), ablation=True, components=False)
    problems = benchmark.requires(package_dir, asked)
    for name in ("text", "streams", "several threads", "ablation", "no_components"):
        assert f"{name}: nothing of ours speaks with this package; leave it out" in problems
    assert len(problems) == 5
    assert benchmark.requires(package_dir, Options(threads=(1,))) == []
    monkeypatch.setattr(measure, "golden_cases", lambda place, manifest, scratch: [Alone("decoder", scratch, (("n", 3),))])
    report = benchmark.run(package_dir, Options(rounds=2, loads=0, baseline=("onnxruntime",)))
    assert [one.asked for one in opened] == [["warm_up", "settings", "remark", "components", "components"]] * 2
    assert opened[0].asked_of("components")[0][0].case == "n=3"
    assert any("ran alone, at the sizes of their golden tensors" in note for note in report.notes)
    assert {row.subject for row in report.rows} >= {"end to end", "end to end (onnxruntime)", "machine", "decoder"}


def test_shipped_texts_grow() -> None:
    for texts in SHIPPED.values():
        lengths = [len(text.text) for text in texts]
        assert len(texts) == 3 and lengths == sorted(lengths)
    assert {"en", "zh"} <= set(SHIPPED)
    assert shipped("auto") == SHIPPED["en"]
    with pytest.raises(UsageError, match="no texts in 'xx'"):
        shipped("xx")


def test_texts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("One, two.\n\nThree.\n", encoding="utf-8")
    assert [(text.name, text.text) for text in of_file(path)] == [("text 1", "One, two."), ("text 2", "Three.")]
    path.write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        of_file(path)


def test_every_competitor_has_rows_and_ratios(package_dir: Path, voice: Path, measured: Callable[[], Plan]) -> None:
    options = Options(
        voice=voice, rounds=ROUNDS, baseline=("onnxruntime",), against=package_dir, threads=(1, 2), num_beams=1
    )
    report = benchmark.run(package_dir, options)
    plan = measured()
    assert [subject.label for subject in plan.subjects] == ["", "onnxruntime", "against", "2 threads"]
    assert plan.whole == {"", "onnxruntime", "against"}
    assert [subject.variant.threads or subject.threads for subject in plan.subjects] == [1, 1, 1, 2]
    assert all(subject.asked.num_beams == 1 and subject.asked.voice == voice for subject in plan.subjects)
    found = {(row.subject, row.metric): row for row in report.rows}
    assert found["end to end", "RTF"].samples == tuple(float(1 + number) for number in range(ROUNDS))
    assert found["end to end (onnxruntime)", "RTF"].samples[0] == 2.0
    ratio = found["end to end", "RTF: times better than onnxruntime"]
    assert ratio.samples == (2.0,) * ROUNDS  # the drift of the rounds cancels
    assert (ratio.low, ratio.high) == pytest.approx((2.0, 2.0))
    assert found["decoder", "seconds: times better than against"].value == pytest.approx(3.0)
    assert ("decoder", "seconds: times better than 2 threads") not in found  # of a variant the whole alone


def test_the_report_says_how_it_was_made(package_dir: Path, voice: Path, measured: Callable[[], Plan]) -> None:
    report = benchmark.run(package_dir, Options(voice=voice, rounds=ROUNDS, num_beams=1))
    assert (report.run, report.disturbances, report.notes) == ("run-1", ("others used a core",), ("a note",))
    assert report.options["num_beams"] == 1 and report.options["rounds"] == ROUNDS
    assert from_json(to_json(report)).rows == report.rows
    sizes = {(row.subject, row.case): row.value for row in report.rows if row.metric == "size on disk"}
    assert sizes["package", "all files"] == pytest.approx(0.005)
    assert sizes["package", "graphs and assets"] == pytest.approx(0.004)
    assert sizes["ear", "all forms"] == pytest.approx(0.002)


def test_an_ablation_leaves_out_what_the_package_lacks(package_dir: Path, voice: Path, measured: Callable[[], Plan]) -> None:
    report = benchmark.run(package_dir, Options(voice=voice, rounds=ROUNDS, ablation=True, reference_seconds=(5.0,)))
    labels = [subject.label for subject in measured().subjects]
    assert labels[1:4] == ["reference of 5 s", "+ explicit cache", "+ cache in the model"]
    assert any("'whole sequence in every step' left out" in note for note in report.notes)
    remarks = {row.subject: row.detail for row in report.rows if row.metric == "RTF"}
    assert remarks["end to end (+ one beam)"] == "another algorithm: other audio"
    assert remarks["end to end (+ explicit cache)"] == ""
    ratios = {row.metric: row.detail for row in report.rows if "times better" in row.metric}
    assert ratios["RTF: times better than + one beam"] == "another algorithm: other audio"
    assert ratios["RTF: times better than + explicit cache"] == ""


def test_a_pair_shares_its_run_and_the_names_of_its_rows(
    package_dir: Path, voice: Path, measured: Callable[[], Plan]
) -> None:
    base, new = benchmark.measure_pair(package_dir, package_dir, Options(voice=voice, rounds=ROUNDS))
    assert base.run == new.run == "run-1"
    keys = [[(row.subject, row.case, row.metric) for row in report.rows] for report in (base, new)]
    assert keys[0] == keys[1] and len(keys[0]) == len(set(keys[0]))
    assert [report_rtf(report).samples[0] for report in (base, new)] == [1.0, 2.0]


def report_rtf(report: Report) -> Measurement:
    return next(row for row in report.rows if row.metric == "RTF")


def test_the_part_of_the_limit_is_of_the_same_round(tmp_path: Path) -> None:
    case = Alone("decoder", tmp_path, (("batch", 1),), 300)
    alone, machine = Table(), Table()
    for number in range(ROUNDS):
        slow = 1.0 + number  # machine and component become slower together
        alone.add(number, [Reading("decoder alone", case.case, "one call", 2.0 * slow, "ms", "lower")])
        rates = [Reading("machine", "", "bandwidth", 20 / slow, "GB/s"), Reading("machine", "", "multiply rate", 1e9, "")]
        machine.add(number, rates)
    work = Work(flops=10, weight_bytes=20_000_000, activation_bytes=0, cache_bytes=0)
    found = {row.metric: row for row in limits.limit_rows({case: work}, alone, machine, ROUNDS)}
    assert found["limit"].samples[0] == pytest.approx(1.0)
    assert found["part of the limit reached"].samples == pytest.approx((50.0,) * ROUNDS)
    assert found["bytes"].value == 20.0


class FakeWorker:
    """Stands for a process; says which competitor it was opened for and what it was asked."""

    pid = 1

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []
        self.given: list[tuple[Any, ...]] = []

    def asked_of(self, method: str) -> tuple[Any, ...]:
        """Return what was given with the first call of a method."""
        return self.given[self.asked.index(method)]

    def call(self, method: str, *arguments: Any) -> Any:
        self.asked.append(method)
        self.given.append(arguments)
        value = Reading("end to end", "short", "RTF", float(len(self.asked)), "s/s", "lower")
        answers = {"turn": [value], "components": [value], "memory": [Reading("process", "", "peak RSS", 1.0, "MB")]}
        return answers.get(method, {} if method in ("settings", "sounds") else [])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[FakeWorker]:
    """Processes that were opened, all of them fakes."""
    import contextlib

    found: list[FakeWorker] = []

    @contextlib.contextmanager
    def fake(name: str, *arguments: Any) -> Iterator[FakeWorker]:
        found.append(FakeWorker(name))
        yield found[-1]

    monkeypatch.setattr(measure, "worker", fake)
    monkeypatch.setattr(limits, "probe", lambda threads: lambda: [Reading("machine", "", "bandwidth", 20.0, "GB/s")])
    monkeypatch.setattr("ovconvert.bench.turns.SETTLE_SECONDS", 0.0)
    return found


def test_requests_of_one_engine_share_a_process_and_its_memory_is_told_once(
    package_dir: Path, voice: Path, opened: list[FakeWorker]
) -> None:
    options = Options(voice=voice, rounds=2, loads=0, ablation=True)
    report = benchmark.run(package_dir, options)
    # the package itself; explicit cache; cache in the model; cache in f16, with everything that only the request changes
    assert [one.name for one in opened] == ["the package", "+ explicit cache", "+ cache in the model", "+ cache in f16"]
    turns = [one.asked.count("turn") for one in opened]
    assert turns[:3] == [2, 2, 2] and turns[3] > 2
    assert opened[0].asked.count("components") == 2
    told = {row.subject for row in report.rows if row.metric == "peak RSS"}
    assert told == {"process"} | {f"process ({one.name})" for one in opened[1:]}
    assert any("not counted" in note for note in report.notes)  # the warm-up
    assert [one.asked[0] for one in opened] == ["warm_up"] * 4


def test_a_profile_is_compared_with_the_package_and_with_every_baseline(
    package_dir: Path, voice: Path, opened: list[FakeWorker]
) -> None:
    options = Options(voice=voice, rounds=2, loads=0, baseline=("onnxruntime",), profiles=("fast",), brief_warm_up=True)
    report = benchmark.run(package_dir, options)
    assert [one.name for one in opened] == ["the package", "onnxruntime"]  # a profile changes the request alone
    found = {(row.subject, row.metric): row for row in reversed(report.rows) if row.subject.startswith("end to end")}
    assert ("end to end", "RTF: times better than onnxruntime") in found
    assert ("end to end", "RTF: times better than profile fast") in found
    profile = found["end to end (profile fast)", "RTF: times better than onnxruntime"]
    fast, plain = (found[f"end to end ({name})", "RTF"] for name in ("profile fast", "onnxruntime"))
    assert profile.samples == tuple(slow / quick for slow, quick in zip(plain.samples, fast.samples, strict=True))
    assert "another algorithm" in profile.detail
    assert [one.asked_of("warm_up")[0].steps for one in opened] == [None, 1]  # the package's own warm-up is whole


def test_options_hold_every_setting_of_a_request() -> None:
    from ovconvert.runtime.request import Request

    assert {field.name for field in dataclasses.fields(Request)} < {field.name for field in dataclasses.fields(Options)}
    assert rows.labelled("decoder", "") == "decoder"


def test_short_tables_stand_before_the_rows(package_dir: Path, voice: Path, measured: Callable[[], Plan]) -> None:
    options = Options(voice=voice, rounds=ROUNDS, ablation=True, threads=(2, 1))
    report = benchmark.run(package_dir, options)
    tables = {summary.heading: summary for summary in report.summaries}
    steps = tables["What each addition brings: short"]
    names = [line[0] for line in steps.lines]
    assert names[:3] == ["+ explicit cache", "+ cache in the model", "+ cache in f16"] and names[-1].startswith("+ guidance")
    assert all(len(line) == len(steps.headings) for line in steps.lines)
    # competitor n takes n seconds per second: the third of the plan is the first of the ablation
    before, first = steps.lines[1][-2:]
    assert before == first and before.startswith("0.75")
    assert steps.lines[2][-2:][0].startswith("0.8") and steps.lines[2][-1].startswith("0.6")
    assert [line[0] for line in tables["What was varied: short"].lines] == ["the package", "1 thread"]
    text = to_markdown(report)
    assert text.index("What each addition brings") < text.index("All measurements") < text.index("Made on:")
    assert text.index("others used a core") < text.index("End to end")
    assert benchmark.run(package_dir, Options(voice=voice, rounds=ROUNDS)).summaries[1:] == ()


def test_what_sounds_otherwise_can_be_heard(package_dir: Path, voice: Path, measured: Callable[[], Plan]) -> None:
    options = Options(voice=voice, rounds=ROUNDS, ablation=True, baseline=("onnxruntime",))
    (exhibit,) = benchmark.run(package_dir, options).exhibits
    assert exhibit.heading == "short"
    names = [name for name, _ in exhibit.sounds]
    assert names[:2] == ["the package", "onnxruntime"] and "+ one beam" in names
    assert "+ cache in the model" not in names  # the same audio as the package's
    assert dict(exhibit.sounds)["onnxruntime"] == b"onnxruntime"


def test_others_stand_beside_the_package(package_dir: Path, voice: Path, measured: Callable[[], Plan]) -> None:
    report = benchmark.run(package_dir, Options(voice=voice, rounds=ROUNDS, baseline=("onnxruntime",)))
    (short,) = (found for found in report.summaries if found.heading == "Beside others: short")
    assert [(line[0], line[-1]) for line in short.lines] == [("the package", "-"), ("onnxruntime", "0.5")]
    ratio = next(rows.ratios(table(1.0, 1), table(2.0, 1), 1, "other"))
    assert (ratio.low, ratio.high) == (None, None)  # one round bounds nothing
