"""The points of a tuning, found among the rows of a report by their metrics: how fast, and what was lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ovconvert.report import Measurement

GAIN, LOSS = "times as fast as it was", "MOS proxy, drop of the point"
SHORT = "falls short"  # how the detail of a loss begins where a floor is missed


@dataclass(frozen=True)
class Mark:
    """A point: how many times as fast, the loss of the MOS proxy, and whether it passes its floors."""

    name: str
    gain: float
    loss: float
    passes: bool


def marks(rows: Iterable[Measurement]) -> tuple[Mark, ...]:
    """Return the points that have both figures, in the order of the report."""
    found: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        if row.metric in (GAIN, LOSS):
            found.setdefault(row.subject, {})[row.metric] = row
    return tuple(
        Mark(name, both[GAIN].value, both[LOSS].value, not both[LOSS].detail.startswith(SHORT))
        for name, both in found.items()
        if len(both) == 2
    )


def front(shown: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return the points to which no other is as good in both and better in one (Pareto), the slowest first."""
    shown = tuple(shown)

    def beaten(mark: Mark) -> bool:
        return any(
            (other.gain, -other.loss) != (mark.gain, -mark.loss) and other.gain >= mark.gain and other.loss <= mark.loss
            for other in shown
        )

    return tuple(sorted((mark for mark in shown if not beaten(mark)), key=lambda mark: mark.gain))
