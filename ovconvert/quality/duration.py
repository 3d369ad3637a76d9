"""How long takes are beside each other: two of free running, of the same text in the same voice."""

from __future__ import annotations

import math

from ovconvert.quality.metric import FREE, Instrument, Listen, Metric

DURATION = Metric("duration error", "%", "lower", 100.0, 1.0)


def error(first: float, second: float) -> float:
    """Return by how many % the longer of two durations in seconds exceeds the shorter, at most 100.

    Raises ValueError if one is zero.
    """
    if min(first, second) <= 0:
        raise ValueError("no audio, no duration")
    return min(100 * math.expm1(abs(math.log(second / first))), DURATION.worst)


def _open() -> Listen:
    return lambda take, against: (error(against.seconds, take.seconds),)


INSTRUMENT = Instrument((DURATION,), FREE, _open, lambda: "ratio of durations")
