"""One graph alone, at given sizes: no program around it."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert import golden
from ovconvert.bench.reading import Reading
from ovconvert.bench.variants import form_of
from ovconvert.bench.watch import Call, Sizes, Watched, lasting, lasting_inputs, sizes_of, sizing
from ovconvert.golden import NEW, PAST, TOTAL
from ovconvert.package import Manifest
from ovconvert.runtime.cache import open_step
from ovconvert.spec import Component

LONG_ENOUGH_SECONDS = 0.2  # calls are repeated so long within a turn, and their median is the figure of the turn
MOST_CALLS = 20
USED_SIZES = 2  # of each component, those at which it spent most
TRACE = "trace"  # the golden case of a whole sequence
ROWS = "batch"  # the axis of sequences that are computed at once


@dataclass(frozen=True)
class Alone:
    """A component, the file with its inputs, and the sizes they have; of a step also how much the cache holds before it."""

    name: str
    inputs: Path
    sizes: Sizes
    context: int | None = None

    @property
    def case(self) -> str:
        """Return how reports name the sizes."""
        shown = [f"{axis}={size}" for axis, size in lasting(self.sizes)]
        return " ".join(shown if self.context is None else [*shown, f"context={self.context}"]) or "fixed"

    def load(self) -> dict[str, np.ndarray]:
        """Return the inputs."""
        with np.load(self.inputs, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def all_sizes(self) -> dict[str, int]:
        """Return the sizes of all axes, those of the cache included."""
        found = dict(self.sizes)
        past = self.context or 0
        return found | {PAST: past, TOTAL: past + found.get(NEW, 0)}


def subject_of(case: Alone) -> str:
    """Return what reports call a component that runs alone."""
    return called(case.name)


def called(component: str) -> str:
    """Return what reports call the component of that name where it runs alone."""
    return f"{component} alone"


def used(watched: Watched, contexts: Sequence[int] = ()) -> list[Alone]:
    """Return the cases at which each component spent most of its time, of those whose inputs were kept.

    A step that reads one position stands behind each of `contexts`, else behind the middle of those that occurred.
    """
    calls: defaultdict[tuple[str, Sizes], list[Call]] = defaultdict(list)
    for call in watched.calls:
        calls[call.name, lasting(call.sizes)].append(call)
    spent = {key: sum(call.seconds for call in group) for key, group in calls.items() if key in watched.kept}
    found = []
    for name in dict.fromkeys(name for name, _ in spent):
        dearest = sorted((key for key in spent if key[0] == name), key=lambda key: -spent[key])[:USED_SIZES]
        for key in dearest:
            found += [
                Alone(name, watched.kept[key], key[1], context) for context in _contexts(watched, calls[key], contexts)
            ]
    return found


def _contexts(watched: Watched, calls: Sequence[Call], asked: Sequence[int]) -> Sequence[int | None]:
    if watched.manifest.packed(calls[0].name).component.cache is None or calls[0].positions != 1:
        return (None,)
    totals = [dict(call.sizes).get(TOTAL, 1) for call in calls]
    return asked or (int(statistics.median(totals)) - 1,)


def takes_rows(component: Component) -> bool:
    """Tell whether a component computes several rows at once: all of its inputs have as many as one is given."""
    return all(port.shape[:1] == (ROWS,) for port in component.inputs)


def widened(case: Alone, rows: int, dest: Path) -> Alone:
    """Write the inputs of a case below `dest` with `rows` rows, repeated from those that are there; return that case."""
    path = dest / f"{case.inputs.stem}-{rows}-rows.npz"
    inputs = {name: np.take(value, range(rows), 0, mode="wrap") for name, value in case.load().items()}
    np.savez(path, allow_pickle=False, **inputs)
    sizes = tuple((axis, rows if axis == ROWS else size) for axis, size in case.sizes)
    return Alone(case.name, path, sizes, case.context)


def golden_cases(package_dir: Path, manifest: Manifest, dest: Path) -> list[Alone]:
    """Write the inputs of every golden case below `dest` and return the cases. A step stands behind the case's own cache."""
    found = []
    for packed in manifest.components:
        cases = golden.Cases.load(package_dir / packed.golden)
        for number, case in enumerate(name for name in cases.names() if name != TRACE):
            component, inputs = packed.component, cases.inputs(case)
            sizes = sizes_of(sizing(component), inputs)
            path = dest / f"golden-{component.name}-{number}.npz"
            np.savez(path, allow_pickle=False, **lasting_inputs(sizing(component), inputs))
            found.append(Alone(component.name, path, lasting(sizes), dict(sizes).get(PAST) if component.cache else None))
    return found


def timed(engine: Any, case: Alone, clock: Callable[[], float] = time.perf_counter) -> Reading:
    """Return the seconds of one call of a component: the median of several, after one that does not count."""
    component: Component = engine.manifest.packed(case.name).component
    call = prepared(engine, component, case)
    call()
    spent: list[float] = []
    while not spent or (sum(spent) < LONG_ENOUGH_SECONDS and len(spent) < MOST_CALLS):
        begun = clock()
        call()
        spent.append(clock() - begun)
    return Reading(subject_of(case), case.case, "one call", 1000 * statistics.median(spent), "ms", "lower")


def prepared(engine: Any, component: Component, case: Alone) -> Callable[[], object]:
    """Return what runs the component once: a step behind its context, which then grows by what it reads."""
    inputs = case.load()
    if component.cache is None and form_of(engine.manifest.packed(case.name)) == "plain":
        return lambda: engine.run(case.name, **inputs)
    step = open_step(engine, case.name)
    rows = next(iter(inputs.values())).shape[0]
    order = np.arange(rows, dtype=np.int32)

    def anew() -> object:
        step.reset()
        return step(order, **inputs)

    if not case.context:
        return anew
    step.reset()
    step(order, **context_of(component, inputs, case.context))
    return lambda: step(order, **inputs)


def context_of(component: Component, inputs: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Return `inputs` with `length` new positions, repeated from those that are there."""
    found = {}
    for port in component.inputs:
        if port.name in inputs:
            value = inputs[port.name]
            axis = port.shape.index(NEW) if NEW in port.shape else None
            found[port.name] = value if axis is None else np.take(value, range(length), axis, mode="wrap")
    return found
