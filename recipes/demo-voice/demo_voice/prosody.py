"""Pitch, its spread and the speaking rate of utterances, and where the styles move them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demo_voice import interval
from demo_voice.durations import Durations
from demo_voice.interval import Figure
from demo_voice.spoken import Spoken

RATE = 16000
LOWEST_HZ, HIGHEST_HZ = 50.0, 450.0
BASELINE = "calm"
SEMITONES = 12 / np.log(2)
# what a style must move in the source voice, at the least, to be looked for in ours: semitones, semitones, share of the rate
LEAST = {"pitch": 1.0, "spread": 0.3, "rate": 0.04}


@dataclass(frozen=True)
class Prosody:
    """`pitch` is the median F0 in semitones above 1 Hz, `spread` the standard deviation of F0 in semitones, `rate` the
    logarithm of the speaking rate against the calm corpus, the text allowed for. Pitch and spread are None if unvoiced."""

    pitch: float | None
    spread: float | None
    rate: float


Tracker = Callable[[np.ndarray], np.ndarray]  # samples (count,) -> F0 (frames,) in Hz every 5 ms, 0 where unvoiced


def open_tracker() -> Tracker:
    """Return a pitch tracker. Raises ImportError if pyworld, or what it needs, is not installed."""
    import pyworld

    def track(samples: np.ndarray) -> np.ndarray:
        samples = np.ascontiguousarray(samples, np.float64)
        found, times = pyworld.dio(samples, RATE, f0_floor=LOWEST_HZ, f0_ceil=HIGHEST_HZ)
        return pyworld.stonemask(samples, found, times, RATE)

    return track


def measure(spoken: Spoken, durations: Durations, track: Tracker) -> Prosody:
    """Return the prosody of an utterance."""
    f0 = track(spoken.samples)
    voiced = SEMITONES * np.log(f0[f0 > 0])
    pitch, spread = (float(np.median(voiced)), float(np.std(voiced))) if len(voiced) else (None, None)
    return Prosody(pitch, spread, float(np.log(durations.expected(spoken.text, spoken.speaker, BASELINE) / spoken.seconds)))


def moves(rows: Iterable[tuple[str, str, Prosody]], seed: int = 0) -> dict[str, dict[str, dict[str, Figure]]]:
    """Return speaker -> style -> measure -> its difference from the same speaker's calm, of (speaker, style, prosody)."""
    cells: dict[str, dict[str, list[Prosody]]] = {}
    for speaker, style, prosody in rows:
        cells.setdefault(speaker, {}).setdefault(style, []).append(prosody)
    return {
        speaker: {
            style: {name: _difference(found, styles[BASELINE], name, seed) for name in LEAST}
            for style, found in styles.items()
            if style != BASELINE
        }
        for speaker, styles in cells.items()
        if BASELINE in styles
    }


@dataclass(frozen=True)
class Directions:
    """Of the moves that the source has: how many there are, how many of ours go the same way, and how many of those are
    beyond doubt (the interval excludes zero). `share` is the mean of ours as a part of the source's."""

    moves: int
    right: int
    certain: int
    share: float


def directions(
    ours: Mapping[str, Mapping[str, Mapping[str, Figure]]], source: Mapping[str, Mapping[str, Mapping[str, Figure]]]
) -> dict[str, Directions]:
    """Compare, by measure, the moves of ours with those of the source that are certain and at least LEAST."""
    return {name: _directions(name, ours, source) for name in LEAST}


def _directions(name: str, ours: Mapping, source: Mapping) -> Directions:
    pairs = [
        (ours[speaker][style][name], figures[name])
        for speaker, styles in source.items()
        for style, figures in styles.items()
        if style in ours.get(speaker, {}) and _certain(figures[name]) and abs(figures[name].value) >= LEAST[name]
    ]
    right = [(mine, theirs) for mine, theirs in pairs if mine.value * theirs.value > 0]
    shares = [mine.value / theirs.value for mine, theirs in pairs]
    return Directions(
        len(pairs), len(right), sum(_certain(mine) for mine, _ in right), round(float(np.mean(shares)), 3) if pairs else 0.0
    )


def _certain(figure: Figure) -> bool:
    return figure.low * figure.high > 0


def _difference(found: Sequence[Prosody], calm: Sequence[Prosody], name: str, seed: int) -> Figure:
    values, base = ([value for row in rows if (value := getattr(row, name)) is not None] for rows in (found, calm))
    return interval.difference(values, base, seed)
