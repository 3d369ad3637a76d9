"""What a comparison of two reports found, and how it is shown: on screen, for a pull request, as a report of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovconvert.intervals import Estimate
from ovconvert.report import WRITERS, Measurement, Report, check_destination, figure, machine_lines, write_whole

if TYPE_CHECKING:
    from rich.table import Table

WORSE, BETTER, SAME, NOT_WORSE, UNKNOWN, UNASKED = "worse", "better", "same", "not worse", "cannot tell", "not judged"
PASSED = {WORSE: False, BETTER: True, SAME: True, NOT_WORSE: True, UNKNOWN: None, UNASKED: None}
ORDER = (WORSE, UNKNOWN, BETTER, NOT_WORSE, SAME, UNASKED)  # in which verdicts are shown
TIMES = ("s", "ms", "us", "ns", "RTF")
SPOKEN = {WORSE: "slower", BETTER: "faster", NOT_WORSE: "not slower"}  # of times
HEADINGS = ("verdict", "component", "case", "metric", "old", "new", "new / old", "remark")


@dataclass(frozen=True)
class Change:
    """One metric in both reports: its values, new / old with interval, and what that means.

    `per_round` are the ratios of the rounds where both were measured in turns; `more` rounds would tell.
    """

    base: Measurement
    new: Measurement
    ratio: Estimate
    verdict: str
    detail: str = ""
    per_round: tuple[float, ...] = ()
    more: int | None = None

    @property
    def word(self) -> str:
        """Return the verdict as people say it of such a metric: times are slower, all else is worse."""
        return SPOKEN.get(self.verdict, self.verdict) if self.base.unit in TIMES else self.verdict


@dataclass(frozen=True)
class Comparison:
    """All changes from `base` to `new`. `warnings` stand above the table, `notes` below it."""

    base: Report
    new: Report
    fail_over: float
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def having(self, verdict: str) -> tuple[Change, ...]:
        """Return the changes with a verdict."""
        return tuple(change for change in self.changes if change.verdict == verdict)


def bound(change: Change, fail_over: float) -> float:
    """Return the ratio new / old beyond which a metric is worse."""
    return 1 + fail_over if change.base.better == "lower" else 1 / (1 + fail_over)


def headline(comparison: Comparison) -> str:
    """Return the verdict on the whole in one sentence."""
    counts = Counter(change.verdict for change in comparison.changes)
    asked = len(comparison.changes) - counts[UNASKED]
    rest = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER[1:-1] if counts[verdict])
    limit = f"{100 * comparison.fail_over:g} %"
    if counts[WORSE]:
        return f"REGRESSION: {counts[WORSE]} of {asked} metrics worse by more than {limit}" + (f"; {rest}" if rest else "")
    if counts[UNKNOWN]:
        return f"No regression of more than {limit} shown, but not all of it could be told ({asked} metrics: {rest})"
    return f"No regression of more than {limit} ({asked} metrics: {rest})"


def cells(change: Change) -> tuple[str, ...]:
    """Return a change as one text per heading."""
    row, estimate = change.base, change.ratio
    interval = "" if estimate.low == estimate.high else f" ({figure(estimate.low)} to {figure(estimate.high)})"
    values = (f"{figure(value)} {row.unit}".strip() for value in (row.value, change.new.value))
    return change.word, row.subject, row.case, row.metric, *values, figure(estimate.value) + interval, change.detail


def in_order(comparison: Comparison) -> list[Change]:
    """Return the changes, those that ask for a look first."""
    return sorted(comparison.changes, key=lambda change: ORDER.index(change.verdict))


def to_report(comparison: Comparison) -> Report:
    """Return the comparison as a report of the judge `compare`: a row per metric, its value the ratio new / old."""
    rows = tuple(
        Measurement(
            change.base.subject,
            change.base.case,
            change.base.metric,
            change.ratio.value,
            "x",
            None if change.verdict == UNASKED else bound(change, comparison.fail_over),
            PASSED[change.verdict],
            "; ".join(text for text in (change.word, " -> ".join(cells(change)[4:6]), change.detail) if text),
            change.ratio.low,
            change.ratio.high,
            change.per_round,
        )
        for change in in_order(comparison)
    )
    return Report(
        "compare",
        names(comparison),
        comparison.new.machine,
        rows,
        {"fail_over": comparison.fail_over, "base": comparison.base.package, "new": comparison.new.package},
        (headline(comparison), *comparison.warnings, *comparison.notes),
        run=comparison.new.run if comparison.new.run == comparison.base.run else "",
    )


def names(comparison: Comparison) -> str:
    """Return what was compared with what."""
    return f"{comparison.new.package} against {comparison.base.package}"


def to_markdown(comparison: Comparison) -> str:
    """Return the comparison for a pull request: verdict, warnings, table, notes, machine."""
    lines = [f"## {names(comparison)}", "", f"**{headline(comparison)}**", ""]
    lines += [f"> **Note:** {text}  " for text in comparison.warnings] + ([""] if comparison.warnings else [])
    lines += _rows([change for change in in_order(comparison) if change.verdict != UNASKED])
    if others := comparison.having(UNASKED):
        folded = f"<details><summary>{len(others)} more for information, not judged</summary>"
        lines += ["", folded, "", *_rows(others), "", "</details>"]
    lines += ["", *(f"- {note}" for note in comparison.notes), *([""] if comparison.notes else [])]
    lines += ["Made on:", "", *(f"- {name}: {text}" for name, text in machine_lines(comparison.new.machine))]
    return "\n".join(lines) + "\n"


def _rows(changes: Iterable[Change]) -> list[str]:
    """Return a Markdown table of changes."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    for change in changes:
        texts = [cell.replace("|", "\\|") for cell in cells(change)]
        texts[0] = f"**{texts[0]}**" if change.verdict == WORSE else texts[0]
        lines.append("| " + " | ".join(texts) + " |")
    return lines


def to_table(comparison: Comparison) -> Table:
    """Return the comparison as a table for the screen."""
    from rich.table import Table

    table = Table(title=names(comparison), caption=headline(comparison), title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in ("old", "new") else "left", overflow="fold")
    for change in in_order(comparison):
        table.add_row(*cells(change), style="bold red" if change.verdict == WORSE else None)
    return table


def write(comparison: Comparison, path: Path) -> None:
    """Write the comparison to `path` in the form that its suffix names, whole or not at all. Raises as `report.write`."""
    check_destination(path)
    markdown = path.suffix == ".md"
    write_whole(path, to_markdown(comparison).encode() if markdown else WRITERS[path.suffix](to_report(comparison)))
