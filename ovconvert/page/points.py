"""The points of a roofline, found among the rows of a report by their metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ovconvert.report import Measurement

BANDWIDTH, RATE = "bandwidth", "multiply rate"  # GB/s, GFLOP/s, of the machine
OPERATIONS, BYTES, ONE_CALL = "operations", "bytes", "one call"  # GFLOP, MB, ms, of a component at one size


@dataclass(frozen=True)
class Point:
    """A component at one size: operations per byte, and GFLOP/s as measured and as the machine allows."""

    subject: str
    case: str
    intensity: float
    reached: float
    limit: float


def roof(rows: Iterable[Measurement]) -> tuple[Measurement, Measurement] | None:
    """Return the rows (bandwidth, multiply rate) of the machine, None if the report lacks one."""
    found = {row.metric: row for row in rows if row.metric in (BANDWIDTH, RATE) and row.value > 0}
    return (found[BANDWIDTH], found[RATE]) if len(found) == 2 else None


def points(rows: Iterable[Measurement]) -> tuple[Point, ...]:
    """Return a point per component and case with operations, bytes and time, in the order of the report.

    Components without multiply-adds have no place on the plot.
    """
    rows = tuple(rows)
    machine = roof(rows)
    if machine is None:
        return ()
    bandwidth, rate = (row.value for row in machine)
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row.metric in (OPERATIONS, BYTES, ONE_CALL) and row.value > 0:
            found.setdefault((row.subject, row.case), {})[row.metric] = row.value
    shown = []
    for (subject, case), values in found.items():
        if len(values) == 3:
            intensity = 1000 * values[OPERATIONS] / values[BYTES]
            reached = 1000 * values[OPERATIONS] / values[ONE_CALL]
            shown.append(Point(subject, case, intensity, reached, min(rate, intensity * bandwidth)))
    return tuple(shown)
