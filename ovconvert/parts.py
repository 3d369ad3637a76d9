"""A checkpoint described part by part: which network a component is, which tensors it reads, which ports it has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ovconvert.checkpoint import construct, fill, mismatches, unexplained
from ovconvert.spec import CacheSpec, Component, Family, Port

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[int, ...]]
Ports = tuple[Port, ...]
Sizes = Mapping[str, int]
Example = Mapping[str, np.ndarray]
FLOORS = {"fp32": 80.0, "fp16": 50.0}  # dB against PyTorch; reports/notes/parity.md has the runs


class Reads(NamedTuple):
    """Tensors that a part reads: of the state dict called `state`, those that begin with `start`.

    In the network, `instead` stands in the place of `start`.
    """

    state: str
    start: str = ""
    instead: str = ""

    def renamed(self, keys: Iterable[str]) -> dict[str, str]:
        """Return {key: name in the network} of what is read."""
        return {key: self.instead + key.removeprefix(self.start) for key in keys if key.startswith(self.start)}


@dataclass(frozen=True)
class Part:
    """One component. `configure` takes the shapes of what it reads, under the names of its network, and the settings.

    The others take the configuration that this returns. `network` makes the module, whose `UNUSED` has patterns of keys that
    it leaves. `example` gives inputs that must not be drawn at random. For the rest see `spec.Component`.
    """

    name: str
    role: str
    reads: tuple[Reads, ...]
    configure: Callable[[Shapes, Any], Any]
    network: Callable[[Any], Any]
    ports: Callable[[Any], tuple[Ports, Ports]]
    cache: Callable[[Any], CacheSpec | None] = lambda config: None
    example: Callable[[Any, Sizes, np.random.Generator], Example] = lambda config, sizes, rng: {}
    keep_fp: tuple[str, ...] = ()
    reach: Callable[[Any], int] = lambda config: 0
    weights_only: bool = False

    def component(self, config: Any) -> Component:
        """Return the description of the component of that configuration."""
        inputs, outputs = self.ports(config)
        return Component(
            self.name,
            self.role,
            inputs,
            outputs,
            self.cache(config),
            self.keep_fp,
            FLOORS,
            reach=self.reach(config),
            weights_only=self.weights_only,
        )


def floats(*ports: tuple[str, tuple[int | str, ...]]) -> Ports:
    """Return float32 ports of these names and axes."""
    return tuple(Port(name, "float32", shape) for name, shape in ports)


def ids(*ports: tuple[str, tuple[int | str, ...]]) -> Ports:
    """Return int64 ports of these names and axes."""
    return tuple(Port(name, "int64", shape) for name, shape in ports)


def filled(ports: Ports, given: Example, sizes: Sizes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a value for every port: what is `given`, else ones for integers (a mask) and normal numbers otherwise."""
    # drawn for those that are given too: what one port gets does not depend on which others are
    return {port.name: given.get(port.name, _plain(port, sizes, rng)) for port in ports}


class PartedCheckpoint(ABC):
    """What checkpoints of parts share: components are sized by shapes, checked key by key, and built on demand.

    `shapes` are those of every state dict by its name, and `settings` are handed to `Part.configure`. A family's checkpoint
    calls `configure` and `check_keys`, which collect problems, and then describes itself in `family`, `files` and `unused`.
    """

    SUFFIX: ClassVar[str] = ""
    """What a state dict's name lacks to be that of its file, for messages."""

    family: Family

    def __init__(self, chosen: Sequence[Part], shapes: Mapping[str, Shapes], settings: Any) -> None:
        self.parts = {part.name: part for part in chosen}
        self.configs: dict[str, Any] = {}
        self._shapes = shapes
        self._part_settings = settings

    @abstractmethod
    def read_state(self, state: str) -> Mapping[str, torch.Tensor]:
        """Return the tensors of a state dict."""

    def build(self, component: str) -> torch.nn.Module:
        """Return the network of a component with its weights."""
        module = self._network(self.parts[component])
        wanted = set(module.state_dict())
        tensors: dict[str, torch.Tensor] = {}
        for reads in self.parts[component].reads:
            state = self.read_state(reads.state)
            tensors |= {inside: state[key] for key, inside in reads.renamed(state).items() if inside in wanted}
        return fill(module, tensors)

    def example(self, component: str, sizes: Sizes, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return valid inputs of a component at `sizes`, its cache not included."""
        part, config = self.parts[component], self.configs[component]
        return filled(part.ports(config)[0], part.example(config, sizes, rng), sizes, rng)

    def components(self) -> tuple[Component, ...]:
        """Return the descriptions of all parts."""
        return tuple(part.component(self.configs[part.name]) for part in self.parts.values())

    def configure(self, problems: list[str]) -> None:
        """Read the sizes of every component from the shapes of its tensors."""
        for part in self.parts.values():
            try:
                self.configs[part.name] = part.configure(self._shapes_of(part), self._part_settings)
            except KeyError as error:
                problems.append(f"{self._files(part, ', ')}: {error} is missing, without which {part.name} has no size")
            except (ValueError, IndexError, ZeroDivisionError) as error:
                problems.append(f"{part.name}: the shapes of its tensors fit no such network: {error}")

    def check_keys(
        self, problems: list[str], *, strict: bool, unused: Mapping[str, Sequence[str]] | None = None
    ) -> tuple[str, ...]:
        """Compare every state dict with what the networks read; return the keys that are left out.

        `unused` has patterns of keys that are known to be left, by state dict, besides those that the networks name. Other
        keys are problems if `strict`; but with a part that has no size they only seem to be strange.
        """
        used: dict[str, set[str]] = {name: set() for name in self._shapes}
        patterns = {name: [*(unused or {}).get(name, ())] for name in self._shapes}
        for part in self.parts.values():
            if part.name not in self.configs:
                continue
            module = self._network(part)
            keys = set(module.state_dict())  # asked once: a network of a thousand keys gathers them anew each time
            problems += mismatches(module, self._shapes_of(part), f"{self._files(part, ' + ')} ({part.name})")
            for reads in part.reads:
                renamed = reads.renamed(self._shapes[reads.state])
                used[reads.state] |= {key for key, inside in renamed.items() if inside in keys}
                patterns[reads.state] += [reads.start + pattern.removeprefix(reads.instead) for pattern in module.UNUSED]
        left: list[str] = []
        for name, shapes in self._shapes.items():
            known, strange = unexplained(shapes, used[name], patterns[name])
            left += [f"{name}:{key}" for key in (known if strict else (*known, *strange))]
            if strict and len(self.configs) == len(self.parts):
                file = name + self.SUFFIX
                problems += [f"{file}: {key} is unexpected (--no-strict leaves such keys out)" for key in strange]
        return tuple(left)

    def _network(self, part: Part) -> torch.nn.Module:
        return construct(partial(part.network, self.configs[part.name]))

    def _shapes_of(self, part: Part) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what a part may read, under the names of its network."""
        return {
            inside: self._shapes[reads.state][key]
            for reads in part.reads
            for key, inside in reads.renamed(self._shapes[reads.state]).items()
        }

    def _files(self, part: Part, between: str) -> str:
        return between.join(reads.state + self.SUFFIX for reads in part.reads)


def _plain(port: Port, sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    if port.dtype != "float32":
        return np.ones(port.sized(sizes), port.dtype)
    return rng.standard_normal(port.sized(sizes), dtype=np.float32)
