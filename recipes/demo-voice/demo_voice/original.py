"""The PyTorch networks behind the runner's own loops, so that IRs and originals differ in nothing but the networks."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovconvert import families, package


class _Name:
    """An output as the runtime names it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_any_name(self) -> str:
        """Return the name."""
        return self._name


class TorchEngine:
    """Takes the place of the runtime's engine: assets and manifest of a package, networks of the checkpoint it came from."""

    def __init__(self, checkpoint: Path, directory: Path) -> None:
        self.directory = directory
        self.manifest = package.load(directory)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._checkpoint = families.open_checkpoint(checkpoint)
        self._networks: dict[str, torch.nn.Module] = {}

    def network(self, name: str) -> torch.nn.Module:
        """Return the network of a component."""
        if name not in self._networks:
            self._networks[name] = self._checkpoint.build(name).eval()
        return self._networks[name]

    @torch.no_grad()
    def call(self, name: str, inputs: dict[str, np.ndarray], past: tuple[torch.Tensor, ...] = ()) -> list[torch.Tensor]:
        """Return the outputs of component `name`, those of its cache last."""
        component = self.manifest.packed(name).component
        given = [torch.from_numpy(np.ascontiguousarray(inputs[port.name])) for port in component.inputs]
        found = self.network(name)(*given, *past)
        return list(found) if isinstance(found, tuple) else [found]

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run component `name` once on its named inputs."""
        ports = self.manifest.packed(name).component.outputs
        return {port.name: value.numpy() for port, value in zip(ports, self.call(name, inputs), strict=True)}

    def compiled(self, name: str, form: str = "plain") -> _Compiled:
        """Return what a step asks for a request."""
        return _Compiled(self, name)

    def release(self, *names: str) -> None:
        """Give back the memory of components."""
        for name in names:
            self._networks.pop(name, None)


class _Compiled:
    def __init__(self, engine: TorchEngine, name: str) -> None:
        self._engine, self._name = engine, name

    def create_infer_request(self) -> _Request:
        return _Request(self._engine, self._name)


class _Request:
    """A request whose cache lies between its calls, as that of a stateful graph."""

    def __init__(self, engine: TorchEngine, name: str) -> None:
        self._engine, self._name = engine, name
        self._past: tuple[torch.Tensor, ...] = ()

    def reset_state(self) -> None:
        self._past = ()

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool = False) -> dict[Any, np.ndarray]:
        order = torch.from_numpy(inputs["beam_idx"].astype(np.int64))
        past = tuple(value.index_select(0, order) for value in self._past)
        ports = self._engine.manifest.packed(self._name).component.outputs
        found = self._engine.call(self._name, inputs, past)
        self._past = tuple(found[len(ports) :])
        return {_Name(port.name): value.numpy() for port, value in zip(ports, found, strict=False)}
