"""Verdicts, gates and make-up, on figures that are made up; what a program does is played by a toy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ovconvert import report
from ovconvert.compare import compare
from ovconvert.errors import QualityError, UsageError
from ovconvert.machine import describe
from ovconvert.perform import gate
from ovconvert.quality import cepstral, duration, mos, rows, verdicts
from ovconvert.quality.forced import divergences, first_difference
from ovconvert.quality.judging import Panel, judge, prepare
from ovconvert.quality.metric import FREE, RATE, Instrument, Metric
from ovconvert.quality.rows import Floors
from ovconvert.quality.speaking import Prompt
from ovconvert.quality.verdicts import BETTER, SAME, UNCLEAR, WORSE
from ovconvert.report import Report
from ovconvert.runtime.request import Request
from ovconvert.runtime.speech import Chunk
from ovconvert.tuning import hearing
from ovconvert.tuning.hearing import Listener
from ovconvert.verbs import BY_NAME

SCORE = Metric("score", "MOS", "higher", 1.0, 0.05)
ERRORS = replace(SCORE, name="errors", better="lower")
RNG = np.random.default_rng(0)
BASE = 3 + 0.1 * RNG.standard_normal(30)
AGAIN = 3 + 0.1 * RNG.standard_normal(30)
ONES = np.ones(30)


@pytest.mark.parametrize(
    ("metric", "shift", "said"),
    [(SCORE, 0.0, SAME), (SCORE, -0.5, WORSE), (SCORE, 0.5, BETTER), (ERRORS, 0.5, WORSE), (ERRORS, -0.5, BETTER)],
)
def test_a_change_beyond_chance_is_named(metric: Metric, shift: float, said: str) -> None:
    change = verdicts.judge(metric, BASE, BASE + shift, AGAIN, ONES)
    assert change.verdict == said
    assert change.change.low <= change.change.value <= change.change.high
    assert change.change.value == pytest.approx(shift)


def test_a_change_that_chance_makes_too_is_unclear_however_sure() -> None:
    wild = BASE + np.where(np.arange(30) % 2, 1.0, -1.0)
    change = verdicts.judge(SCORE, BASE, BASE - 0.15, wild, ONES)
    assert change.floor > 0.15 and change.change.high < 0 and change.verdict == UNCLEAR and change.in_the_noise
    exact = verdicts.judge(SCORE, BASE, BASE - 0.15, wild, ONES, exact=True)
    assert exact.floor == 0 and exact.verdict == WORSE and not exact.in_the_noise


def test_the_interval_of_the_bootstrap_is_that_of_the_mean() -> None:
    values = RNG.standard_normal(200)
    found = verdicts.mean(values, np.ones(200))
    error = values.std() / np.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert verdicts.mean(values, np.ones(200)) == found  # seeded
    assert verdicts.mean([0.0, 1.0], [1.0, 3.0]).value == 0.75


def test_what_is_no_number_has_to_be_counted_as_the_worst_first() -> None:
    with pytest.raises(ValueError, match="finite"):
        verdicts.judge(SCORE, BASE, np.where(np.arange(30) == 3, np.nan, BASE), AGAIN, ONES)


def test_divergence_is_that_of_the_distributions() -> None:
    first, second = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.25, 0.75], [0.9, 0.1]])
    assert divergences(first, second) == pytest.approx([0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0], abs=1e-6)
    assert divergences(first, second + 7) == pytest.approx(divergences(first, second), abs=1e-5)
    assert np.isinf(divergences(first, second * np.nan)).all()


def test_the_first_difference_counts_over_segments() -> None:
    codes = [np.array([1, 2, 3]), np.array([4, 5])]
    assert first_difference(codes, codes) == 5
    assert first_difference(codes, [codes[0], np.array([4, 6])]) == 4
    assert first_difference(codes, [codes[0]]) == 3
    assert first_difference(codes, [np.array([1, 2]), codes[1]]) == 2


class Toy:
    """A program whose speech is a tone with a little noise of its seed, and whose codes are the letters."""

    def __init__(
        self,
        hiss: float = 0.0,
        silent: int | None = None,
        doubt: float = 0.0,
        endless: bool = False,
        breath: float = 0.002,
    ) -> None:
        self.hiss, self.silent, self.doubt, self.endless, self.breath = hiss, silent, doubt, endless, breath
        self.spoken = 0

    def stream(self, text: str, request: Request) -> Iterator[Chunk]:
        self.spoken += 1
        codes = np.array([ord(letter) % 32 for letter in text], np.int64)
        samples = self.render(text, codes, request)
        if self.spoken - 1 == self.silent:
            samples = samples * 0
        yield Chunk(samples, RATE, text, len(codes), 0, not self.endless, codes)

    def render(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        time = np.arange(800 * len(codes)) / RATE
        pitch = 110 + 4 * np.repeat(codes, 800)
        tone = sum(np.sin(k * 2 * np.pi * np.cumsum(pitch) / RATE) / k for k in range(1, 9))
        own = np.random.default_rng([request.seed, request.steps or 0]).standard_normal(len(time))
        other = np.random.default_rng(99).standard_normal(len(time))
        envelope = 1 - np.abs(2 * np.linspace(0, 1, len(time)) - 1)
        return (0.1 * envelope * tone + self.breath * own + self.hiss * other).astype(np.float32)

    def logits(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        found = np.eye(32)[np.append(codes, 0)] * 4
        return found + self.doubt * np.random.default_rng(1).standard_normal(found.shape)


# the proxy without what only some installations have
LIGHT = replace(
    mos.INSTRUMENT,
    open=lambda: lambda take, against: (mos.pooled(mos.parts(against.samples, take.samples)),),
    made_of=lambda: "spectrum, envelope, tempo",
)
LIGHT_APART = replace(LIGHT, metrics=mos.INSTRUMENT_APART.metrics, held=mos.INSTRUMENT_APART.held)
PANEL = Panel((LIGHT, cepstral.INSTRUMENT, duration.INSTRUMENT))
FLOORS = Floors(mos_drop=0.1, top1=99.0)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prompt, ...]:
    voice = tmp_path_factory.mktemp("voices") / "tone.wav"
    soundfile.write(voice, np.sin(np.arange(RATE) / 10), RATE)
    return tuple(Prompt(text, text, voice) for text in ("a first", "and one more", "a third text", "the last"))


def judged(prompts: tuple[Prompt, ...], candidate: Toy) -> Report:
    reference = prepare(Toy(), prompts, Request(), PANEL)
    found = judge(reference, candidate, PANEL)
    made = tuple(rows.compared(reference, found, PANEL, FLOORS))
    return Report(
        "quality", "toy", describe(), made, {"make_up": PANEL.make_up}, exhibits=rows.exhibits(reference, found, 2)
    )


def test_the_unchanged_is_the_same_in_everything_and_passes(prompts: tuple[Prompt, ...]) -> None:
    found = judged(prompts, Toy())
    assert found.failed == ()
    told = [row.detail for row in found.rows if row.case == "4 utterances" and row.detail.startswith(SAME)]
    assert len(told) == 1 + len(PANEL.metrics())
    gate(BY_NAME["quality"], found)


@pytest.mark.parametrize(
    ("candidate", "metric"),
    [(Toy(hiss=0.01), "MOS proxy, drop"), (Toy(doubt=3.0), "top-1 agreement"), (Toy(silent=1), "MOS")],
)
def test_the_damaged_fails_with_the_exit_code_of_quality(prompts: tuple[Prompt, ...], candidate: Toy, metric: str) -> None:
    found = judged(prompts, candidate)
    assert any(row.metric.startswith(metric) for row in found.failed)
    with pytest.raises(QualityError) as error:
        gate(BY_NAME["quality"], found)
    assert error.value.exit_code == 6


def asked(prompts: tuple[Prompt, ...], candidate: Toy, request: Request) -> dict[str, bool]:
    panel = Panel((LIGHT, LIGHT_APART))
    reference = prepare(Toy(breath=0.01), prompts, Request(), panel)
    found = rows.gates(judge(reference, candidate, panel, request=request), FLOORS)
    return {row.metric: bool(row.passed) for row in found}


def test_other_settings_may_sound_otherwise_but_not_worse(prompts: tuple[Prompt, ...]) -> None:
    paired, apart, top1 = "MOS proxy, drop", "MOS proxy, seeds apart, drop", "top-1 agreement"
    assert asked(prompts, Toy(breath=0.01), Request()) == {paired: True, apart: True, top1: True}
    assert asked(prompts, Toy(breath=0.01), Request(seed=5)) == {apart: True, top1: True}
    assert asked(prompts, Toy(breath=0.01), Request(steps=9)) == {apart: True, top1: True}
    assert asked(prompts, Toy(breath=0.05), Request(steps=9)) == {apart: False, top1: True}
    assert asked(prompts, Toy(breath=0.05), Request())[paired] is False


def test_another_package_with_other_settings_is_also_heard_beside_the_reference_with_them(
    prompts: tuple[Prompt, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spoken = {"own": Toy(breath=0.01), "same": Toy(breath=0.01), "hissing": Toy(breath=0.01, hiss=0.006)}
    monkeypatch.setattr(hearing, "open_program", lambda place, threads: spoken[place.name])
    monkeypatch.setattr(hearing, "open_reference", lambda place, source, threads: spoken[place.name])
    monkeypatch.setattr(hearing, "instruments", lambda language_model: (LIGHT, LIGHT_APART))
    listener = Listener(tmp_path / "own", tmp_path / "own", prompts, Request(), teacher_forced=False)

    def heard(place: str, request: Request) -> tuple[set[Metric], bool]:
        found = listener.hear(tmp_path / place, request)
        return {change.metric for change in found.changes}, found.passes(FLOORS)

    assert heard("own", Request()) == ({mos.MOS, mos.MOS_APART}, True)
    assert heard("own", Request(steps=9)) == ({mos.MOS_APART}, True)
    assert heard("same", Request(steps=9)) == ({mos.MOS, mos.MOS_APART}, True)
    found = listener.hear(tmp_path / "hissing", Request(steps=9))
    assert not found.passes(FLOORS) and found.drop() == found.loss(mos.MOS) > 0.1


def test_a_failed_utterance_counts_as_the_worst_and_is_the_first_to_hear(prompts: tuple[Prompt, ...]) -> None:
    found = judged(prompts, Toy(silent=2))
    overall = next(row for row in found.rows if (row.subject, row.metric) == ("same codes", "MOS proxy"))
    assert overall.value == pytest.approx((3 * 5 + 1) / 4)
    assert next(row for row in found.rows if row.subject == "failures").value == 1
    assert found.exhibits[0].heading.startswith("a third text") and "silence" in found.exhibits[0].text


def test_what_failed_in_the_reference_is_excused_where_that_is_asked_for(prompts: tuple[Prompt, ...]) -> None:
    def lost(candidate: Toy, *, excuse: bool) -> float:
        panel = Panel((LIGHT,), excuse=excuse)
        change = judge(prepare(Toy(endless=True), prompts[:1], Request(), panel), candidate, panel).change(mos.MOS)
        assert change is not None
        return change.loss

    assert lost(Toy(hiss=0.001, endless=True), excuse=False) == 0.0  # both are the worst
    assert 0.1 < lost(Toy(hiss=0.001, endless=True), excuse=True) < 3.9
    assert lost(Toy(endless=True), excuse=True) == 0.0
    assert lost(Toy(silent=0), excuse=True) == 4.0  # a failure that the reference has not


def test_another_panel_is_refused(prompts: tuple[Prompt, ...]) -> None:
    reference = prepare(Toy(), prompts[:1], Request(), PANEL)
    other = Panel([replace(instrument, made_of=lambda: "something else") for instrument in (LIGHT,)])
    with pytest.raises(UsageError, match="different make-up"):
        judge(reference, Toy(), other)


def test_reports_of_different_make_up_are_not_compared(prompts: tuple[Prompt, ...]) -> None:
    found = judged(prompts, Toy())
    assert compare(found, found, 0.05).changes
    other = replace(found, options={"make_up": {**PANEL.make_up, "MOS proxy": "something else"}})
    with pytest.raises(UsageError, match="MOS proxy is made of"):
        compare(found, other, 0.05)


def test_what_is_not_installed_is_left_out_and_told() -> None:
    absent = Instrument(
        (SCORE,), FREE, lambda: lambda take, against: (1.0,), lambda: "nothing", ("no_such_module",), "pip x"
    )
    panel = Panel((absent, duration.INSTRUMENT))
    assert panel.missing == ("score: not measured, needs no_such_module (pip x)",)
    assert [metric.name for metric in panel.metrics()] == ["duration error"]


def test_exhibits_are_on_the_page_and_not_in_the_json(prompts: tuple[Prompt, ...], tmp_path: Path) -> None:
    found = judged(prompts, Toy(hiss=0.01))
    text = report.to_json(found)
    assert "exhibits" not in json.loads(text) and report.from_json(text).rows == found.rows
    pytest.importorskip("matplotlib")
    report.write(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<audio") == 2 * 4 and page.count("data:image/png;base64") == 2
