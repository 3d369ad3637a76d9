"""The plots of a page, drawn by matplotlib as SVG text: from the rows of a report, "" where it has none for the plot.

Colours of text and lines are the page's, so that a plot is dark where the page is.
"""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from ovconvert.page.front import front, marks
from ovconvert.page.points import points, roof
from ovconvert.page.times import compared, is_ratio
from ovconvert.report import Measurement, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT, LINE = "#010203", "#040506"  # stand for the page's own colours until the SVG is written
PAGE_COLOURS = {TEXT: "currentColor", LINE: "var(--line)"}
COLOURS = ("#4a90d9", "#e08214", "#3a9d5d", "#9b72cf", "#d1495b", "#2aa5a0", "#a0714f")  # seen on white and on black
GREY = "#8a8f98"
STYLE = {
    "axes.edgecolor": LINE,
    "axes.labelcolor": TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 10,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": TEXT,
    "text.parse_math": False,  # a name may hold dollars
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}
WIDTH = 8.0  # inches
MOST_RATIOS = 30  # drawn per competitor
LABELLED = re.compile(r"(?P<part>.*?)(?: \((?P<label>[^()]*)\))?")  # "decoder (pytorch)": a part of a competitor


def roofline(rows: Sequence[Measurement]) -> str:
    """Return GFLOP/s over operations per byte: the machine's limit, and the components as numbered points."""
    machine, shown = roof(rows), points(rows)
    if machine is None or not shown:
        return ""
    bandwidth, rate = machine
    ridge = rate.value / bandwidth.value
    across = (min(ridge, *(point.intensity for point in shown)) / 3, max(ridge, *(point.intensity for point in shown)) * 3)
    with _drawing("roofline", "Roofline: measured against attainable GFLOP/s", WIDTH, 4.6) as (figure_, svg):
        axes = figure_.subplots()
        steps = [across[0] * (across[1] / across[0]) ** (number / 200) for number in range(201)]
        low, middle, high = (
            [min(rate_, step * bandwidth_) for step in steps]
            for bandwidth_, rate_ in zip(_bounds(bandwidth), _bounds(rate), strict=True)
        )
        axes.fill_between(steps, low, high, color=GREY, alpha=0.3, linewidth=0)
        axes.plot(steps, middle, color=TEXT)
        for number, point in enumerate(shown):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot([point.intensity] * 2, [point.reached, point.limit], color=colour, linewidth=0.8)
            axes.plot(point.intensity, point.reached, "o", color=colour, markersize=13)
            axes.annotate(
                str(number + 1), (point.intensity, point.reached), ha="center", va="center", color="white", fontsize=8
            )
        axes.set(xscale="log", yscale="log", xlim=across, xlabel="operations per byte", ylabel="GFLOP/s")
        axes.set_title(f"{figure(rate.value)} GFLOP/s, {figure(bandwidth.value)} GB/s")
        axes.xaxis.set_major_formatter(_plain)
        axes.yaxis.set_major_formatter(_plain)
        axes.grid(True, which="major")
    return svg()


def shares(rows: Sequence[Measurement]) -> str:
    """Return a stacked bar per utterance: the share of each component, small ones together."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.metric == "share":
            part, label = _unlabelled(row.subject)
            found.setdefault(", ".join(filter(None, (row.case, label))), {})[part] = row.value
    if not found:
        return ""
    largest: dict[str, float] = {}
    for bar in found.values():
        for part, share in bar.items():
            largest[part] = max(share, largest.get(part, 0.0))
    parts = sorted(largest, key=lambda part: -largest[part])[: len(COLOURS)]
    with _drawing("shares", "Share of each component", WIDTH, 1.3 + 0.45 * len(found)) as (figure_, svg):
        axes = figure_.subplots()
        left = dict.fromkeys(found, 0.0)
        for part, colour in zip([*parts, "others"], [*COLOURS[: len(parts)], GREY], strict=True):
            wide = {
                name: sum(share for other, share in bar.items() if other not in parts)
                if part == "others"
                else bar.get(part, 0.0)
                for name, bar in found.items()
            }
            if not any(wide.values()):
                continue
            axes.barh(list(found), list(wide.values()), left=list(left.values()), color=colour, label=part, height=0.7)
            for number, name in enumerate(found):
                if wide[name] >= 4:
                    axes.text(
                        left[name] + wide[name] / 2, number, f"{wide[name]:.0f}", ha="center", va="center", color="white"
                    )
                left[name] += wide[name]
        axes.set(xlim=(0, max(100, *left.values())), xlabel="%")
        axes.invert_yaxis()
        figure_.legend(loc="outside lower center", ncols=4, fontsize=9)
    return svg()


def rounds(rows: Sequence[Measurement]) -> str:
    """Return a panel per metric: samples over rounds, every row divided by its median, and the median of the rows."""
    found: dict[str, list[list[float]]] = {}
    for row in rows:
        middle = statistics.median(row.samples) if row.samples else 0.0
        if middle > 0 and len(set(row.samples)) > 1 and not is_ratio(row) and (row.better or row.subject == "machine"):
            found.setdefault(row.metric, []).append([sample / middle for sample in row.samples])
    if not found:
        return ""
    columns = min(2, len(found))
    lines = -(-len(found) // columns)
    with _drawing("rounds", "Samples over the rounds", WIDTH, 0.3 + 1.7 * lines) as (figure_, svg):
        panels = figure_.subplots(lines, columns, squeeze=False).flat
        for (metric, samples), panel in zip(found.items(), panels, strict=False):
            for row_ in samples:
                panel.plot(range(1, len(row_) + 1), row_, color=GREY, linewidth=0.8, alpha=0.7)
            length = max(map(len, samples))
            middle_ = [statistics.median(row_[n] for row_ in samples if n < len(row_)) for n in range(length)]
            panel.plot(range(1, length + 1), middle_, color=COLOURS[0], linewidth=2, marker="o", markersize=3)
            panel.set_title(f"{metric} ({len(samples)} {'row' if len(samples) == 1 else 'rows'})")
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.grid(True, axis="y")
        for panel in panels:  # what the metrics left over
            panel.set_axis_off()
        figure_.supxlabel("round", fontsize=10)
        figure_.supylabel("sample / median", fontsize=10)
    return svg()


def ratios(rows: Sequence[Measurement]) -> str:
    """Return a plot per competitor, one below the other: every ratio with its interval, and a line at 1."""
    found: dict[str, list[tuple[str, Measurement]]] = {}
    for row in rows:
        if is_ratio(row):
            label, other = compared(row)
            found.setdefault(other, []).append((label, row))
    return "\n".join(
        _forest(f"ratios{number}", other, shown[:MOST_RATIOS]) for number, (other, shown) in enumerate(found.items())
    )


def speed_and_loss(rows: Sequence[Measurement]) -> str:
    """Return the points of a tuning: loss of the MOS proxy over speed, the front as a line; crosses fall short."""
    shown = marks(rows)
    if not shown:
        return ""
    best = front(shown)
    with _drawing("front", "Loss of the MOS proxy over speed", WIDTH, 4.2) as (figure_, svg):
        axes = figure_.subplots()
        axes.plot([mark.gain for mark in best], [mark.loss for mark in best], color=TEXT, linewidth=1)
        for number, mark in enumerate(shown):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(mark.gain, mark.loss, "o" if mark.passes else "X", color=colour, markersize=9)
            axes.annotate(mark.name, (mark.gain, mark.loss), xytext=(7, 5), textcoords="offset points", fontsize=9)
        axes.set(xlabel="times as fast as it was", ylabel="drop of the MOS proxy")
        axes.invert_yaxis()
        axes.margins(x=0.15, y=0.15)
        axes.grid(True)
    return svg()


def _forest(name: str, other: str, shown: Sequence[tuple[str, Measurement]]) -> str:
    title = f"times better than {other}" if other else "times"
    with _drawing(name, title, WIDTH, 1.0 + 0.28 * len(shown)) as (figure_, svg):
        axes = figure_.subplots()
        axes.axvline(1.0, color=TEXT, linewidth=1)
        for place, (_, row) in enumerate(shown):
            low, middle, high = _bounds(row)
            decided = low > 1 or high < 1
            good = middle > 1 if row.better == "higher" else middle < 1
            colour = GREY if not decided or not row.better else COLOURS[0] if good else COLOURS[1]
            axes.plot([low, high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
            axes.plot(middle, place, "o", color=colour, markerfacecolor=colour if decided else "none", markersize=6)
            axes.annotate(figure(middle), (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=9)
        ends = [end for _, row in shown for end in _bounds(row)] + [1.0]
        axes.set(xscale="log", xlim=(min(ends) / 1.1, max(ends) * 1.1), ylim=(len(shown) - 0.5, -0.5), title=title)
        axes.set_yticks(range(len(shown)), [label for label, _ in shown], fontsize=9)
        axes.xaxis.set_major_formatter(_plain)
        axes.xaxis.set_minor_formatter(_plain if max(ends) / min(ends) < 5 else _nothing)
        axes.tick_params(axis="x", which="both", labelsize=9)
        axes.grid(True, axis="x")
    return svg()


def _bounds(row: Measurement) -> tuple[float, float, float]:
    """Return (low, value, high) of a row, the value thrice where it has no interval."""
    return (row.value if row.low is None else row.low, row.value, row.value if row.high is None else row.high)


def _plain(value: float, _: Any) -> str:
    return f"{value:g}"


def _nothing(value: float, _: Any) -> str:
    return ""


def _unlabelled(subject: str) -> tuple[str, str]:
    """Return (part, competitor) of a subject, the competitor "" for the package itself."""
    found = LABELLED.fullmatch(subject)
    return (found["part"], found["label"] or "") if found else (subject, "")


@contextmanager
def _drawing(name: str, title: str, width: float, height: float) -> Iterator[tuple[Figure, Callable[[], str]]]:
    """Yield a figure of `width` x `height` inches in the page's style, and what returns its SVG after the block.

    The same figure gives the same text everywhere: no date, seeded names, matplotlib's own defaults and font metrics.
    """
    import matplotlib
    import matplotlib.style
    from matplotlib.figure import Figure

    written = io.StringIO()
    with matplotlib.style.context("default"), matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        drawn = Figure(figsize=(width, height), layout="constrained")
        yield drawn, lambda: _inline(written.getvalue(), name, title)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        drawn.savefig(written, format="svg", transparent=True, metadata=nothing)


def _inline(svg: str, name: str, title: str) -> str:
    """Return the SVG element alone, its names made unique on the page, its text and lines in the page's colours."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for stand_in, colour in PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
