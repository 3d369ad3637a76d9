"""An engine that keeps a record of its calls: which component, at which sizes, from when to when."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.golden import NEW, PAST, TOTAL
from ovconvert.spec import Component, Port

Sizes = tuple[tuple[str, int], ...]  # (axis, size) pairs


@dataclass(frozen=True)
class Call:
    """One call of a component; `begun` and `ended` are seconds of the clock."""

    name: str
    sizes: Sizes
    begun: float
    ended: float

    @property
    def seconds(self) -> float:
        """Return how long the call took."""
        return self.ended - self.begun

    @property
    def positions(self) -> int:
        """Return how many new positions of a sequence the call read, 0 if it read no sequence."""
        return dict(self.sizes).get(NEW, 0)


class Watched:
    """Takes the place of any engine in a program. `calls` are those since they were last cleared, compilation not included.
    Components may run in threads of their own, each in one at a time.

    With `releases` False the engine keeps what a program would have it give back. While `keep` names a directory, the
    inputs of the first call at each of a component's sizes are written there, the cache left out.
    """

    def __init__(self, engine: Any, clock: Callable[[], float] = time.perf_counter, *, releases: bool = True) -> None:
        self.engine = engine
        self.releases = releases
        self.directory: Path = engine.directory
        self.manifest = engine.manifest
        self.calls: list[Call] = []
        self.keep: Path | None = None
        self.kept: dict[tuple[str, Sizes], Path] = {}
        self.clock = clock
        self._ports: dict[str, tuple[Port, ...]] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """Return the engine's own sums."""
        found: dict[str, float] = self.engine.seconds
        return found

    @property
    def compile_seconds(self) -> float:
        """Return how long the engine has compiled or read weights, all components together."""
        return float(sum(list(self.engine.compile_seconds.values())))

    def release(self, *names: str) -> None:
        """Give back the memory of components, unless the engine shall keep it."""
        if self.releases:
            self.engine.release(*names)

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a component as the engine does."""
        compiled, begun = self.engine.compile_seconds[name], self.clock()
        result: dict[str, np.ndarray] = self.engine.run(name, **inputs)
        # of this component alone: another may be compiled in another thread meanwhile
        self.note(name, inputs, begun + self.engine.compile_seconds[name] - compiled)
        return result

    def compiled(self, name: str, form: str = "plain") -> WatchedModel:
        """Return what a decoder step asks for a request."""
        return WatchedModel(self, name, self.engine.compiled(name, form))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def note(self, name: str, inputs: Mapping[str, np.ndarray], begun: float) -> None:
        """Record a call that has just ended."""
        ended = self.clock()
        sizes = sizes_of(self._sizing(name), inputs)
        self.calls.append(Call(name, sizes, begun, ended))
        key = (name, lasting(sizes))
        if self.keep is not None and key not in self.kept:
            path = self.keep / f"{name}-{len(self.kept)}.npz"
            np.savez(path, allow_pickle=False, **lasting_inputs(self._sizing(name), inputs))
            self.kept[key] = path

    def _sizing(self, name: str) -> tuple[Port, ...]:
        """Return the ports that tell all sizes of a component. Looked up once: this runs between calls that are timed."""
        if name not in self._ports:
            self._ports[name] = sizing(self.manifest.packed(name).component)
        return self._ports[name]


class WatchedModel:
    """A compiled graph whose requests are watched."""

    def __init__(self, watched: Watched, name: str, model: Any) -> None:
        self._watched, self._name, self._model = watched, name, model

    def create_infer_request(self) -> WatchedRequest:
        """Return a request that is watched."""
        return WatchedRequest(self._watched, self._name, self._model.create_infer_request())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class WatchedRequest:
    """A request whose calls are recorded."""

    def __init__(self, watched: Watched, name: str, request: Any) -> None:
        self._watched, self._name, self._request = watched, name, request

    def infer(self, inputs: Mapping[str, np.ndarray], **settings: Any) -> Any:
        """Run the request as it would run unwatched."""
        begun = self._watched.clock()
        result = self._request.infer(inputs, **settings)
        self._watched.note(self._name, inputs, begun)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def sizing(component: Component) -> tuple[Port, ...]:
    """Return the inputs that tell all sizes of a component: of its cache the first tensor alone."""
    return (*component.inputs, *(component.cache.inputs()[:1] if component.cache else ()))


def sizes_of(ports: Sequence[Port], inputs: Mapping[str, np.ndarray]) -> Sizes:
    """Return the sizes of the dynamic axes among `inputs`."""
    found = {
        axis: int(inputs[port.name].shape[number])
        for port in ports
        if port.name in inputs
        for number, axis in port.dynamic_axes().items()
    }
    return tuple(found.items())


def lasting(sizes: Sizes) -> Sizes:
    """Return the sizes that do not grow from step to step."""
    return tuple((axis, size) for axis, size in sizes if axis not in (PAST, TOTAL))


def lasting_inputs(ports: Sequence[Port], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the inputs without those that grow from step to step: the cache, and the mask over it, which a step makes."""
    kept = (port.name for port in ports if not {PAST, TOTAL} & set(port.shape))
    return {name: inputs[name] for name in kept if name in inputs}
