"""From the figures of all rounds to the rows of a report: medians with intervals, and ratios of the same rounds."""

from __future__ import annotations

from collections.abc import Iterator

from ovconvert import intervals
from ovconvert.bench.reading import Reading, Table
from ovconvert.report import Measurement


def labelled(subject: str, label: str) -> str:
    """Return what reports call a part of a competitor."""
    return f"{subject} ({label})" if label else subject


def rows(table: Table, rounds: int, label: str = "") -> Iterator[Measurement]:
    """Yield the median over the rounds of everything that every round has, its interval, and the figures themselves."""
    for key in table.order():
        samples = table.samples(key, rounds)
        if samples is not None:
            yield row(table.any_of(key), samples, label)


def row(reading: Reading, samples: tuple[float, ...], label: str = "") -> Measurement:
    """Return the median of `samples` with its interval; no interval where one sample has none."""
    estimate = intervals.median(samples)
    bounded = len(samples) > 1
    return Measurement(
        labelled(reading.subject, label),
        reading.case,
        reading.metric,
        estimate.value,
        reading.unit,
        detail=reading.detail,
        low=estimate.low if bounded else None,
        high=estimate.high if bounded else None,
        samples=samples,
        better=reading.better,
    )


def ratios(base: Table, other: Table, rounds: int, label: str) -> Iterator[Measurement]:
    """Yield how many times `base` is better than the competitor called `label`, round by round: above 1 base wins.

    Only what both have in every round, and where better has a meaning. Rounds are pairs.
    """
    for key in base.order():
        reading = base.any_of(key)
        ours, theirs = base.samples(key, rounds), other.samples(key, rounds)
        if not reading.better or ours is None or theirs is None or min(*ours, *theirs) <= 0:
            continue
        worse, best = (ours, theirs) if reading.better == "lower" else (theirs, ours)
        estimate = intervals.ratio(worse, best, paired=True)
        bounded = rounds > 1
        yield Measurement(
            reading.subject,
            reading.case,
            f"{reading.metric}: times better than {label}",
            estimate.value,
            "x",
            detail=different_audio(base, other, reading.case, rounds),
            low=estimate.low if bounded else None,
            high=estimate.high if bounded else None,
            samples=tuple(high / low for low, high in zip(worse, best, strict=True)),
            better="higher",
        )


def different_audio(base: Table, other: Table, case: str, rounds: int) -> str:
    """Return a remark if two competitors made audio of different length of a text: then only rates compare."""
    key = ("end to end", case, "audio")
    ours, theirs = base.samples(key, rounds), other.samples(key, rounds)
    if ours is None or theirs is None or ours == theirs:
        return ""
    return f"audio of {ours[0]:.2f} s against {theirs[0]:.2f} s: compare rates"
