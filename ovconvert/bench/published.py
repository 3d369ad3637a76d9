"""What the published loop of a model runs beside ours, put on top of a baseline that runs its networks behind our loops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean

from ovconvert.bench.reading import Reading
from ovconvert.bench.spoken import WHOLE
from ovconvert.bench.watch import Call
from ovconvert.original import Original

LOOP = "published loop beside ours"
IN_ALL, RTF, FIRST, AUDIO = "seconds in all", "RTF", "seconds to first audio", "audio"


def per_call(calls: Sequence[Call]) -> dict[str, float]:
    """Return the mean seconds of one call by component."""
    spent: defaultdict[str, list[float]] = defaultdict(list)
    for call in calls:
        spent[call.name].append(call.seconds)
    return {name: mean(seconds) for name, seconds in spent.items()}


def with_loop(
    readings: Sequence[Reading], original: Original, each: Mapping[str, float], new_voice: str = ""
) -> list[Reading]:
    """Return the readings of a turn with the seconds in all, to first audio and RTF that the published loop would take.

    What it runs more often is counted by `original`, and a call costs what `each` says, in seconds by component. The case
    `new_voice` hears a recording first. A row per case says how much was added. Raises UsageError if a call was not
    measured.
    """
    value = {reading.key: reading.value for reading in readings}
    once = next(
        row.component for row in original.runs if row.per == "segment" and row.published == row.ours == 1 and not row.call
    )
    found: list[Reading] = []
    more: dict[tuple[str, str], float] = {}
    for case in dict.fromkeys(reading.case for reading in readings if reading.subject == WHOLE):
        segments = round(value.get((once, case, "calls"), 0.0))
        voices = int(case == new_voice)
        spent = sum(original.added(each, {"segment": segments, "voice": voices}).values())
        first = sum(original.added(each, {"segment": 1, "voice": voices}).values())
        more |= {(case, IN_ALL): spent, (case, FIRST): first}
        if length := value.get((WHOLE, case, AUDIO), 0.0):
            more[case, RTF] = spent / length
        found.append(Reading(LOOP, case, "seconds", spent, "s", "lower", f"{segments} segments, counted, not run"))
    for reading in readings:
        extra = more.get((reading.case, reading.metric), 0.0) if reading.subject == WHOLE else 0.0
        found.append(replace(reading, value=reading.value + extra, detail=f"with the {LOOP}") if extra else reading)
    return found
