"""What a judge found. The JSON is the truth; the table on screen, Markdown and JUnit XML are drawn from it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import msgspec

from ovconvert.errors import UsageError
from ovconvert.machine import Machine

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = 1
NUMBERS = ("value", "floor", "low", "high")  # of a row: may be infinite or not a number, which JSON lacks


@dataclass(frozen=True)
class Measurement:
    """One number: of what (`subject`), on which input (`case`), called what (`metric`), in which `unit`.

    `passed` is None for a number that nothing was asked of. A `value` may be infinite (equal tensors) or not a number.
    `low` and `high` are its 95 % interval. `samples` are the raw figures behind it, one per round in the order of the
    rounds; `better` is "lower" or "higher" where a change of the value is good or bad, "" where it is neither.
    """

    subject: str
    case: str
    metric: str
    value: float
    unit: str
    floor: float | None = None
    passed: bool | None = None
    detail: str = ""
    low: float | None = None
    high: float | None = None
    samples: tuple[float, ...] = ()
    better: str = ""

    def line(self) -> str:
        """Return the measurement in one line, as an error lists it."""
        bound = "" if self.floor is None else f", asked: {figure(self.floor)}"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.subject} [{self.case}]: {self.metric} {figure(self.value)} {self.unit}{bound}{detail}"


@dataclass(frozen=True)
class Exhibit:
    """Something to hear: a heading, what there is to say, and WAV files (int16, mono) by the name a page gives them."""

    heading: str
    text: str
    sounds: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Summary:
    """A short table for people, drawn from rows: a heading, what there is to say, headings of the columns, the lines."""

    heading: str
    text: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Report:
    """All measurements of one judge on one package.

    `run` names the process that measured: the samples of two reports with the same one were taken in turns, and the i-th of
    both belong to one round. `disturbances` say what else the machine was doing. `exhibits` are for the page alone.
    `summaries` stand before the table of all rows.
    """

    judge: str
    package: str
    machine: Machine
    rows: tuple[Measurement, ...]
    options: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    format: int = FORMAT
    run: str = ""
    disturbances: tuple[str, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    summaries: tuple[Summary, ...] = ()

    @property
    def failed(self) -> tuple[Measurement, ...]:
        """Return the rows that fell short of what was asked."""
        return tuple(row for row in self.rows if row.passed is False)


def at_least(subject: str, case: str, metric: str, value: float, unit: str, floor: float, detail: str = "") -> Measurement:
    """Return a measurement that passes if `value` reaches `floor`. A value that is not a number does not pass."""
    return Measurement(subject, case, metric, value, unit, floor, value >= floor, detail)


def figure(value: float) -> str:
    """Return a number as people read it: four significant digits, no exponent where it can be helped."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4g}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.3e}"


def to_json(report: Report) -> bytes:
    """Return the report as JSON, without its exhibits. Infinity and NaN, which JSON lacks, are written as strings."""
    data = msgspec.to_builtins(replace(report, exhibits=()))
    del data["exhibits"]
    for row in data["rows"]:
        for key in NUMBERS:
            if row[key] is not None and not math.isfinite(row[key]):
                row[key] = str(row[key])
    return msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n"


def from_json(data: bytes) -> Report:
    """Return the report that `data` holds. Raises UsageError if it holds none that this version reads."""
    try:
        raw = msgspec.json.decode(data, type=dict)
        for row in raw.get("rows", ()):
            for key in NUMBERS:
                if isinstance(row.get(key), str):
                    row[key] = float(row[key])
        report = msgspec.convert(raw, Report)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, AttributeError) as error:
        raise UsageError(f"not a report of ovconvert: {error}") from error
    if report.format != FORMAT:
        raise UsageError(f"the report has format {report.format}; this version reads format {FORMAT}")
    return report


def to_markdown(report: Report) -> str:
    """Return the report as Markdown: verdict, table, machine."""
    lines = [f"# {report.judge}: {report.package}", "", verdict(report), ""]
    if report.disturbances:  # before any number that it is about
        lines += ["**Disturbed while measuring:**", "", *(f"- {text}" for text in report.disturbances), ""]
    for summary in report.summaries:
        lines += [f"## {summary.heading}", "", *([summary.text, ""] if summary.text else [])]
        lines += [*_grid(summary.headings, summary.lines), ""]
    lines += ["## All measurements", ""] if report.summaries else []
    asked = any(row.passed is not None for row in report.rows)
    shown = [place for place, heading in enumerate(HEADINGS) if asked or heading not in ("floor", "verdict")]
    table = [[line[place] for place in shown] for line in (HEADINGS, *map(cells, report.rows))]
    lines += _grid(table[0], table[1:])
    lines += ["", *(f"- {note}" for note in report.notes), *([""] if report.notes else [])]
    lines += ["Made on:", "", *(f"- {name}: {text}" for name, text in machine_lines(report.machine))]
    if report.options:
        lines += ["", "With: " + ", ".join(f"{key} = {value}" for key, value in sorted(report.options.items()))]
    return "\n".join(lines) + "\n"


def _grid(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a table of Markdown, line by line."""
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings), *body]


def to_junit(report: Report) -> str:
    """Return the report as JUnit XML, which CI servers draw: a case per row, those without a floor skipped."""
    asked = [row for row in report.rows if row.passed is not None]
    suite = ElementTree.Element(
        "testsuite",
        name=f"{report.judge} {report.package}",
        tests=str(len(report.rows)),
        failures=str(len(report.failed)),
        errors="0",
        skipped=str(len(report.rows) - len(asked)),
    )
    for row in report.rows:
        case = ElementTree.SubElement(suite, "testcase", classname=row.subject, name=f"{row.case} {row.metric}")
        if row.passed is None:
            ElementTree.SubElement(case, "skipped", message=row.line())
        elif not row.passed:
            ElementTree.SubElement(case, "failure", message=row.line())
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def to_table(report: Report) -> Table:
    """Return the report as a table for the screen."""
    from rich.table import Table

    table = Table(title=f"{report.judge}: {report.package}", caption=verdict(report), title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in ("value", "floor") else "left", overflow="fold")
    for row in report.rows:
        table.add_row(*cells(row), style="bold red" if row.passed is False else None)
    return table


HEADINGS = ("component", "case", "metric", "value", "unit", "floor", "verdict", "detail")
VERDICTS = {True: "pass", False: "FAIL", None: "-"}


def cells(row: Measurement) -> tuple[str, ...]:
    """Return the measurement as one text per heading."""
    floor = "" if row.floor is None else figure(row.floor)
    verdict_of_row = VERDICTS[row.passed]
    value = figure(row.value)
    if row.low is not None and row.high is not None:
        low, high = figure(row.low), figure(row.high)
        value += f" ({low} to {high})" if low != high else ""  # what is the same every time needs none
    return row.subject, row.case, row.metric, value, row.unit, floor, verdict_of_row, row.detail


def verdict(report: Report) -> str:
    """Return in one sentence how many rows passed."""
    asked = [row for row in report.rows if row.passed is not None]
    if not asked:
        return f"{len(report.rows)} measurements, none with a floor"
    return f"{len(asked) - len(report.failed)} of {len(asked)} checks passed, {len(report.failed)} failed"


def machine_lines(machine: Machine) -> tuple[tuple[str, str], ...]:
    """Return (name, text) pairs that say where numbers were made."""
    quota = f", quota {machine.quota_cores:g}" if machine.quota_cores else ""
    return (
        ("processor", machine.processor),
        ("instruction sets", " ".join(machine.isa) or "unknown"),
        ("cores", f"{machine.usable_cores} of {machine.cores}{quota}"),
        ("memory", f"{machine.memory_bytes / 2**30:.1f} GiB"),
        ("huge pages", machine.huge_pages or "unknown"),
        ("load", f"{machine.load:g}"),
        ("system", machine.system),
        ("Python", machine.python),
        ("packages", ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))),
    )


def _text(draw: Callable[[Report], str]) -> Callable[[Report], bytes]:
    return lambda report: draw(report).encode()


def _page(report: Report) -> str:
    from ovconvert.page import to_html

    return to_html(report)


WRITERS: dict[str, Callable[[Report], bytes]] = {
    ".json": to_json,
    ".md": _text(to_markdown),
    ".xml": _text(to_junit),
    ".html": _text(_page),
}
MARKS = {  # what tells a report of ours
    ".json": b'"judge"',
    ".md": b"\nMade on:\n",
    ".xml": b"<testsuite ",
    ".html": b'<meta name="generator" content="ovconvert"',
}


def write(report: Report, path: Path) -> None:
    """Write the report to `path` in the form that its suffix names, whole or not at all.

    Raises UsageError for a suffix that names no form.
    """
    check_destination(path)
    write_whole(path, WRITERS[path.suffix](report))


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_destination(path: Path) -> None:
    """Raise UsageError if no report can be written to `path`: its suffix names no form, or it is not ours.

    Raises EnvironmentFault if the installation cannot draw the form that the suffix names.
    """
    if path.suffix not in WRITERS:
        raise UsageError(f"report {path}: unknown suffix {path.suffix!r}; have: {', '.join(WRITERS)}")
    if path.is_dir():
        raise UsageError(f"report {path} is a directory; name a file")
    if path.exists() and MARKS[path.suffix] not in path.read_bytes():
        raise UsageError(f"report {path} exists and is not a report of ovconvert: not replaced; name another file")
    if path.suffix == ".html":
        from ovconvert.page import require

        require()
