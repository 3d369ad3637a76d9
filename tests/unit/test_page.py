"""A page is whole in itself, says what the report says, and draws what the report has rows for."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ovconvert import page, report
from ovconvert.errors import EnvironmentFault
from ovconvert.machine import describe
from ovconvert.page import plots, to_html
from ovconvert.page.points import points
from ovconvert.report import Measurement, Report, at_least

pytest.importorskip("matplotlib")

HERE = describe(versions={})  # once: its load changes
HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
OUTSIDE = re.compile(r"""(?:\b(?:src|href|data|action)\s*=\s*["']|url\(\s*["']?|@import\s)\s*(?!data:|#)(\S+)""")

SAMPLES = (1.0, 1.1, 0.9, 1.3)
MACHINE = (
    Measurement("machine", "", "bandwidth", 20.0, "GB/s", low=18.0, high=21.0),
    Measurement("machine", "", "multiply rate", 100.0, "GFLOP/s"),
)
STEP = (
    Measurement("step alone", "context=9", "operations", 0.1, "GFLOP"),
    Measurement("step alone", "context=9", "bytes", 100.0, "MB"),
    Measurement("step alone", "context=9", "one call", 10.0, "ms", better="lower"),
)
SHARES = (
    Measurement("step", "short", "share", 60.0, "%"),
    Measurement("vocoder", "short", "share", 40.0, "%"),
    Measurement("step (torch)", "short", "share", 100.0, "%"),
)
TIMED = (Measurement("step", "short", "seconds", 1.05, "s", low=0.9, high=1.3, samples=SAMPLES, better="lower"),)
RATIOS = (
    Measurement("end to end", "short", "RTF: times better than torch", 1.9, "x", low=1.7, high=2.0, better="higher"),
    Measurement("end to end", "long", "RTF: times better than torch", 1.0, "x", low=0.9, high=1.1, better="higher"),
    Measurement("end to end", "long", "RTF: times better than ort", 0.8, "x", low=0.7, high=0.9, better="higher"),
)
ALL = (*MACHINE, *STEP, *SHARES, *TIMED, *RATIOS)
PLOTS = {"Roofline": (*MACHINE, *STEP), "Share": SHARES, "Samples": TIMED, "times better": RATIOS}


def reported(rows: Sequence[Measurement] = ALL, **changes: object) -> Report:
    plain = Report("benchmark", "pkg", HERE, tuple(rows), {"threads": 2}, ("a note",))
    return dataclasses.replace(plain, **changes)


def drawn(text: str) -> list[str]:
    """Return the labels of the plots of a page."""
    return [element.attrib["aria-label"] for element in ElementTree.fromstring(text).iter(f"{SVG}svg")]


def test_the_page_says_what_the_report_says() -> None:
    failing = at_least("step", "trace", "SNR", 30.0, "dB", 40.0)
    text = to_html(reported((*ALL, failing), disturbances=("throttled for 2 s",)))
    plain = " ".join("".join(ElementTree.fromstring(text).itertext()).split())
    for said in ("benchmark: pkg", "0 of 1 checks passed, 1 failed", "throttled for 2 s", "a note", "threads", "asked: 40"):
        assert said in plain
    assert "1.9 (1.7 to 2)" in plain
    assert plain.index("throttled") < plain.index("All measurements")
    assert "Disturbed" not in to_html(reported())


def test_equal_reports_give_equal_pages() -> None:
    assert to_html(reported()) == to_html(reported())
    assert to_html(reported()) != to_html(reported(ALL[:-1]))


@pytest.mark.parametrize("label", PLOTS)
def test_a_plot_stands_where_there_are_rows_for_it(label: str) -> None:
    with_rows = drawn(to_html(reported(PLOTS[label])))
    others = [row for row in ALL if row not in PLOTS[label]]
    assert [name for name in with_rows if label in name]
    assert not [name for name in drawn(to_html(reported(others))) if label in name]


def test_a_report_without_any_such_rows_has_no_plot() -> None:
    assert drawn(to_html(reported((at_least("step", "trace", "SNR", 50.0, "dB", 40.0),)))) == []


def test_a_competitor_has_a_plot_of_its_own() -> None:
    names = [name for name in drawn(to_html(reported())) if name.startswith("times better")]
    assert names == ["times better than torch", "times better than ort"]


def test_names_in_the_plots_are_unique_on_the_page() -> None:
    text = to_html(reported())
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names)) > 0
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert used
    assert set(used) <= set(names)


def test_plots_take_the_colours_of_the_page() -> None:
    text = to_html(reported())
    assert "currentColor" in text
    assert not [colour for colour in plots.PAGE_COLOURS if colour in text]


def test_nothing_comes_from_outside() -> None:
    assert OUTSIDE.findall(to_html(reported(), {"a": b"RIFF"})) == []


@pytest.mark.parametrize(
    "bad", ['<img src="https://x/y.png"/>', "@import url(https://x)", '<a href="page.html">', "fill: url('http://x#a')"]
)
def test_the_guard_of_outside_can_fail(bad: str) -> None:
    assert OUTSIDE.findall(bad)


def test_strange_names_are_text() -> None:
    name = '<script>alert(1)</script> & "$x$"'
    rows = [dataclasses.replace(row, subject=f"{name}{row.subject}", case=name) for row in ALL if row.subject != "machine"]
    odd = reported((*MACHINE, *rows), package=name, notes=(name,), options={name: name}, disturbances=(name,))
    text = to_html(odd, {name: b"RIFF"})
    assert "<script" not in text
    root = ElementTree.fromstring(text)
    assert root.findtext(f"{HTML}body/{HTML}h1") == f"benchmark: {name}"


def test_audio_is_inside() -> None:
    root = ElementTree.fromstring(to_html(reported(), {"short, base": b"RIFF1234"}))
    (player,) = root.iter(f"{HTML}audio")
    assert base64.b64decode(player.attrib["src"].removeprefix("data:audio/wav;base64,")) == b"RIFF1234"
    assert not list(ElementTree.fromstring(to_html(reported())).iter(f"{HTML}audio"))


def test_points_of_the_roofline() -> None:
    (point,) = points(ALL)
    assert (point.intensity, point.reached, point.limit) == (1.0, 10.0, 20.0)
    assert points(STEP) == ()
    assert points((*MACHINE, *STEP[1:])) == ()


@pytest.mark.parametrize("draw", [plots.roofline, plots.shares, plots.rounds, plots.ratios])
def test_a_plot_without_rows_is_nothing(draw: Callable[[Sequence[Measurement]], str]) -> None:
    assert draw(()) == ""
    assert draw(ALL).startswith("<svg ")


def test_an_installation_that_cannot_draw_says_so_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report.check_destination(tmp_path / "r.html")
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"\[report\]"):
        report.check_destination(tmp_path / "r.html")
    with pytest.raises(EnvironmentFault, match=r"\[report\]"):
        to_html(reported())
    report.check_destination(tmp_path / "r.md")
