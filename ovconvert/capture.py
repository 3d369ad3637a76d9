"""Keeps what enters the components of a program that runs: some calls of every kind, from every voice, none of them twice.

Of a decoder step the first call of a sequence is kept, those after 1, 2, 4, 8, ... more, and the last, each with its cache
and of all rows the first; of a component that is told a time, calls at every time; of the others any.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.calibration import Sample
from ovconvert.golden import NEW
from ovconvert.package import Manifest, PackedComponent, sha256
from ovconvert.spec import Component

PER_VOICE = 4  # calls of one kind that are kept of one voice, until it is known how many there is room for
ROW = "batch"  # the axis of which one row is kept
STATEFUL, EXPLICIT = "stateful", "with_past"

Inputs = Mapping[str, np.ndarray]
Collect = Callable[[str, Inputs], None]


def with_explicit_cache(manifest: Manifest) -> Manifest:
    """Return the manifest without in-model states where there is another form: a cache must be seen to be kept."""

    def one(packed: PackedComponent) -> PackedComponent:
        seen = {form: graph for form, graph in packed.graphs.items() if form != STATEFUL}
        return replace(packed, graphs=seen) if EXPLICIT in seen else packed

    return replace(manifest, components=tuple(one(packed) for packed in manifest.components))


class Captured:
    """Takes the place of an engine in a program and hands the inputs of every call to `collect` before it runs."""

    def __init__(self, engine: Any, collect: Collect) -> None:
        self._engine, self._collect = engine, collect

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a component as the engine does."""
        self._collect(name, inputs)
        result: dict[str, np.ndarray] = self._engine.run(name, **inputs)
        return result

    def compiled(self, name: str, form: str = "plain") -> Any:
        """Return what a decoder step asks for a request."""
        return _Model(self._engine.compiled(name, form), name, self._collect)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class _Model:
    """A compiled graph whose requests hand on what enters them."""

    def __init__(self, model: Any, name: str, collect: Collect) -> None:
        self._model, self._name, self._collect = model, name, collect

    def create_infer_request(self) -> _Request:
        """Return a request that hands on what enters it."""
        return _Request(self._model.create_infer_request(), self._name, self._collect)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class _Request:
    """A request that hands on what enters it."""

    def __init__(self, request: Any, name: str, collect: Collect) -> None:
        self._request, self._name, self._collect = request, name, collect

    def infer(self, inputs: Inputs, **settings: Any) -> Any:
        """Run the request."""
        self._collect(self._name, inputs)
        return self._request.infer(inputs, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


@dataclass
class _Sequence:
    """How far a decoder step has come, and its latest call if that was not kept."""

    calls: int = 0
    latest: dict[str, np.ndarray] | None = None


class Collector:
    """Writes calls below `directory`; `begin` says which text and voice the next ones belong to."""

    def __init__(self, directory: Path, components: Iterable[Component], seed: int) -> None:
        self._directory = directory
        self._components = {component.name: component for component in components}
        self._seed = seed
        self._text = self._voice = 0
        self._sequences: defaultdict[str, _Sequence] = defaultdict(_Sequence)
        self._offered: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._kept: defaultdict[tuple[str, str, int], list[Sample]] = defaultdict(list)
        self._seen: set[tuple[str, str]] = set()
        self._turn = threading.Lock()  # programs may run components side by side

    def begin(self, text: int, voice: int) -> None:
        """Close the sequences of the text before, and begin another."""
        with self._turn:
            self._close(*self._sequences)
            self._text, self._voice = text, voice

    def __call__(self, name: str, inputs: Inputs) -> None:
        """Keep a call of component `name`, or do not."""
        component = self._components[name]
        row = _one_row(component, inputs)
        with self._turn:
            if component.cache is None:
                self._offer(name, _time(component, row), row)
                return
            if _positions(component, row) > 1:
                self._close(name)
                self._offer(name, "first", row)
                self._sequences[name] = _Sequence()
                return
            sequence = self._sequences[name]
            sequence.calls += 1
            if sequence.calls & (sequence.calls - 1) == 0:  # a power of two
                self._offer(name, f"call {sequence.calls}", row)
                sequence.latest = None
            else:
                sequence.latest = row

    def samples(self, most: int, budget_bytes: int) -> tuple[Sample, ...]:
        """Return what is kept, at most `most` per component and `budget_bytes` in all; the files of the rest are removed.

        Every component gets an equal share of the bytes; what the small ones leave goes to the others. Kinds of calls take
        turns, and within each the voices, so that any number of the first samples shows most kinds.
        """
        self.begin(0, 0)
        offered = {name: list(_in_turns({key: kept for key, kept in self._kept.items() if key[0] == name}))
                   for name in self._components}  # fmt: skip
        needs = {name: sum(sample.bytes for sample in found[:most]) for name, found in offered.items()}
        chosen: dict[str, list[Sample]] = {}
        for left, name in zip(range(len(needs), 0, -1), sorted(needs, key=lambda name: needs[name]), strict=True):
            chosen[name] = self._choose(name, offered[name], most, budget_bytes // left)
            budget_bytes -= sum(sample.bytes for sample in chosen[name])
        return tuple(sample for name in self._components for sample in chosen[name])

    def _choose(self, name: str, offered: Iterable[Sample], most: int, budget_bytes: int) -> list[Sample]:
        """Return the first of `offered` that there is room for, at least one, their files renamed; remove the others."""
        chosen: list[Sample] = []
        for sample in offered:
            path = self._directory / sample.file
            spent = sum(one.bytes for one in chosen)
            if chosen and (len(chosen) == most or spent + sample.bytes > budget_bytes):
                path.unlink()
                continue
            file = f"{name}/{len(chosen):04d}.npz"
            path.rename(self._directory / file)
            chosen.append(replace(sample, file=file))
        return chosen

    def _close(self, *names: str) -> None:
        for name in names:
            if (latest := self._sequences[name].latest) is not None:
                self._offer(name, "last", latest)
            self._sequences[name] = _Sequence()

    def _offer(self, name: str, stratum: str, inputs: Inputs) -> None:
        """Keep a call among those of its kind and voice, all of which are equally likely to stay (reservoir sampling)."""
        digest = _digest(inputs)
        if (name, digest) in self._seen:
            return
        self._seen.add((name, digest))
        key = (name, stratum, self._voice)
        number = self._offered[key]
        self._offered[key] += 1
        kept = self._kept[key]
        place = number
        if number >= PER_VOICE:
            draw = hashlib.sha256(f"{self._seed} {key} {number}".encode()).digest()
            place = int.from_bytes(draw[:8], "big") % (number + 1)
            if place >= PER_VOICE:
                return
            (self._directory / kept[place].file).unlink()
        file = f"{name}/{digest[:32]}.new.npz"
        path = self._directory / file
        path.parent.mkdir(exist_ok=True)
        np.savez(path, allow_pickle=False, **inputs)
        sample = Sample(name, file, sha256(path), path.stat().st_size, stratum, self._text, self._voice)
        kept[place : place + 1] = [sample]


def _one_row(component: Component, inputs: Inputs) -> dict[str, np.ndarray]:
    """Return a copy of the inputs by port, of several rows the first."""
    found = {}
    for port in component.all_inputs():
        if port.name in inputs:
            value = np.asarray(inputs[port.name])
            found[port.name] = np.array(value[:1] if port.shape and port.shape[0] == ROW else value)
    return found


def _positions(component: Component, inputs: Inputs) -> int:
    """Return how many new positions of a sequence a call reads."""
    found = [inputs[port.name].shape[port.shape.index(NEW)] for port in component.inputs if NEW in port.shape]
    return found[0] if found else 1


def _time(component: Component, inputs: Inputs) -> str:
    """Return the kind of a call: the number that a component is told beside its tensors, as solvers tell the time."""
    told = [port.name for port in component.inputs if port.dtype == "float32" and port.shape == (1,)]
    return " ".join(f"{name}={float(inputs[name][0]):.4g}" for name in told) or "any"


def _digest(inputs: Inputs) -> str:
    found = hashlib.sha256()
    for name, value in sorted(inputs.items()):
        found.update(f"{name} {value.dtype} {value.shape} ".encode())
        found.update(np.ascontiguousarray(value).data)
    return found.hexdigest()


def _in_turns(kept: Mapping[tuple[str, str, int], list[Sample]]) -> Iterator[Sample]:
    """Yield all samples: one of each kind, then the next of each; the voices of a kind take turns too."""
    kinds: dict[str, list[Sample]] = {}
    for rank in range(PER_VOICE):
        for (_, stratum, _), found in kept.items():
            kinds.setdefault(stratum, []).extend(found[rank : rank + 1])
    longest = max(map(len, kinds.values()), default=0)
    for turn in range(longest):
        for shift, found in enumerate(kinds.values()):
            if turn < len(found):
                yield found[(turn + shift) % len(found)]
