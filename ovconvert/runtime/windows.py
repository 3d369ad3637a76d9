"""Cuts a signal into windows that carry as much of their surroundings as a network looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Frames `begin` to `end` of a signal are computed; `count` frames of the result, behind the first `skip`, are kept."""

    begin: int
    end: int
    skip: int
    count: int


def windows(frames: int, size: int, reach: int, kept: range | None = None) -> Iterator[Window]:
    """Yield windows that together keep every one of the frames `kept` once, in order, `size` of them at a time.

    What is kept is all of `frames` unless a range of them is given. Each window computes up to `reach` frames more on both
    sides; the ends of the signal stay its ends. The last one keeps between half and one and a half times `size`. A size of 0
    is one window.
    """
    if min(frames, size, reach) < 0:
        raise ValueError(f"frames, size and reach must be at least 0, got {frames}, {size} and {reach}")
    start, stop = (0, frames) if kept is None else (kept.start, kept.stop)
    while start < stop:
        left = stop - start
        count = size if size and 2 * left > 3 * size else left
        begin, end = max(start - reach, 0), min(start + count + reach, frames)
        yield Window(begin, end, start - begin, count)
        start += count
