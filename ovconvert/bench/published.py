"""What the published loop of a model runs beside ours, put on top of a baseline that runs its networks behind our loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ovconvert.bench.reading import Reading
from ovconvert.bench.spoken import WHOLE
from ovconvert.original import Original

LOOP = "published loop beside ours"
IN_ALL, RTF, FIRST, AUDIO = "seconds in all", "RTF", "seconds to first audio", "audio"


def with_loop(readings: Sequence[Reading], original: Original, new_voice: str) -> list[Reading]:
    """Return the readings of a turn with the seconds in all, to first audio and RTF that the published loop would take.

    What it runs more often is counted by `original`, and each call costs what it took in the case `new_voice`, which runs
    every component. A row per case says how much was added. Raises UsageError if a call was not measured.
    """
    value = {reading.key: reading.value for reading in readings}
    components = {subject for subject, case, metric in value if case == new_voice and metric == "calls"}
    each = {name: value[name, new_voice, "seconds"] / value[name, new_voice, "calls"] for name in components}
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
