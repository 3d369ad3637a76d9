"""A regression is called one only where the intervals show it; what cannot be told is said to be so."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ovconvert import comparison, report
from ovconvert.cli import cli
from ovconvert.compare import compare, share
from ovconvert.comparison import BETTER, NOT_WORSE, SAME, UNASKED, UNKNOWN, WORSE, Change, Comparison
from ovconvert.errors import UsageError
from ovconvert.judges import benchmark
from ovconvert.machine import describe
from ovconvert.report import Measurement, Report, from_json, to_json

TRIALS = 50  # the number that the project's bar is set in
MACHINE = describe(versions={"openvino": "2026.4.1"})
METRICS = 12
ROUNDS = 150


def jitter(rng: np.random.Generator, sigma: float, rounds: int = ROUNDS) -> np.ndarray:
    """Return log-normal factors about 1, (rounds,), every thirtieth or so twice as large."""
    return np.exp(rng.normal(0, sigma, rounds)) * np.where(rng.random(rounds) < 0.03, 2.0, 1.0)


def wander(rng: np.random.Generator, rounds: int = ROUNDS) -> np.ndarray:
    """Return how slow the machine is in each round, (rounds,): it starts anywhere within tens of per cent and drifts."""
    return np.exp(rng.normal(0, 0.2) + np.cumsum(rng.normal(0, 0.02, rounds)))


def row(metric: str, samples: object, unit: str = "ms", better: str = "lower", subject: str = "step") -> Measurement:
    values = tuple(np.asarray(samples, dtype=float).tolist())
    return Measurement(subject, "text", metric, float(np.median(values)), unit, samples=values, better=better)


def made(rows: list[Measurement], run: str = "", package: str = "pkg", **fields: object) -> Report:
    return dataclasses.replace(Report("benchmark", package, MACHINE, tuple(rows), run=run), **fields)  # type: ignore[arg-type]


def session(rng: np.random.Generator, slower: float, drift: np.ndarray, run: str = "", probes: bool = False) -> Report:
    """Return a report of twelve metrics with 5 to 10 % of jitter; `slower` is the factor on the first of them."""
    sigmas = np.linspace(0.05, 0.1, METRICS)
    felt = np.linspace(0.8, 1.2, METRICS)  # how much each is held up by what holds up the machine
    factors = [slower, *[1.0] * (METRICS - 1)]
    rows = [
        row(f"metric {number}", 10 * factor * drift**power * jitter(rng, sigma, len(drift)))
        for number, (sigma, factor, power) in enumerate(zip(sigmas, factors, felt, strict=True))
    ]
    if probes:
        speeds = (("bandwidth", 0.8, "GB/s"), ("multiply rate", 1.2, "GFLOP/s"))
        rows += [
            row(name, 100 / drift**power / jitter(rng, 0.03, len(drift)), unit, "", "machine")
            for name, power, unit in speeds
        ]
    return made(rows, run)


def pair(seed: int, slower: float) -> tuple[Report, Report]:
    """Return the reports of two packages measured in turns: both meet the same drift."""
    rng = np.random.default_rng(seed)
    drift = wander(rng)
    return session(rng, 1.0, drift, "r"), session(rng, slower, drift, "r")


def apart(seed: int, slower: float, probes: bool) -> tuple[Report, Report]:
    """Return the reports of two runs: each meets a drift of its own."""
    rng = np.random.default_rng(seed)
    return session(rng, 1.0, wander(rng, 60), probes=probes), session(rng, slower, wander(rng, 60), probes=probes)


def only(found: Comparison, metric: str) -> Change:
    (change,) = [change for change in found.changes if change.base.metric == metric]
    return change


def test_a_slowdown_of_10_percent_is_caught_in_every_trial() -> None:
    for seed in range(TRIALS):
        found = compare(*pair(seed, 1.1), 0.05)
        assert "metric 0" in [change.base.metric for change in found.having(WORSE)], seed
        assert only(found, "metric 0").word == "slower"


def test_two_runs_of_the_same_package_in_turns_never_differ() -> None:
    for seed in range(TRIALS):
        found = compare(*pair(1000 + seed, 1.0), 0.05)
        assert not found.having(WORSE) and not found.having(BETTER), seed


@pytest.mark.parametrize("probes", [True, False])
def test_drift_between_two_runs_is_never_called_a_regression(probes: bool) -> None:
    drifted, details = 0, []
    for seed in range(TRIALS):
        base, new = apart(2000 + seed, 1.0, probes)
        drifted += np.median(new.rows[0].samples) > 1.15 * np.median(base.rows[0].samples)
        found = compare(base, new, 0.05)
        assert not found.having(WORSE), seed
        details += [change.detail for change in found.having(UNKNOWN)]
    assert drifted > 5  # or else this would show nothing
    assert np.mean(["in turns" in detail for detail in details]) > 0.9  # that is what would help, and not more rounds


def test_without_the_allowance_drift_would_be_called_a_regression() -> None:
    wrong = [compare(*apart(2000 + seed, 1.0, False), 0.05, drift=0.0).having(WORSE) for seed in range(20)]
    assert sum(map(bool, wrong)) > 2


def test_a_slowdown_beyond_all_drift_is_caught_between_two_runs() -> None:
    for seed in range(5):
        found = compare(*apart(3000 + seed, 3.0, True), 0.05)
        assert [change.base.metric for change in found.having(WORSE)] == ["metric 0"], seed


def test_a_slower_machine_is_named() -> None:
    rng = np.random.default_rng(1)
    base = session(rng, 1.0, np.ones(ROUNDS), probes=True)
    new = session(rng, 1.0, np.full(ROUNDS, 1.4), probes=True)
    found = compare(base, new, 0.05)
    text = "\n".join(found.warnings)
    assert "The machine itself was slower in the new run: bandwidth 0.7" in text
    assert "two runs" in text
    assert not found.having(WORSE)
    blind = compare(made(list(base.rows[:METRICS])), made(list(new.rows[:METRICS])), 0.05)
    assert "no probes" in blind.warnings[0]


def test_samples_of_one_run_but_unequal_number_are_no_pairs() -> None:
    base, new = pair(1, 1.0)
    short = dataclasses.replace(new.rows[0], samples=new.rows[0].samples[:-1])
    found = compare(base, dataclasses.replace(new, rows=(short, *new.rows[1:])), 0.05)
    assert only(found, "metric 0").per_round == ()
    assert len(only(found, "metric 1").per_round) == ROUNDS


@pytest.mark.parametrize(
    ("factor", "better", "verdict"),
    [
        (1.2, "lower", WORSE),
        (0.8, "lower", BETTER),
        (1.0, "lower", SAME),
        (0.953, "lower", NOT_WORSE),  # at the other bound: the same or better, and either way it passes
        (1.05, "lower", UNKNOWN),
        (1.2, "higher", BETTER),
        (0.8, "higher", WORSE),
        (1 / 1.05, "higher", UNKNOWN),
    ],
)
def test_verdicts(factor: float, better: str, verdict: str) -> None:
    rng = np.random.default_rng(3)
    base, new = (jitter(rng, 0.03, 40) for _ in range(2))
    unit = "ms" if better == "lower" else "tokens/s"
    change = only(
        compare(made([row("m", base, unit, better)], "r"), made([row("m", factor * new, unit, better)], "r"), 0.05), "m"
    )
    assert change.verdict == verdict
    assert change.ratio.low < factor < change.ratio.high  # new / old, whichever way is better


def test_what_cannot_be_told_says_how_many_rounds_would_tell() -> None:
    rng = np.random.default_rng(4)
    few = [row("m", jitter(rng, 0.08, 12)) for _ in range(2)]
    change = only(compare(made([few[0]], "r"), made([few[1]], "r"), 0.05), "m")
    assert change.verdict == UNKNOWN and change.more and "more rounds to tell, beyond 12" in change.detail
    many = [row("m", jitter(rng, 0.08, 12 + 2 * change.more)) for _ in range(2)]
    assert only(compare(made([many[0]], "r"), made([many[1]], "r"), 0.05), "m").verdict == SAME


def test_one_sample_of_a_time_tells_nothing_and_of_a_size_all() -> None:
    def one(metric: str, value: float, unit: str) -> Measurement:
        return row(metric, [value], unit)

    base = [one("time", 1.0, "s"), one("grown", 100.0, "MB"), Measurement("p", "", "kept", 7.0, "MB", better="lower")]
    new = [one("time", 9.0, "s"), one("grown", 106.0, "MB"), Measurement("p", "", "kept", 7.0, "MB", better="lower")]
    found = compare(made(base), made(new), 0.05)
    assert [change.verdict for change in found.changes] == [UNKNOWN, WORSE, SAME]
    assert "one sample" in found.changes[0].detail
    assert found.changes[1].word == "worse" and "106" in comparison.cells(found.changes[1])[5]


@pytest.mark.parametrize(("old", "new", "verdict"), [(0.0, 0.0, SAME), (0.0, 5.0, WORSE), (5.0, 0.0, BETTER)])
def test_counts_of_zero_compare(old: float, new: float, verdict: str) -> None:
    rows = [[Measurement("p", "", "copies", value, "", better="lower")] for value in (old, new)]
    assert only(compare(made(rows[0]), made(rows[1]), 0.05), "copies").verdict == verdict


def test_samples_without_a_ratio_cannot_be_told() -> None:
    found = compare(made([row("m", [0.0, 1.0])], "r"), made([row("m", [1.0, 1.0])], "r"), 0.05)
    assert only(found, "m").verdict == UNKNOWN
    assert json.loads(to_json(comparison.to_report(found)))["rows"][0]["value"] == "nan"


def test_nothing_is_dropped_silently() -> None:
    kept = row("kept", [1.0] * 9)
    base = [kept, row("gone", [1.0]), row("odd", [1.0]), row("audio", [3.0], "s", ""), row("old unit", [1.0], "s")]
    new = [
        kept,
        row("come", [1.0]),
        row("odd", [1.0], better="higher"),
        row("audio", [4.0], "s", ""),
        row("old unit", [1.0]),
    ]
    text = "\n".join(compare(made(base, package="a"), made(new, package="b"), 0.05).notes)
    for said in (
        "Only in the report of a: step [text]: gone",
        "Only in the report of b: step [text]: come",
        "Only in the report of a: step [text]: old unit in s",
        "disagree on which way is better: step [text]: odd",
        "Changed: step [text]: audio, 3 -> 4 s",
    ):
        assert said in text


def felt(rng: np.random.Generator, slower: float = 1.0, inside: float = 1.0) -> list[Measurement]:
    """Return the rows of an utterance as `benchmark` names them, `slower` as a whole, and of a part that is `inside`."""
    return [
        row("RTF", slower * jitter(rng, 0.03), "s/s", subject="end to end"),
        row("per token, P50", jitter(rng, 0.03), subject="decoder"),
        row("per token, P99", inside * jitter(rng, 0.03), subject="decoder"),
    ]


def test_what_the_user_feels_decides_and_the_rest_is_told() -> None:
    rng = np.random.default_rng(5)
    base, part, whole = (made(felt(rng, *factors), "r") for factors in ((1.0, 1.0), (1.0, 1.5), (1.5, 1.0)))
    found = compare(base, part, 0.05)
    assert [change.verdict for change in found.changes] == [SAME, SAME, UNASKED]
    assert found.changes[2].ratio.low > 1.4 and found.changes[2].detail == ""
    assert only(compare(base, whole, 0.05), "RTF").verdict == WORSE
    lines = comparison.to_markdown(found).splitlines()
    folded = next(number for number, line in enumerate(lines) if "<details><summary>1 more" in line)
    assert any("P99" in line for line in lines[folded:]) and not any("P99" in line for line in lines[:folded])


@pytest.mark.parametrize(
    ("patterns", "judged"),
    [
        (("decoder:*",), {"per token, P50", "per token, P99"}),
        (("decoder:text:*P99", "end*"), {"RTF", "per token, P99"}),
        (("*",), {"RTF", "per token, P50", "per token, P99"}),
    ],
)
def test_metrics_are_chosen_by_pattern(patterns: tuple[str, ...], judged: set[str]) -> None:
    rng = np.random.default_rng(6)
    base, new = (made(felt(rng, inside=factor), "r") for factor in (1.0, 1.5))
    found = compare(base, new, 0.05, metrics=patterns)
    assert {change.base.metric for change in found.changes if change.verdict != UNASKED} == judged
    assert bool(found.having(WORSE)) == ("per token, P99" in judged)


def test_a_choice_of_nothing_lists_what_there_is() -> None:
    rng = np.random.default_rng(7)
    base = made(felt(rng), "r")
    with pytest.raises(
        UsageError, match=r"(?s)nothing fits 'vocoder:\*', 'x'; there are:.*decoder:per token, P50.*end to end:RTF"
    ):
        compare(base, base, 0.05, metrics=("end*", "vocoder:*", "x"))


def test_one_of_many_must_lie_further_beyond_the_bound_to_be_worse_but_not_to_be_not_worse() -> None:
    rng = np.random.default_rng(8)
    steady = [row(f"other {number}", jitter(rng, 0.01, 16)) for number in range(40)]
    base, same, slow = (row("m", factor * np.exp(rng.normal(0, 0.045, 16))) for factor in (1.0, 1.0, 1.13))
    for new, alone, among in ((slow, WORSE, UNKNOWN), (same, NOT_WORSE, NOT_WORSE)):
        assert only(compare(made([base], "r"), made([new], "r"), 0.05), "m").verdict == alone
        assert only(compare(made([base, *steady], "r"), made([new, *steady], "r"), 0.05), "m").verdict == among


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, SAME), (1.035, UNKNOWN), (1.08, UNKNOWN), (1.2, WORSE), (0.8, BETTER)]
)
def test_memory_is_of_one_process_however_steady_its_rounds(factor: float, verdict: str) -> None:
    base, new = (row("peak RSS", [value] * 20, "MB", subject="process") for value in (100.0, 100.0 * factor))
    change = only(compare(made([base], "r"), made([new], "r"), 0.05), "peak RSS")
    assert change.verdict == verdict
    assert ("equal processes" in change.detail) == (verdict == UNKNOWN)


def test_what_the_package_was_measured_against_is_not_judged() -> None:
    fields = {"options": {"baseline": ["pytorch"]}}
    base = made([row("m", [1.0] * 9), row("m", [1.0] * 9, subject="step (pytorch)")], "r", **fields)
    new = made([row("m", [1.0] * 9), row("m", [9.0] * 9, subject="step (pytorch)")], "r", **fields)
    found = compare(base, new, 0.05)
    assert not found.having(WORSE)
    assert any("not of the package: 1 rows of step (pytorch)" in note for note in found.notes)


def test_another_machine_is_told_and_does_not_fail() -> None:
    other = dataclasses.replace(MACHINE, processor="Other", load=9.0, versions={"openvino": "2027.0"})
    base = made([row("m", [1.0] * 9)], options={"threads": [2]})
    new = made([row("m", [1.0] * 9)], machine=other, options={"threads": [1]}, disturbances=("a backup",))
    text = "\n".join(compare(base, new, 0.05).warnings)
    for said in ("processor: ", "-> Other", "openvino: 2026.4.1 -> 2027.0", "setting threads: 2 -> 1", "new one: a backup"):
        assert said in text
    assert "load" not in text
    assert not compare(base, base, 0.05).warnings[1:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"judge": "validate"}, "'benchmark', the other of 'validate'"),
        ({"options": {"family": "t5"}}, "family 'whisper', the other of 't5'"),
        ({"rows": (row("other", [1.0]),)}, "share no metric"),
        ({"rows": (row("m", [1.0]), row("m", [2.0]))}, "two rows of step"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict[str, object], said: str) -> None:
    base = made([row("m", [1.0])], options={"family": "whisper"})
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        compare(base, dataclasses.replace(base, **change), 0.05)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("0.05", 0.05), (" 7.5 % ", 0.075), ("0", 0), ("100%", 1)])
def test_shares(text: str, value: float) -> None:
    assert share(text, "--fail-over") == pytest.approx(value)


@pytest.mark.parametrize("text", ["5", "1", "-5%", "101%", "five", "", "%", "5%%", "nan", "5% ms", "inf"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"5% or 0\.05"):
        share(text, "--fail-over")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return reports as files: `base`, `same` and `slow` of one run, `few` of too few rounds."""
    rng = np.random.default_rng(1)
    drift = wander(rng, 40)
    rows = {
        name: row("m|n", factor * drift * jitter(rng, 0.03, 40))
        for name, factor in (("base", 1), ("same", 1), ("slow", 1.2))
    }
    rows["few"] = dataclasses.replace(rows["slow"], samples=rows["slow"].samples[:3])
    for name, one in rows.items():
        (tmp_path / f"{name}.json").write_bytes(to_json(made([one], "r", name)))
    return {name: tmp_path / f"{name}.json" for name in rows}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def test_the_exit_code_tells(files: dict[str, Path]) -> None:
    same = run(files["base"], files["same"])
    assert same.exit_code == 0, same.output
    assert "No regression of more than 5 % (1 metrics: 1 same)" in same.stdout
    slow = run(files["base"], files["slow"], "--fail-over", "5%")
    assert slow.exit_code == 7
    assert "REGRESSION: 1 of 1 metrics worse by more than 5 %" in slow.stderr
    assert "slower step [text]: m|n" in slow.stderr
    assert run(files["base"], files["slow"], "--fail-over", "0.5").exit_code == 0
    few = (files["base"], files["few"])
    assert run(*few).exit_code == 0
    assert run(*few, "--fail-on-uncertain").exit_code == 7
    assert run(files["base"], files["same"], "--fail-on-uncertain").exit_code == 0


def test_reports_in_every_form(files: dict[str, Path], tmp_path: Path) -> None:
    dests = [tmp_path / f"out.{suffix}" for suffix in ("md", "xml", "json")]
    result = run(files["base"], files["slow"], *(f"--report={dest}" for dest in dests))
    assert result.exit_code == 7  # and written all the same
    markdown = dests[0].read_text()
    lines = markdown.splitlines()
    assert lines[2].startswith("**REGRESSION: 1 of 1 metrics")  # the verdict is what is read first
    assert "| **slower** | step | text | m\\|n |" in markdown
    suite = ElementTree.parse(dests[1]).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("1", "1", "0")
    (failure,) = suite.findall("testcase/failure")
    assert "slower" in str(failure.get("message"))
    back = from_json(dests[2].read_bytes())
    assert (back.judge, back.rows[0].passed, back.rows[0].floor) == ("compare", False, 1.05)
    assert back.rows[0].low is not None and 1.05 < back.rows[0].low < back.rows[0].value
    assert len(back.rows[0].samples) == 40  # the ratio of each round
    assert run(files["base"], files["few"], f"--report={dests[1]}").exit_code == 0
    suite = ElementTree.parse(dests[1]).getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


def test_wrong_inputs_are_told_in_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("no report")
    (tmp_path / "old.json").write_bytes(files["base"].read_bytes().replace(b'"format": 1', b'"format": 9'))
    (tmp_path / "folder").mkdir()
    base = files["base"]
    for arguments, said in (
        ((base, tmp_path / "none.json"), "none.json: No such file"),
        ((base, tmp_path / "folder"), "folder is a directory without a manifest"),
        ((base, tmp_path / "text.json"), "text.json: not a report"),
        ((base, tmp_path / "old.json"), "old.json: the report has format 9"),
        ((base, base, "--fail-over", "5"), "--fail-over '5'"),
        ((base, base, "--drift", "x"), "--drift 'x'"),
        ((base, base, "--metrics", "x:*"), "nothing fits 'x:*'"),
        ((base, base, "-r", tmp_path / "r.pdf"), "have: .json"),
        ((base, base, "--rounds", 3, "--keep", tmp_path), "--rounds, --keep: only for two packages"),
        ((base,), "Missing argument"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
        assert "Traceback" not in result.output


@pytest.fixture
def packages(tmp_path: Path) -> list[Path]:
    from test_package import manifest

    from ovconvert import package

    found = [tmp_path / name for name in ("one", "two")]
    for place in found:
        (place / "golden").mkdir(parents=True)
        for name in ("a.xml", "a.bin", "b.xml", "golden/gpt.npz"):
            (place / name).write_bytes(b"x")
        package.save(manifest(package.seal(place)), place)
    return found


def test_two_packages_are_measured_in_turns(
    packages: list[Path], files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measure_pair(base: Path, new: Path, options: benchmark.Options, progress: object) -> tuple[Report, Report]:
        asked.append((base, new, options.rounds))
        return from_json(files["base"].read_bytes()), from_json(files["slow"].read_bytes())

    monkeypatch.setattr(benchmark, "measure_pair", measure_pair)
    monkeypatch.setattr(benchmark, "requires", lambda place, options: [])
    result = run(*packages, "--rounds", 40, "--keep", tmp_path / "kept")
    assert result.exit_code == 7, result.output
    assert asked == [(*packages, 40)]
    assert report.from_json((tmp_path / "kept" / "new.json").read_bytes()).package == "slow"


@pytest.mark.parametrize(
    ("slower", "most", "least", "code"),
    [
        (1.12, 2000, 41, 7),  # told by the second run
        (1.0, 2000, 41, 0),
        (1.12, 41, 41, 0),  # as many as may be, which are too few
        (1.5, 2000, None, 7),  # told at once
    ],
)
def test_what_cannot_be_told_is_measured_once_more(
    packages: list[Path], monkeypatch: pytest.MonkeyPatch, slower: float, most: int, least: int | None, code: int
) -> None:
    asked = []

    def measure_pair(base: Path, new: Path, options: benchmark.Options, progress: object) -> tuple[Report, Report]:
        asked.append(options.rounds)
        rng = np.random.default_rng(options.rounds)
        sides = (rng.normal(np.log(factor), 0.2, options.rounds) for factor in (1.0, slower))
        first, second = (made([row("time", np.exp(side))], run="one") for side in sides)
        return first, second

    monkeypatch.setattr(benchmark, "measure_pair", measure_pair)
    monkeypatch.setattr(benchmark, "requires", lambda place, options: [])
    result = run(*packages, "--rounds", 40, "--max-rounds", most)
    assert result.exit_code == code, result.output
    assert asked[0] == 40 and len(asked) == (1 if least is None else 2)
    assert least is None or least <= asked[1] <= most
    assert ("measuring once more" in result.output) == (least is not None)


def test_two_looks_at_a_change_are_stricter_than_one() -> None:
    base, new = pair(0, 1.1)
    alone, twice = (only(compare(base, new, 0.05, looks=looks), "metric 0").ratio for looks in (1, 2))
    assert twice.low < alone.low < alone.high < twice.high
    notes = " ".join(compare(base, new, 0.05, looks=2).notes)
    assert "at most 2.5 %" in notes and "97.5 %" in notes


def test_packages_that_cannot_be_measured_are_refused(
    packages: list[Path], files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "requires", lambda place, options: ["no voice"])
    result = run(*packages)
    assert (result.exit_code, result.stderr.count("no voice")) == (2, 2)
    monkeypatch.setattr(benchmark, "requires", lambda place, options: [])
    fewer = run(*packages, "--rounds", 40, "--max-rounds", 40)
    assert fewer.exit_code == 2 and "--max-rounds 40: give more than --rounds, 40" in fewer.stderr
    read = run(files["base"], files["slow"], "--max-rounds", 40)
    assert read.exit_code == 2 and "--max-rounds: only for two packages" in read.stderr
    mixed = run(packages[0], files["base"])
    assert mixed.exit_code == 2 and "one is a package" in mixed.stderr
    text = (packages[1] / "manifest.json").read_text()
    family = json.loads(text)["family"]
    (packages[1] / "manifest.json").write_text(text.replace(f'"{family}"', '"other"'))
    other = run(*packages)
    assert other.exit_code == 2 and "not to be compared" in other.stderr
