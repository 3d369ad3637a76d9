"""Finds the costliest of many things when only the cost of a group can be measured."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

LEAST_SHARE = 0.05  # of the cost of all: a group below it is not looked into


@dataclass(frozen=True)
class Found:
    """A group of things and what they cost together; a single thing unless it was not worth looking into."""

    names: tuple[str, ...]
    cost: float


def worst_first(names: Sequence[str], cost: Callable[[Sequence[str]], float], most: int) -> Iterator[Found]:
    """Yield at most `most` of `names` by their cost, the costliest first, then in one group all that was left.

    Groups are halved, the costliest first, so that a single culprit among n is found by 2 log2 n measurements. This takes a
    group to cost no less than its costliest member: true of errors that do not cancel. Groups that cost less than
    LEAST_SHARE of all are left as they are; the one that is left has their costs summed.
    """
    if not names:
        return
    whole = cost(names)
    groups = [(-whole, 0, tuple(names))]
    number = singles = 0
    while whole > 0 and groups and singles < most and -groups[0][0] >= LEAST_SHARE * whole:
        negative, _, group = heapq.heappop(groups)
        if len(group) == 1:
            singles += 1
            yield Found(group, -negative)
            continue
        middle = len(group) // 2
        for half in (group[:middle], group[middle:]):
            number += 1
            heapq.heappush(groups, (-cost(half), number, half))
    if groups:
        left = tuple(name for name in names if any(name in group for _, _, group in groups))
        yield Found(left, sum(-negative for negative, _, _ in groups))
