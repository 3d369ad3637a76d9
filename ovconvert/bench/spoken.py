"""One utterance, transcript or answer, timed: what of it the user waits for, and where the time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ovconvert.bench.abilities import Outcome
from ovconvert.bench.effort import Spent
from ovconvert.bench.reading import Reading
from ovconvert.bench.watch import Call
from ovconvert.package import Manifest
from ovconvert.runtime.speech import Speech

WHOLE = "end to end"
REST = "between the graphs"
COMPILING = "compiling"
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Taken:
    """What an utterance took: seconds in all, of them of compiling, the calls of its graphs, what the process spent."""

    seconds: float
    compile_seconds: float
    calls: tuple[Call, ...]
    spent: Spent | None = None


def readings(case: str, made: Speech | Outcome, taken: Taken, manifest: Manifest) -> Iterator[Reading]:
    """Yield the figures of an utterance, a transcript or an answer."""
    seconds, calls = taken.seconds, taken.calls
    yield Reading(WHOLE, case, "seconds in all", seconds, "s", "lower")
    if made.first_audio_seconds is not None:
        yield Reading(WHOLE, case, "seconds to first audio", made.first_audio_seconds, "s", "lower")
    if made.audio_seconds is not None:
        yield Reading(WHOLE, case, "audio", made.audio_seconds, "s")
    if made.audio_seconds:
        yield Reading(
            WHOLE, case, "RTF", seconds / made.audio_seconds, "s/s", "lower", "seconds of work per second of audio"
        )
    if taken.spent is not None:
        yield from _effort(case, taken.spent)
    steps = {packed.component.name for packed in manifest.components if packed.component.cache is not None}
    for name in sorted(steps & {call.name for call in calls}):
        yield from _tokens(name, case, [call for call in calls if call.name == name])
    yield from _parts(case, taken)


def _effort(case: str, spent: Spent) -> Iterator[Reading]:
    """Yield what the process spent, which others on the machine change less than its wall time."""
    yield Reading(WHOLE, case, "CPU seconds", spent.cpu_seconds, "s", "lower", "of all threads of the process")
    if spent.instructions is not None:
        yield Reading(WHOLE, case, "instructions", spent.instructions, "instructions", "lower", "in user space")


def _tokens(name: str, case: str, calls: Sequence[Call]) -> Iterator[Reading]:
    """Yield how long a token took: from the end of one step to the end of the next, sampling and embedding included."""
    pairs = [(before, now) for before, now in pairwise(calls) if now.positions == 1]
    if not pairs:
        return
    whole = np.array([1000 * (now.ended - before.ended) for before, now in pairs])
    inside = np.array([1000 * now.seconds for _, now in pairs])
    yield Reading(name, case, "tokens", len(pairs), "")
    for percent in PERCENTILES:
        detail = f"of {len(pairs)} tokens, sampling included"
        value = float(np.percentile(whole, percent))
        yield Reading(name, case, f"per token, P{percent}", value, "ms", "lower", detail)
    yield Reading(name, case, "per step, P50", float(np.median(inside)), "ms", "lower", "the graph alone")


def _covered(calls: Sequence[Call]) -> float:
    """Return the seconds in which at least one of `calls` ran: two may run at a time."""
    covered, until = 0.0, -np.inf
    for call in sorted(calls, key=lambda call: call.begun):
        covered += max(call.ended - max(call.begun, until), 0.0)
        until = max(until, call.ended)
    return float(covered)


def _parts(case: str, taken: Taken) -> Iterator[Reading]:
    """Yield seconds, share and number of calls of every component, compilation, and what is left between them.

    Where components ran at the same time, the shares add up to more than 100 %.
    """
    seconds, calls = taken.seconds, taken.calls
    counts = Counter(call.name for call in calls)
    for name, count in counts.items():
        spent = sum(call.seconds for call in calls if call.name == name)
        yield Reading(name, case, "seconds", spent, "s", "lower")
        yield Reading(name, case, "share", 100 * spent / seconds, "%")
        yield Reading(name, case, "calls", count, "")
    rest = max(seconds - taken.compile_seconds - _covered(calls), 0.0)
    compiling = [(COMPILING, taken.compile_seconds)] if taken.compile_seconds else []
    for subject, spent in (*compiling, (REST, rest)):
        yield Reading(subject, case, "seconds", spent, "s", "lower")
        yield Reading(subject, case, "share", 100 * spent / seconds, "%")
