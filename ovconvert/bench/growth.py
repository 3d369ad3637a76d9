"""How cost grows with what is spoken: a straight line through the texts of every round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ovconvert.bench.bench import NEW_VOICE
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.rows import row
from ovconvert.bench.spoken import WHOLE
from ovconvert.report import Measurement

ALL_TEXTS = "all texts"
SLOPE = "per further second of audio"
START = "before the first second of audio"


def growth(table: Table, rounds: int, label: str = "") -> Iterator[Measurement]:
    """Yield the slope of seconds over seconds of audio, for the utterance and each component, and its start at no audio.

    A line of least squares is laid through the figures of all texts, the voice known, round by round. Nothing for texts
    whose audio is of one length: no line goes through one point.
    """
    texts = [
        case
        for subject, case, metric in table.order()
        if (subject, metric) == (WHOLE, "audio") and not case.endswith(NEW_VOICE)
    ]
    audio = [table.samples((WHOLE, text, "audio"), rounds) for text in texts]
    lengths = np.array([samples for samples in audio if samples is not None])  # (texts, rounds)
    if len(lengths) != len(texts) or len(texts) < 2 or (np.ptp(lengths, axis=0) <= 0).any():
        return
    metrics = [(WHOLE, "seconds in all"), *((name, "seconds") for name in _components(table, texts))]
    for subject, metric in metrics:
        found = [table.samples((subject, text, metric), rounds) for text in texts]
        taken = np.array([samples for samples in found if samples is not None])
        if len(taken) != len(texts):
            continue
        lines = [np.polyfit(lengths[:, number], taken[:, number], 1) for number in range(rounds)]
        detail = f"a line through {len(texts)} texts of {lengths.min():.1f} to {lengths.max():.1f} s of audio"
        slope = Reading(subject, ALL_TEXTS, SLOPE, 0.0, "s/s", "lower", detail)
        yield row(slope, tuple(float(line[0]) for line in lines), label)
        if subject == WHOLE:
            start = Reading(subject, ALL_TEXTS, START, 0.0, "s", "", detail)
            yield row(start, tuple(float(line[1]) for line in lines), label)


def _components(table: Table, texts: Sequence[str]) -> list[str]:
    """Return the parts that take time in some text, in their order."""
    return list(dict.fromkeys(subject for subject, case, metric in table.order() if metric == "seconds" and case in texts))
