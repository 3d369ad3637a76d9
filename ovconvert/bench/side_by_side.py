"""Several utterances at a time in one process, as a service has them: how much audio they make, how long each waits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from ovconvert.bench.reading import Reading

SIDE_BY_SIDE = "side by side"


def side_by_side(
    speak: Callable[[], float], case: str, streams: int, clock: Callable[[], float] = time.perf_counter
) -> list[Reading]:
    """Return what `streams` calls of `speak` at a time give. A call returns the seconds of audio that it made."""
    together = Barrier(streams)

    def one(_: int) -> tuple[float, float, float]:
        together.wait()
        begun = clock()
        audio = speak()
        return begun, clock(), audio

    with ThreadPoolExecutor(streams) as pool:
        done = list(pool.map(one, range(streams)))
    wall = max(ended for _, ended, _ in done) - min(begun for begun, _, _ in done)
    name = f"{case}, {streams} at a time"
    detail = f"{streams} utterances of one program, begun together"
    return [
        Reading(SIDE_BY_SIDE, name, "audio made per second", sum(made for *_, made in done) / wall, "s/s", "higher", detail),
        Reading(SIDE_BY_SIDE, name, "seconds in all", statistics.median(e - b for b, e, _ in done), "s", "lower", "of one"),
    ]
