"""A report says the same in every form, also where a number is not finite."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ovconvert import report
from ovconvert.errors import UsageError
from ovconvert.machine import describe
from ovconvert.report import Measurement, Report, at_least

MACHINE = describe(versions={"openvino": "2026.4.1"})
ROWS = (
    at_least("vocoder", "frames=1", "snr", math.inf, "dB", 60.0),
    at_least("vocoder", "frames=7", "snr", 12.3456, "dB", 60.0, "a|b"),
    at_least("step", "past=0", "snr", math.nan, "dB", 60.0),
    Measurement("step", "past=0", "max_error", 1.5e-7, ""),
)
REPORT = Report("validate", "pkg", MACHINE, ROWS, {"threads": 2}, ("a note",))


def test_json_gives_the_report_back() -> None:
    back = report.from_json(report.to_json(REPORT))
    assert math.isnan(back.rows[2].value)
    assert back.rows[0] == ROWS[0]
    assert dataclasses.replace(back, rows=()) == dataclasses.replace(REPORT, rows=())
    assert report.to_json(back) == report.to_json(REPORT)


def test_rows_below_their_floor_and_no_numbers_fail() -> None:
    assert REPORT.failed == ROWS[1:3]
    assert report.verdict(REPORT) == "1 of 3 checks passed, 2 failed"


def test_markdown_has_a_row_per_measurement() -> None:
    text = report.to_markdown(REPORT)
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 2 + len(ROWS)  # a heading and a rule above them
    assert "| vocoder | frames=7 | snr | 12.35 | dB | 60 | FAIL | a\\|b |" in table
    assert "openvino 2026.4.1" in text
    assert "- a note" in text


def test_junit_counts_what_fails() -> None:
    suite = ElementTree.fromstring(report.to_junit(REPORT))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "2", "1")
    assert len(suite.findall("testcase/failure")) == 2


def test_the_table_has_a_row_per_measurement() -> None:
    assert report.to_table(REPORT).row_count == len(ROWS)


@pytest.mark.parametrize("suffix", [".json", ".md", ".xml", ".html"])
def test_a_report_is_written_whole_and_replaced_by_its_like(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / f"r{suffix}"
    report.write(REPORT, path)
    report.write(REPORT, path)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".json", ".md", ".xml", ".html"])
def test_a_file_of_somebody_else_is_not_replaced(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"r{suffix}"
    path.write_text("mine")
    with pytest.raises(UsageError, match="not a report of ovconvert"):
        report.write(REPORT, path)
    assert path.read_text() == "mine"


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"have: \.json, \.md, \.xml, \.html"):
        report.write(REPORT, tmp_path / "r.pdf")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", report.to_json(REPORT).replace(b'"format": 1', b'"format": 9')]
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError):
        report.from_json(data)


def test_figures_read_well() -> None:
    assert [report.figure(x) for x in (0.0, 12.3456, 1e-7, math.inf)] == ["0", "12.35", "1.000e-07", "inf"]


def test_markdown_leaves_out_what_no_row_has() -> None:
    steady = Measurement("a", "b", "c", 1.5, "s", low=1.5, high=1.5)
    plain = report.to_markdown(Report("benchmark", "pkg", MACHINE, (steady,)))
    assert "| component | case | metric | value | unit | detail |" in plain
    assert "| a | b | c | 1.5 | s |  |" in plain  # without the interval of what never changes
    asked = report.to_markdown(Report("validate", "pkg", MACHINE, (at_least("a", "b", "c", 1.5, "dB", 1.0),)))
    assert "| floor | verdict | detail |" in asked
