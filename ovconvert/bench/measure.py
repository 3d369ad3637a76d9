"""A whole measurement: competitors in processes of their own, warmed up, measured in turns, loaded afresh, looked after."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ovconvert import package
from ovconvert.bench import limits
from ovconvert.bench.abilities import Asked
from ovconvert.bench.alone import Alone, golden_cases, takes_rows, widened
from ovconvert.bench.bench import Bench
from ovconvert.bench.loading import load
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.side_by_side import SIDE_BY_SIDE
from ovconvert.bench.subject import Subject
from ovconvert.bench.texts import Text
from ovconvert.bench.turns import Rounds, looker, take_turns
from ovconvert.bench.worker import Worker, worker
from ovconvert.disturbance import Spell, complaints
from ovconvert.machine import Machine, describe
from ovconvert.options import Progress
from ovconvert.roofline.count import Work
from ovconvert.runtime import takes_of

# of a request: an utterance that runs every component
BRIEF: dict[str, Any] = {"max_new_tokens": 8, "min_new_tokens": 8, "steps": 1}


@dataclass(frozen=True)
class Plan:
    """What is to be measured how often. `whole` competitors also run their components alone and are loaded afresh.

    Without `texts` nobody speaks; components run alone then at the sizes of their golden cases.
    """

    subjects: tuple[Subject, ...]
    texts: tuple[Text, ...]
    rounds: int
    loads: int = 0
    components: bool = True
    golden: bool = False  # components also at the sizes of their golden cases
    contexts: tuple[int, ...] = ()
    seed: int = 0
    whole: frozenset[str] = frozenset({""})  # labels
    new_voice: bool = True
    streams: tuple[int, ...] = ()  # utterances of the first subject at a time
    batch: tuple[int, ...] = ()  # rows of the components that take several
    brief: bool = False  # all but the first are warmed up with a short utterance
    limits: bool = True  # also what the machine allows
    last_first: bool = False  # the processes are opened in the opposite order


@dataclass
class Findings:
    """What was measured. Each table is by the label of a competitor; `rounds` and `loads` are how many figures a row has."""

    run: str
    machine: Machine
    rounds: int
    loads: int
    speech: dict[str, Table] = field(default_factory=dict)
    alone: dict[str, Table] = field(default_factory=dict)
    loading: dict[str, Table] = field(default_factory=dict)
    works: dict[str, dict[Alone, Work]] = field(default_factory=dict)
    settings: dict[str, dict[str, object]] = field(default_factory=dict)
    sounds: dict[str, dict[str, bytes]] = field(default_factory=dict)  # of each competitor, WAV files by text
    disturbances: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def begin(machine: Machine, rounds: int, loads: int) -> Findings:
    """Return findings without figures, under a name of their own."""
    return Findings(f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}", machine, rounds, loads)


def measure(plan: Plan, progress: Progress) -> Findings:
    """Return the findings of a plan. Raises what the competitors raise, EnvironmentFault if one of them is killed."""
    machine = describe()
    findings = begin(machine, plan.rounds, plan.loads)
    spells: list[tuple[str, list[Spell]]] = []
    first = plan.subjects[0]
    threads = first.threads or machine.usable_cores
    with tempfile.TemporaryDirectory(prefix="ovconvert-benchmark-") as made, contextlib.ExitStack() as stack:
        scratch = Path(made)
        manifest = package.load(first.package)
        golden = golden_cases(first.package, manifest, scratch) if plan.loads or plan.golden or not plan.texts else []
        remarks: list[str] = []
        if plan.loads:
            spells.append(("loads", _loads(plan, findings, golden, scratch, progress)))
        workers: dict[str, Worker] = {}  # by label
        shared: dict[object, Worker] = {}
        owners: set[str] = set()
        cases: list[Alone] = []
        for done, subject in enumerate(plan.subjects[::-1] if plan.last_first else plan.subjects):
            progress("warm-up", done, len(plan.subjects))
            # what differs in its request alone shares a process: a true-size package takes gigabytes
            place = subject.label if subject.label in plan.whole else subject.opening
            if place not in shared:
                shared[place] = stack.enter_context(worker(subject.label or "the package", Bench, subject))
                if subject is first:
                    shared[subject.opening] = shared[place]
                owners.add(subject.label)
            process = workers[subject.label] = shared[place]
            keep = scratch if subject is first and plan.components else None
            asked = (
                brief(subject.asked, package.load(subject.package)) if plan.brief and subject is not first else subject.asked
            )
            cases += process.call("warm_up", asked, plan.texts, keep, plan.contexts)
            findings.settings[subject.label] = process.call("settings")
            remarks += filter(None, [process.call("remark")])
        progress("warm-up", len(plan.subjects), len(plan.subjects))
        cases += [] if plan.texts else golden
        cases += _wider(cases, plan, scratch)
        cases = distinct([*cases, *(golden if plan.golden else [])])
        rounds = partial(
            take_turns, rounds=plan.rounds, seed=plan.seed, look_around=looker(partial(_pids, workers)), progress=progress
        )
        machine_turn = {limits.MACHINE: limits.probe(threads)} if plan.limits else {}
        turns = {
            subject.label: partial(_speak, workers[subject.label], subject, plan, subject.label in owners, findings)
            for subject in plan.subjects
        }
        if plan.streams:
            middle = plan.texts[len(plan.texts) // 2]
            turns[SIDE_BY_SIDE] = partial(workers[first.label].call, "streams", first.asked, middle, plan.streams)
        if plan.texts:
            spoken: Rounds = rounds({**turns, **machine_turn}, what="speech")
            findings.speech = spoken.tables
            spells.append(("rounds of speech", spoken.spells))
        if plan.components:
            turns = {label: partial(workers[label].call, "components", cases) for label in workers if label in plan.whole}
            alone: Rounds = rounds({**turns, **machine_turn}, what="components alone")
            findings.alone = alone.tables
            spells.append(("rounds of components", alone.spells))
    problems = _count(plan, findings, cases) if plan.limits else []
    findings.disturbances = tuple(text for what, found in spells for text in complaints(found, machine.usable_cores, what))
    findings.notes = (*_notes(plan), *dict.fromkeys(remarks), *problems, *_gaps(findings))
    return findings


def brief(asked: Asked, manifest: package.Manifest) -> Asked:
    """Return a request made short, as far as its kind and the model can be."""
    known = takes_of(manifest).keys() or {one.name for one in dataclasses.fields(asked)}
    return dataclasses.replace(asked, **{name: value for name, value in BRIEF.items() if name in known})


def _loads(plan: Plan, findings: Findings, golden: Sequence[Alone], scratch: Path, progress: Progress) -> list[Spell]:
    """Load the competitors afresh, cold and from a cache that one load has filled, which does not count."""
    smallest = list({case.name: case for case in reversed(golden)}.values())
    turns = {}
    for subject in (subject for subject in plan.subjects if subject.label in plan.whole):
        turns[f"{subject.label}"] = partial(load, subject, smallest, None)
    caches = {}
    for number, subject in enumerate(subject for subject in plan.subjects if subject.engine == "openvino"):
        if subject.label in plan.whole:
            caches[subject.label] = scratch / f"cache-{number}"
            load(subject, smallest, caches[subject.label])
            turns[f"{subject.label}{CACHED}"] = partial(load, subject, smallest, caches[subject.label])
    found = take_turns(
        turns, plan.loads, seed=plan.seed, look_around=looker(lambda: iter(())), what="loads", progress=progress
    )
    for label in turns:
        table = findings.loading.setdefault(label.removesuffix(CACHED), Table())
        table.readings.update(found.tables[label].readings)
    return found.spells


def _wider(cases: Sequence[Alone], plan: Plan, scratch: Path) -> list[Alone]:
    """Return the cases of the plan's numbers of rows, of each component that takes several, at the size it was run most."""
    manifest = package.load(plan.subjects[0].package)
    found: list[Alone] = []
    for name in dict.fromkeys(case.name for case in cases):
        mine = [case for case in cases if case.name == name]
        base = next((case for case in mine if case.context is not None), mine[0])  # of a step, one position behind others
        if takes_rows(manifest.packed(name).component):
            found += [widened(base, rows, scratch) for rows in plan.batch]
    return found


def distinct(cases: Sequence[Alone]) -> list[Alone]:
    """Return the first of the cases that reports call alike: what was met while speaking may be a golden size too."""
    return list({(case.name, case.case): case for case in reversed(cases)}.values())[::-1]


def _speak(process: Worker, subject: Subject, plan: Plan, alone: bool, findings: Findings) -> list[Reading]:
    """Take a turn of speech. Only who is `alone` in its process, or was its first, says what memory that took."""
    found: list[Reading] = process.call("turn", subject.asked, plan.texts, plan.new_voice)
    if subject.label not in findings.sounds:
        findings.sounds[subject.label] = process.call("sounds")
    return found + (process.call("memory") if alone else [])


CACHED = " from its cache"  # behind the label of a competitor that is loaded from compiled graphs


def _pids(workers: dict[str, Worker]) -> Iterator[int]:
    return (process.pid for process in workers.values())


def _count(plan: Plan, findings: Findings, cases: Sequence[Alone]) -> list[str]:
    """Count the work of the cases for every package with a table of them; return what could not be counted."""
    problems: list[str] = []
    for subject in plan.subjects:
        if subject.label in findings.alone and subject.engine == "openvino":
            manifest = subject.variant.apply(package.load(subject.package))
            findings.works[subject.label], found = limits.works(subject.package, manifest, cases)
            problems += found
    return problems


def _notes(plan: Plan) -> Iterator[str]:
    if not plan.texts:
        yield "nothing of ours speaks with this package: its components ran alone, at the sizes of their golden tensors"
    else:
        yield f"everything was done once before the {plan.rounds} rounds began (warm-up); that round is not counted"
    if plan.texts and plan.brief:
        yield f"but for the package's own, the warm-up was cut to {BRIEF['max_new_tokens']} tokens and one solver step"
    if len(plan.subjects) > 1:
        yield (
            f"{len(plan.subjects)} competitors, each in a process of its own, took turns in every round, in an order drawn "
            "anew; ratios compare figures of one round"
        )
    yield "a figure is the median over the rounds with its 95 % interval; P50, P90 and P99 are of the tokens of one round"
    if plan.loads:
        yield "cold means no compiled cache; the files may be in the system's memory, as they were read before"


def _gaps(findings: Findings) -> Iterator[str]:
    tables = (
        *((label, table, findings.rounds) for label, table in (*findings.speech.items(), *findings.alone.items())),
        *((label, table, findings.loads) for label, table in findings.loading.items()),
    )
    for label, table, number in tables:
        for key in table.gaps(number):
            yield f"left out, as some rounds lack it: {' '.join(key)} of {label or 'the package'}"
