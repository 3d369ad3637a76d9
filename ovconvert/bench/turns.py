"""Rounds: in each of them every competitor has its turn once, in an order that changes from round to round."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ovconvert.bench.reading import Reading, Table
from ovconvert.disturbance import Moment, Spell, between, look
from ovconvert.options import Progress, silent

SETTLE_SECONDS = 0.3  # between turns: the thread pools of the last one spin a while before they sleep

Turn = Callable[[], Sequence[Reading]]
Look = Callable[[], Moment]


@dataclass
class Rounds:
    """What the rounds gave: a table of figures per competitor, and what happened on the machine in each round."""

    tables: dict[str, Table]
    spells: list[Spell] = field(default_factory=list)


def order(names: Sequence[str], number: int, seed: int = 0) -> list[str]:
    """Return the order of round `number`: drawn anew for each, so that nobody always comes behind the same other."""
    drawn = np.random.default_rng([seed, number]).permutation(len(names))
    return [names[index] for index in drawn]


def take_turns(
    turns: Mapping[str, Turn],
    rounds: int,
    *,
    seed: int = 0,
    look_around: Look,
    what: str = "rounds",
    progress: Progress = silent,
    settle: Callable[[float], object] = time.sleep,
) -> Rounds:
    """Return the figures of `rounds` rounds in which every turn was taken once."""
    found = Rounds({name: Table() for name in turns})
    names = list(turns)
    done = 0
    for number in range(rounds):
        before = look_around()
        for name in order(names, number, seed):
            progress(what, done, rounds * len(names))
            found.tables[name].add(number, turns[name]())
            done += 1
            settle(SETTLE_SECONDS)
        found.spells.append(between(before, look_around()))
    progress(what, done, rounds * len(names))
    return found


def looker(pids: Callable[[], Iterator[int]]) -> Look:
    """Return what looks at the machine, knowing which processes are ours besides this one."""
    return lambda: look([os.getpid(), *pids()])
