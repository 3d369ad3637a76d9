"""A measurement in two halves, between which the processes are opened anew in the opposite order.

Of equal processes the one that was opened first is the slowest, as long as they live: of four by 2 % slower than their mean,
the last by 1.5 % faster, in each of three tries on 2 cores. Where small differences decide, each side is opened first once.
"""

from __future__ import annotations

import dataclasses

from ovconvert.bench.measure import Findings, Plan, measure
from ovconvert.options import Progress

NOTE = "after half of the rounds all processes were opened anew, in the opposite order: the one opened first is the slowest"


def measure_both_ways(plan: Plan, progress: Progress) -> Findings:
    """Return the findings of a plan, half of its rounds with the first competitor opened first, half with the last.

    One round is measured one way. Raises what `measure` raises.
    """
    half = plan.rounds // 2
    if not half:
        return measure(plan, progress)
    first = measure(dataclasses.replace(plan, rounds=plan.rounds - half), progress)
    second = measure(dataclasses.replace(plan, rounds=half, loads=0, seed=plan.seed + 1, last_first=True), progress)
    return joined(first, second)


def joined(first: Findings, second: Findings) -> Findings:
    """Return the findings of two halves as those of one measurement: the rounds of the second follow those of the first."""
    for tables, more in ((first.speech, second.speech), (first.alone, second.alone)):
        for label, table in more.items():
            tables[label].follow(table, first.rounds)
    return dataclasses.replace(
        first,
        rounds=first.rounds + second.rounds,
        disturbances=(*first.disturbances, *second.disturbances),
        notes=(*dict.fromkeys((*first.notes, *second.notes)), NOTE),
    )
