"""A report as one HTML page that needs nothing beside itself: verdict, plots, tables, audio."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from importlib.util import find_spec

from ovconvert.errors import EnvironmentFault
from ovconvert.page import plots, spectra
from ovconvert.page.points import Point, points
from ovconvert.page.times import is_ratio
from ovconvert.report import HEADINGS, Exhibit, Measurement, Report, Summary, cells, figure, machine_lines, verdict

MARK = '<meta name="generator" content="ovconvert"/>'
NOTHING_FROM_OUTSIDE = "default-src 'none'; style-src 'unsafe-inline'; media-src data:; img-src data:"
NUMBERS = ("value", "floor")  # columns


def require() -> None:
    """Raise EnvironmentFault if the installation cannot draw pages."""
    if find_spec("matplotlib") is None:
        raise EnvironmentFault(
            "an HTML report needs matplotlib, which the deployment install leaves out; "
            "install the extra: pip install -c constraints.txt -e '.[report]'"
        )


def to_html(report: Report, audio: Mapping[str, bytes] | None = None) -> str:
    """Return the report as HTML that is well-formed XML too; equal reports give equal text.

    `audio` holds WAV files by the name that the page gives them. A plot stands only where the report has the rows for it.
    Raises EnvironmentFault if matplotlib is not installed.
    """
    require()
    title = f"{report.judge}: {report.package}"
    ratios = [row for row in report.rows if is_ratio(row)]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict{" fail" if report.failed else ""}">{escape(verdict(report))}</p>',
        _disturbances(report.disturbances),
        _section("Falls short", _bullets(row.line() for row in report.failed)),
        _section("Audio", "".join(_player(name, wav) for name, wav in (audio or {}).items())),
        _section("To hear", "".join(map(_exhibit, report.exhibits))),
        *(_section(summary.heading, _summary(summary)) for summary in report.summaries),
        _section("Speed against quality", _drawn(plots.speed_and_loss, FRONT, report)),
        _section("Against others", _drawn(plots.ratios, RATIOS, report) + _table(ratios, with_subject=True)),
        _section("Against the machine", _drawn(plots.roofline, ROOFLINE, report) + _legend(points(report.rows))),
        _section("Where the time goes", _drawn(plots.shares, SHARES, report)),
        _section("Round by round", _drawn(plots.rounds, ROUNDS, report)),
        _section("All measurements", "".join(_tables([row for row in report.rows if not is_ratio(row)]))),
        _section("Notes", _bullets(report.notes)),
        _section("Machine", _pairs(machine_lines(report.machine))),
        _section("Options", _pairs((key, str(value)) for key, value in sorted(report.options.items()))),
    ]
    style = resources.files(__name__).joinpath("style.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en" xmlns="http://www.w3.org/1999/xhtml">',
            '<head><meta charset="utf-8"/>',
            MARK,
            f'<meta http-equiv="Content-Security-Policy" content="{NOTHING_FROM_OUTSIDE}"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style></head>",
            "<body>",
            *(part for part in parts if part),
            "</body></html>",
            "",
        ]
    )


RATIOS = (
    "How many times better than others, measured in turns; the bar is the 95 % interval. Filled: the interval does not "
    "contain 1. At most thirty rows are drawn for each of the others; the table has all."
)
FRONT = (
    "What the MOS proxy loses (less is higher up) over how many times as fast each point is. The line joins those to which "
    "no other is better in both (Pareto front); a cross falls short of a floor."
)
ROOFLINE = (
    "What each component computes per second, against what the machine could at that many operations per byte (Williams, "
    "Waterman and Patterson, 2009). The numbers are those of the table below; the thin line ends at the limit. A point "
    "above the slope reads its weights from a cache, which is faster than memory."
)
SHARES = "Share of each component in the time of an utterance."
ROUNDS = (
    "Thin lines: the samples of every row, each divided by its median. Thick line: the median of the thin ones. "
    "A thick line that climbs or jumps is the machine, not the package."
)


def _section(heading: str, body: str) -> str:
    """Return a section, nothing for an empty body."""
    return f"<section><h2>{escape(heading)}</h2>\n{body}</section>" if body else ""


def _disturbances(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    return f'<section class="disturbed" role="alert"><h2>Disturbed while measuring</h2>{_bullets(texts)}</section>'


def _bullets(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs)
    return f"<dl>{items}</dl>" if items else ""


def _player(name: str, wav: bytes) -> str:
    data = base64.b64encode(wav).decode()
    return (
        f"<figure><figcaption>{escape(name)}</figcaption>"
        f'<audio controls="controls" preload="none" src="data:audio/wav;base64,{data}"></audio></figure>\n'
    )


def _exhibit(exhibit: Exhibit) -> str:
    """Return players, and of the first two sounds what they differ in."""
    picture = spectra.difference(exhibit.sounds[:2]) if len(exhibit.sounds) > 1 else b""
    image = (
        f'<img alt="spectrograms and their difference" src="data:image/png;base64,{base64.b64encode(picture).decode()}"/>'
    )
    return (
        f"<h3>{escape(exhibit.heading)}</h3>\n<p>{escape(exhibit.text)}</p>\n"
        + "".join(_player(name, wav) for name, wav in exhibit.sounds)
        + (f'<figure><div class="wide">{image}</div></figure>\n' if picture else "")
    )


def _summary(summary: Summary) -> str:
    text = f"<p>{escape(summary.text)}</p>\n" if summary.text else ""
    return text + _grid(summary.headings, summary.lines, [""] * len(summary.lines), numbers=summary.headings[1:])


def _drawn(plot: Callable[[Sequence[Measurement]], str], caption: str, report: Report) -> str:
    """Return a plot with its caption, nothing where the report has no rows for it."""
    svg = plot(report.rows)
    return f'<figure><div class="wide">{svg}</div><figcaption>{escape(caption)}</figcaption></figure>\n' if svg else ""


def _tables(rows: Sequence[Measurement]) -> Iterable[str]:
    for subject in dict.fromkeys(row.subject for row in rows):
        yield f"<h3>{escape(subject)}</h3>\n" + _table([row for row in rows if row.subject == subject])


def _table(rows: Sequence[Measurement], with_subject: bool = False) -> str:
    """Return a table of measurements without the columns that none of them uses."""
    lines = [("" if cell == "-" else cell for cell in cells(row)) for row in rows]
    columns = [
        (heading, column)
        for heading, column in zip(HEADINGS, zip(*lines, strict=True), strict=False)
        if any(column) and (with_subject or heading != HEADINGS[0])
    ]
    classes = ["fail" if row.passed is False else "" for row in rows]
    return _grid([heading for heading, _ in columns], list(zip(*(column for _, column in columns), strict=True)), classes)


def _legend(shown: Sequence[Point]) -> str:
    """Return the table that says what the numbers in the roofline mean."""
    headings = ["no.", "component", "case", "operations per byte", "GFLOP/s", "limit", "reached"]
    lines = [
        (
            *(str(number), point.subject, point.case, figure(point.intensity), figure(point.reached)),
            *(figure(point.limit), f"{100 * point.reached / point.limit:.0f} %"),
        )
        for number, point in enumerate(shown, start=1)
    ]
    return _grid(headings, lines, [""] * len(lines), numbers=(headings[0], *headings[3:]))


def _grid(
    headings: Sequence[str], lines: Sequence[Sequence[str]], classes: Sequence[str], numbers: Sequence[str] = NUMBERS
) -> str:
    if not lines:
        return ""
    top = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        f"<tr{_class(name)}>{_row(headings, line, numbers)}</tr>\n" for line, name in zip(lines, classes, strict=True)
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def _row(headings: Sequence[str], line: Sequence[str], numbers: Sequence[str]) -> str:
    return "".join(
        f"<td{_class('number' if heading in numbers else '')}>{escape(cell)}</td>"
        for heading, cell in zip(headings, line, strict=True)
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
