"""The short tables before the long one: what each addition brought, and how cost grows with what was varied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ovconvert import intervals
from ovconvert.bench.alone import ROWS
from ovconvert.bench.bench import NEW_VOICE, PROCESS
from ovconvert.bench.growth import SLOPE, START
from ovconvert.bench.rows import labelled
from ovconvert.bench.side_by_side import SIDE_BY_SIDE
from ovconvert.bench.spoken import WHOLE
from ovconvert.report import Measurement, Summary, cells, figure

Found = dict[tuple[str, str, str], Measurement]  # by subject, case, metric
NOTHING = "-"
COLUMNS = ("seconds in all", "seconds to first audio", "RTF")
COSTS = (*COLUMNS, "peak RSS, MB")


def overview(
    rows: Sequence[Measurement], added: Sequence[str], varied: Sequence[str], beside: Sequence[str] = ()
) -> Iterator[Summary]:
    """Yield the tables that the rows of a benchmark give.

    `added` are the labels of an ablation, in its order; `varied` those that differ in threads or in the reference; `beside`
    the other engines and packages.
    """
    found = {(row.subject, row.case, row.metric): row for row in rows}
    texts = _cases(rows, "RTF") or _cases(rows, COLUMNS[0])  # an answer in text has no rate
    known = [text for text in texts if not text.endswith(NEW_VOICE)]
    if not known:
        return
    fresh = next((text for text in texts if text.endswith(NEW_VOICE)), "")
    yield _texts(found, texts)
    for case in texts if beside else ():
        yield from _table(f"Beside others: {case}", "", found, ("", *beside), case)
    for case in filter(None, (known[-1], fresh if varied else "")):
        yield from _table(f"What was varied: {case}", "", found, ("", *varied) if varied else (), case)
    yield from _table(
        f"What each addition brings: {known[-1]}",
        "Every line has all additions of the lines above. The ratios are of RTF, so audio of other length compares too, "
        "and of the same rounds. Lines that differ in the request alone share a process, and its memory is told once.",
        found,
        added,
        known[-1],
        steps=True,
    )
    yield from _growth(found)
    yield from _side_by_side(found)
    yield from _per_row(rows)


def _cases(rows: Sequence[Measurement], metric: str) -> list[str]:
    """Return the texts, or recordings, that have this figure as a whole."""
    return list(dict.fromkeys(row.case for row in rows if (row.subject, row.metric) == (WHOLE, metric)))


def _texts(found: Found, texts: Sequence[str]) -> Summary:
    lines = tuple((text, *(_cell(found.get((WHOLE, text, metric))) for metric in ("audio", *COLUMNS))) for text in texts)
    return Summary("End to end", "", ("text", "seconds of audio", *COLUMNS), lines)


def _table(
    heading: str, text: str, found: Found, labels: Sequence[str], case: str, *, steps: bool = False
) -> Iterator[Summary]:
    """Yield a line per label: its cost, and how many times faster than the first it is; of `steps` also than the last."""
    cost = "RTF" if (WHOLE, case, "RTF") in found else COLUMNS[0]
    shown = [label for label in labels if (labelled(WHOLE, label), case, cost) in found]
    if not shown:
        return
    costs = [found[labelled(WHOLE, label), case, cost] for label in shown]
    lines = tuple(
        (
            label or "the package",
            *(_cell(found.get((labelled(WHOLE, label), case, metric))) for metric in COLUMNS),
            _cell(found.get((labelled(PROCESS, label), "all texts", "peak RSS"))),
            *([_faster(costs[place - 1], now) if place else NOTHING] if steps else []),
            _faster(costs[0], now) if place else NOTHING,
        )
        for place, (label, now) in enumerate(zip(shown, costs, strict=True))
    )
    before = ["times as fast as the line before"] if steps else []
    yield Summary(heading, text, ("", *COSTS, *before, "times as fast as the first"), lines)


def _growth(found: Found) -> Iterator[Summary]:
    slopes = [row for row in found.values() if row.metric == SLOPE]
    lines = tuple((row.subject, _cell(row), _cell(found.get((row.subject, row.case, START)))) for row in slopes)
    if lines:
        yield Summary("How cost grows with the audio", slopes[0].detail, ("", f"seconds {SLOPE}", f"seconds {START}"), lines)


def _side_by_side(found: Found) -> Iterator[Summary]:
    cases = [case for subject, case, metric in found if (subject, metric) == (SIDE_BY_SIDE, "seconds in all")]
    metrics = ("audio made per second", "seconds in all")
    lines = tuple((case, *(_cell(found[SIDE_BY_SIDE, case, metric]) for metric in metrics)) for case in cases)
    if lines:
        yield Summary("Utterances at a time", "", ("", "seconds of audio per second", "seconds until one is done"), lines)


def _per_row(rows: Sequence[Measurement]) -> Iterator[Summary]:
    """Yield what a row costs where a component ran alone on several numbers of them, all else being equal."""
    groups: dict[tuple[str, str], dict[int, Measurement]] = {}
    for row in rows:
        sizes = dict(part.partition("=")[::2] for part in row.case.split())
        if row.metric == "one call" and ROWS in sizes:
            count = int(sizes.pop(ROWS))
            rest = " ".join(f"{axis}={size}" for axis, size in sizes.items())
            groups.setdefault((row.subject, rest), {})[count] = row
    lines = [
        (subject, rest, str(count), _cell(row), figure(row.value / count))
        for (subject, rest), group in groups.items()
        if len(group) > 1
        for count, row in sorted(group.items())
    ]
    if lines:
        yield Summary("Rows at once", "", ("component", "case", "rows", "ms a call", "ms a row"), tuple(lines))


def _faster(before: Measurement, now: Measurement) -> str:
    estimate = intervals.ratio(now.samples, before.samples, paired=True)
    low, high = figure(estimate.low), figure(estimate.high)
    return figure(estimate.value) + (f" ({low} to {high})" if len(now.samples) > 1 and low != high else "")


def _cell(row: Measurement | None) -> str:
    """Return value and interval of a row as reports write them."""
    return NOTHING if row is None else cells(row)[3]
