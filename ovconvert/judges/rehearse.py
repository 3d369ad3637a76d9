"""Rehearse `compare` on this machine: a package against itself, and against itself made slower by a known share.

Of each round the package as it is, the same once more and the slowed one have their turn, each in a process of its own.
Every trial is the comparison of a block of rounds that no other trial uses, and each block is judged as `compare` judges.
The processes are opened anew between groups of trials and within each, there in the opposite order: of equal ones the one
that was opened first is the slowest as long as it lives. The slowed package works after each call of a graph for that share
of the CPU time since the one before. The engines have one thread, so that CPU time is the time of the work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ovconvert import package
from ovconvert.bench import rows
from ovconvert.bench.bench import Bench
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.subject import Subject
from ovconvert.bench.texts import Text
from ovconvert.bench.turns import looker, take_turns
from ovconvert.bench.worker import Worker, worker
from ovconvert.compare import chosen, compare, fits
from ovconvert.comparison import BETTER, NOT_WORSE, SAME, UNASKED, WORSE, Comparison
from ovconvert.disturbance import Spell, complaints
from ovconvert.intervals import ratio
from ovconvert.judges import benchmark
from ovconvert.machine import describe
from ovconvert.options import Progress, option, silent
from ovconvert.report import Measurement, Report, at_least
from ovconvert.runtime.request import Request

JUDGE = "rehearse"
BASE, AGAIN, SLOWED = "base", "again", "slowed"
SETTLE_SECONDS = 0.005  # between turns: engines of one thread leave nobody spinning


@dataclass(frozen=True)
class Options(Request):
    """A request, the text, how many trials of how many rounds, and what they are to notice."""

    text: str = option("", "Text to speak, instead of the shipped ones.")
    trials: int = option(50, "Comparisons of each kind.")
    rounds: int = option(20, "Rounds of a trial.")
    processes: int = option(5, "How often the packages are opened anew over all trials, in both orders each time.")
    slowdown: float = option(0.10, "By which share the slowed package is slower.")
    fail_over: float = option(0.05, "How much slower is still accepted, as in `compare`: 0.05 is 5 %.")
    metrics: tuple[str, ...] = option((), "What is judged, as in `compare`; comma-separated, so write * for a comma.")


def requires(package_dir: Path, options: Options) -> list[str]:
    """Return what is wrong with the options: numbers, and a voice."""
    counts = (("trials", options.trials), ("rounds", options.rounds), ("processes", options.processes))
    problems = [f"{name} {value}: at least 1" for name, value in counts if value < 1]
    if not 0 < options.fail_over < options.slowdown:
        problems.append(
            f"slowdown {options.slowdown:g}: must be more than fail_over {options.fail_over:g}, and that above 0"
        )
    asked = benchmark.Options(voice=options.voice, text=options.text, language=options.language)
    return problems + benchmark.requires(package_dir, asked)


def run(package_dir: Path, options: Options, progress: Progress = silent) -> Report:
    """Return in how many trials the slowdown was caught, and in how many the same package was never called different."""
    machine = describe()
    texts = benchmark.texts_of(benchmark.Options(text=options.text, language=options.language))
    groups = [len(group) for group in np.array_split(range(options.trials), min(options.processes, options.trials))]
    blocks: list[dict[str, Report]] = []
    spells: list[Spell] = []
    settings: dict[str, object] = {}
    halves = [rounds for rounds in (options.rounds - options.rounds // 2, options.rounds // 2) if rounds]
    for number, trials in enumerate(groups):
        tables = []
        for half, rounds in enumerate(halves):  # the process that is opened first is the slowest: see bench/both_ways.py
            opened = len(halves) * number + half
            measured, seen, settings = _measured(package_dir, options, texts, trials * rounds, opened, bool(half), progress)
            tables.append(measured)
            spells += seen
        empty = Report(JUDGE, str(package_dir), machine, (), run=f"group {number}")
        blocks += _blocks(tables, halves, trials, empty)
    found = [*_rows(blocks, AGAIN, options), *_rows(blocks, SLOWED, options)]
    asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(Options)}
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in asked.items() if value not in (None, "")
    }
    return Report(
        JUDGE,
        str(package_dir),
        machine,
        tuple(found),
        {"family": package.load(package_dir).family, **settings, **given},
        tuple(_notes(options, texts, len(groups))),
        disturbances=tuple(complaints(spells, machine.usable_cores, "rounds")),
    )


def _measured(
    place: Path, options: Options, texts: Sequence[Text], rounds: int, number: int, last_first: bool, progress: Progress
) -> tuple[dict[str, Table], list[Spell], dict[str, object]]:
    """Return the figures of so many rounds, in processes opened for them: in order, or the last one first."""
    asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(Request)}
    voice = benchmark.voice_of(place, benchmark.Options(voice=options.voice))
    request = Request(**{**asked, "voice": voice})
    shares = {BASE: 0.0, AGAIN: 0.0, SLOWED: options.slowdown}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for label in [*shares][::-1] if last_first else shares:
            subject = Subject(label, place, request, threads=1, slower=shares[label])
            workers[label] = stack.enter_context(worker(label, Bench, subject))
            workers[label].call("warm_up", request, texts)
        # each process is asked, so that none is treated otherwise than the others
        weighed = any([_judges(process.call("memory"), options.metrics) for process in workers.values()])
        found = take_turns(
            {label: partial(_turn, process, request, texts, weighed) for label, process in workers.items()},
            rounds,
            seed=options.seed + number,
            look_around=looker(lambda: (process.pid for process in workers.values())),
            what=f"processes {number + 1}",
            progress=progress,
            settle=lambda seconds: time.sleep(min(seconds, SETTLE_SECONDS)),
        )
        settings: dict[str, object] = workers[BASE].call("settings")
    return found.tables, found.spells, settings


def _judges(readings: Sequence[Reading], metrics: Sequence[str]) -> bool:
    """Tell whether any of the readings is of a judged metric."""
    return not metrics or any(fits(*reading.key, pattern) for reading in readings for pattern in metrics)


def _turn(process: Worker, request: Request, texts: Sequence[Text], weighed: bool) -> list[Reading]:
    """Return what a turn takes; its memory only if it is judged, as reading it takes as long as a short turn."""
    spoken: list[Reading] = process.call("turn", request, texts, False)
    memory: list[Reading] = process.call("memory") if weighed else []
    return spoken + memory


def _blocks(
    halves: Sequence[dict[str, Table]], rounds: Sequence[int], trials: int, empty: Report
) -> Iterator[dict[str, Report]]:
    """Yield per trial a report of each competitor, made of the rounds of that trial alone: so many of each half."""
    for trial in range(trials):
        yield {
            label: dataclasses.replace(empty, rows=tuple(_part([half[label] for half in halves], rounds, trials, trial)))
            for label in halves[0]
        }


def _part(tables: Sequence[Table], rounds: Sequence[int], trials: int, trial: int) -> Iterator[Measurement]:
    for key in tables[0].order():
        samples = [table.samples(key, trials * number) for table, number in zip(tables, rounds, strict=True)]
        taken = [(found or ())[trial * number : (trial + 1) * number] for found, number in zip(samples, rounds, strict=True)]
        if all(taken):
            yield rows.row(tables[0].any_of(key), tuple(value for part in taken for value in part))


def _rows(blocks: Sequence[dict[str, Report]], label: str, options: Options) -> Iterator[Measurement]:
    """Yield how often the verdict on a competitor was right, then figures of each judged metric over all rounds."""
    trials = [compare(block[BASE], block[label], options.fail_over, metrics=options.metrics) for block in blocks]
    case = f"{len(trials)} trials of {options.rounds} rounds"
    worse = [bool(trial.having(WORSE)) for trial in trials]
    if label == SLOWED:
        subject = f"slowed by {100 * options.slowdown:g} %"
        yield at_least(subject, case, "caught: worse", sum(worse), "trials", len(trials))
    else:
        subject = "the same package"
        unlike = [trial for trial in trials if trial.having(WORSE) or trial.having(BETTER)]
        yield at_least(subject, case, "not called different", len(trials) - len(unlike), "trials", len(trials))
        told = sum(all(change.verdict in (SAME, NOT_WORSE, UNASKED) for change in trial.changes) for trial in trials)
        yield Measurement(subject, case, "told the same or not worse in every metric", told, "trials")
    lucky = sum(
        any(_beyond(row, other, options.fail_over) for row, other in _first(block, label, options)) for block in blocks
    )
    yield Measurement(
        subject, case, "called different by one figure each, without intervals", lucky, "trials", detail="for contrast"
    )
    judged = [change.base for change in trials[0].changes if change.verdict != UNASKED]
    for key in [(row.subject, row.case, row.metric) for row in judged]:
        yield from _metric(subject, key, trials)


def _metric(subject: str, key: tuple[str, str, str], trials: Sequence[Comparison]) -> Iterator[Measurement]:
    """Yield the ratio of a metric over all rounds, its verdicts and its spread from round to round; samples are by trial."""
    changes = [
        change
        for trial in trials
        for change in trial.changes
        if (change.base.subject, change.base.case, change.base.metric) == key
    ]
    old = [value for change in changes for value in change.base.samples]
    new = [value for change in changes for value in change.new.samples]
    if not old or len(old) != len(new) or min(*old, *new) <= 0:
        return
    whole = ratio(old, new, paired=True)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(change.verdict for change in changes).items())
    spread = 100 * float(np.std(np.log(np.divide(new, old)))) if len(old) > 1 else math.nan
    detail = f"{verdicts}; from round to round ± {spread:.1f} %"
    by_trial = tuple(change.ratio.value for change in changes)
    name = f"{key[0]}: {key[2]}, against the package"
    yield Measurement(subject, key[1], name, whole.value, "x", None, None, detail, whole.low, whole.high, by_trial)


def _first(block: dict[str, Report], label: str, options: Options) -> Iterator[tuple[float, float]]:
    """Yield the figures of the first round of every chosen metric: what a comparison without intervals would look at."""
    new = {(row.subject, row.case, row.metric): row for row in block[label].rows}
    for row in chosen([row for row in block[BASE].rows if row.better], options.metrics):
        yield row.samples[0], new[row.subject, row.case, row.metric].samples[0]


def _beyond(old: float, new: float, fail_over: float) -> bool:
    return not 1 / (1 + fail_over) <= new / old <= 1 + fail_over


def _notes(options: Options, texts: Sequence[Text], groups: int) -> Iterator[str]:
    yield (
        f"{len(texts)} texts, the voice known; one thread; processes made anew {groups} times, in both orders; "
        f"{options.rounds} rounds a trial, no round in two trials"
    )
    yield (
        f"slowed: after every call of a graph the process works for {100 * options.slowdown:g} % of the CPU time since the "
        "call before, graphs and what lies between them alike"
    )
    yield f"load of the machine at the end: {os.getloadavg()[0]:.1f} processes wanted to run"
