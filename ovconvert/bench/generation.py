"""Generation: something is read and ids follow, by our loops and by engines that know nothing smaller."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.baselines.peers import PEERS, Converter, Model, open_peer
from ovconvert.bench.generators import generator_of
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.sources import Source
from ovconvert.bench.subject import Subject
from ovconvert.bench.turns import looker, take_turns
from ovconvert.bench.worker import Worker, worker
from ovconvert.disturbance import complaints
from ovconvert.errors import EnvironmentFault, UsageError
from ovconvert.machine import describe
from ovconvert.options import Progress

GENERATION = "generation"
PER_TOKEN, PROMPT = "per token", "prompt"
BEAMS = (1, 3)
NEEDS = {name: peer.needs for name, peer in PEERS.items()}
"""Engines that are measured here alone, and the modules that they need."""
NOTE = (
    "generation: what is read is continued by one id and by several; the first is the prompt's time, the difference that of "
    "the other ids. Nothing ends early, no penalty. What each engine is told and chooses is in the details"
)


@dataclass(frozen=True)
class Task:
    """A source that is continued by so many tokens, with so many beams."""

    source: Source
    tokens: int
    beams: int

    @property
    def case(self) -> str:
        """Return how reports name it."""
        return f"{self.source.case} tokens={self.tokens} beams={self.beams}"


@dataclass(frozen=True)
class Generated:
    """What was measured, by the label of a competitor, and what disturbed it."""

    tables: dict[str, Table]
    disturbances: tuple[str, ...]


class Generating:
    """A competitor in a process: our loop on an engine, or an engine of its own on the model in `directory`."""

    def __init__(self, subject: Subject, directory: Path | None, threads: int, seed: int) -> None:
        subject = replace(subject, threads=threads)
        generator = generator_of(subject.package)
        self._model: Model = (
            generator.opened(subject) if directory is None else open_peer(subject.engine, generator.kind, directory, threads)
        )
        self._seed, self._turns = seed, 0

    def turn(self, tasks: Sequence[Task]) -> list[Reading]:
        """Do every task once, with what all competitors get in the same turn and what no turn repeats if it is drawn.

        Raises EnvironmentFault if the engine stops early.
        """
        # an engine may remember what it has read before: no two prompts are alike
        rng = np.random.default_rng([self._seed, self._turns])
        self._turns += 1
        return [reading for task in tasks for reading in timed(self._model, task, partial(task.source.draw, rng))]


def timed(
    model: Model, task: Task, draw: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> Iterator[Reading]:
    """Yield the milliseconds of the source with its first id, and of each further id. Raises EnvironmentFault as `turn`."""
    taken = []
    for tokens in (1, task.tokens):
        source = draw()
        begun = clock()
        found = model.generate(source, tokens, task.beams)
        taken.append(clock() - begun)
        if len(found) != tokens:
            raise EnvironmentFault(
                f"{model.settings}: made {len(found)} of {tokens} ids and cannot be compared; use the version that "
                "constraints.txt or the changelog names, or leave this engine out"
            )
    first, whole = taken
    yield Reading(GENERATION, task.case, PROMPT, 1000 * first, "ms", "lower", model.settings)
    each = 1000 * (whole - first) / (task.tokens - 1)
    yield Reading(GENERATION, task.case, PER_TOKEN, each, "ms", "lower", model.settings)


def measure_generation(
    subjects: Sequence[Subject],
    tasks: Sequence[Task],
    *,
    rounds: int,
    seed: int,
    kept: Path | None,
    progress: Progress,
) -> Generated:
    """Return what generation takes with each of the `subjects`, in turns. One turn before the first is not counted.

    Models of other engines are made from the checkpoint and kept below `kept` if given. Raises UsageError if a task is
    longer than a model has positions for, and what opening and converting raise.
    """
    machine = describe()
    threads = subjects[0].threads or machine.usable_cores
    with contextlib.ExitStack() as stack:
        place = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ovconvert-peers-")))
        directories = _converted(subjects, tasks, place, progress)
        workers: dict[str, Worker] = {}
        for done, subject in enumerate(subjects):
            progress(f"{GENERATION}, warm-up", done, len(subjects))
            name = subject.label or "the package"
            directory = directories.get(subject.label)
            process = stack.enter_context(worker(name, Generating, subject, directory, threads, seed))
            process.call("turn", tasks)
            workers[subject.label] = process
        found = take_turns(
            {label: partial(process.call, "turn", tasks) for label, process in workers.items()},
            rounds,
            seed=seed,
            look_around=looker(lambda: (process.pid for process in workers.values())),
            what=GENERATION,
            progress=progress,
        )
    return Generated(found.tables, tuple(complaints(found.spells, machine.usable_cores, f"rounds of {GENERATION}")))


def _converted(subjects: Sequence[Subject], tasks: Sequence[Task], place: Path, progress: Progress) -> dict[str, Path]:
    """Return by label the directories of the models of other engines, made in a process that ends before the measurement."""
    peers = [subject for subject in subjects if subject.engine in PEERS]
    found: dict[str, Path] = {}
    if not peers:
        return found
    first = peers[0]
    kind = generator_of(first.package).kind
    with worker("conversion for other engines", Converter, kind, first.checkpoint, first.package, place) as process:
        positions = process.call("positions")
        longest = max(task.source.positions + task.tokens for task in tasks)
        if positions is not None and longest > positions:
            raise UsageError(
                f"prompt and tokens are up to {longest} positions; the model has {positions}: give shorter --contexts or "
                "fewer --tokens"
            )
        for done, subject in enumerate(peers):
            progress("models of other engines", done, len(peers))
            found[subject.label] = process.call("converted", subject.engine)
    return found


def tasks_of(package_dir: Path, lengths: Sequence[int], recordings: Sequence[Path], tokens: int) -> list[Task]:
    """Return what is measured of a package: every source, of `lengths` in ids or a recording, greedy and with beams."""
    sources = generator_of(package_dir).sources(package_dir, lengths, recordings)
    return [Task(source, tokens, beams) for source in sources for beams in BEAMS]
