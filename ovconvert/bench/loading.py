"""What comes before the first word: opening, compiling (cold and from a cache), the first inference of every graph."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ovconvert.bench.abilities import has_program
from ovconvert.bench.alone import Alone, prepared
from ovconvert.bench.bench import PROCESS, memory_readings
from ovconvert.bench.reading import Reading
from ovconvert.bench.subject import Subject, open_engine, open_program
from ovconvert.bench.worker import worker

COLD, CACHED = "cold", "from cache"
STEADY_CALLS = 3


class Loader:
    """Loads a competitor once; a process is good for one load."""

    def __init__(self, subject: Subject, cache_dir: Path | None) -> None:
        self._subject, self._cache_dir = subject, cache_dir

    def load(self, cases: Sequence[Alone], case_name: str) -> list[Reading]:
        """Open everything and run every case; return seconds of opening, compiling, first and later inferences."""
        begun = time.perf_counter()
        watched = open_engine(self._subject, self._cache_dir)
        if has_program(watched.manifest.family):
            open_program(watched)
        opened = time.perf_counter() - begun
        found = [Reading(PROCESS, case_name, "open", opened, "s", "lower", "manifest, hashes, assets, tokenizer")]
        engine = watched.engine
        compiled = 0.0
        for case in cases:
            before, begun = engine.compile_seconds[case.name], time.perf_counter()
            # a step without its context: the first call is then the first inference
            call = prepared(engine, watched.manifest.packed(case.name).component, dataclasses.replace(case, context=None))
            call()
            whole, compiling = time.perf_counter() - begun, engine.compile_seconds[case.name] - before
            compiled += compiling
            found += [
                Reading(case.name, case_name, "compile", compiling, "s", "lower", "read and compiled"),
                Reading(case.name, case_name, "first inference", 1000 * (whole - compiling), "ms", "lower"),
                Reading(case.name, case_name, "steady state", 1000 * _steady(call), "ms", "lower"),
            ]
        found.append(Reading(PROCESS, case_name, "compile all", compiled, "s", "lower"))
        return found + memory_readings(f"loaded, {case_name}")


def _steady(call: Callable[[], object]) -> float:
    spent = []
    for _ in range(STEADY_CALLS):
        begun = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent)


def load(subject: Subject, cases: Sequence[Alone], cache_dir: Path | None) -> list[Reading]:
    """Return what one load takes in a fresh process, compiled graphs taken from `cache_dir` if given."""
    name = f"{subject.label or 'the package'}, loading"
    with worker(name, Loader, subject, cache_dir) as process:
        found: list[Reading] = process.call("load", cases, CACHED if cache_dir else COLD)
    return found
