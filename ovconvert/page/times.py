"""Which rows of a report compare with another package or engine."""

from __future__ import annotations

from ovconvert.report import Measurement

UNIT = "x"
THAN = ": times better than "


def is_ratio(row: Measurement) -> bool:
    """Tell whether a row says how many times something is better than something else."""
    return row.unit == UNIT and row.value > 0


def compared(row: Measurement) -> tuple[str, str]:
    """Return (what is compared, with whom) of a ratio; with "" where the metric does not tell."""
    metric, _, other = row.metric.partition(THAN)
    return f"{row.subject}, {metric} [{row.case}]", other
