"""The networks of a checkpoint in PyTorch eager mode, behind the runner's own loops."""

from __future__ import annotations

import importlib
import time
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ovconvert import families, package
from ovconvert.baselines.surface import Compiled, Output, Request, require_form
from ovconvert.errors import UsageError, listing
from ovconvert.original import Original
from ovconvert.runtime.cache import empty_cache
from ovconvert.scripted import open_script
from ovconvert.spec import Component

if TYPE_CHECKING:
    import torch


class TorchEngine:
    """Takes the place of the runtime's engine: manifest and assets of the package at `directory`, networks of `checkpoint`.

    `seconds` adds up the time per component as the engine's does: calls of `run` here, calls of a step where the runtime
    counts them; reading weights is in `compile_seconds`. `threads` is a setting of the whole process in PyTorch; a call
    sets it if another engine has changed it. With `as_published` the networks take the form and do the work of the published
    code (`baselines.published`), and a prompt that several beams continue is read once per beam, as the published decoding
    loop does: its second call has the time for the beams after the first. Nothing is released then, since the published code
    keeps all that it has loaded. Outputs are the same.

    What a checkpoint brings as ONNX files runs in ONNX Runtime, as published code runs it. `script` describes a model of
    the user's own, whose weights `checkpoint` has, if it reads any.

    Raises UsageError, naming every component, if `checkpoint` is not one that the package can be made from.
    """

    def __init__(
        self,
        checkpoint: Path | None,
        directory: Path,
        *,
        threads: int | None = None,
        as_published: bool = False,
        script: str = "",
    ) -> None:
        self.directory = directory
        self.manifest = package.load(directory)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.compile_seconds: defaultdict[str, float] = defaultdict(float)
        self.as_published = as_published
        self._threads = threads
        self._checkpoint = _opened(checkpoint, script, self.manifest)
        self._networks: dict[str, torch.nn.Module] = {}

    @property
    def original(self) -> Original | None:
        """What the published code does that neither these networks nor the runner's loops do, and how often it runs each.

        None if the family does not say, in an original.py beside it.
        """
        name = f"{families.__name__}.{self.manifest.family}.original"
        if self.manifest.family not in families.names() or find_spec(name) is None:
            return None
        return cast(Original, importlib.import_module(name).original(self.manifest.variant))

    @property
    def remark(self) -> str:
        """What must be known to read the figures; "" if nothing."""
        if self.original is not None:
            return ""
        caches = (packed.component.cache for packed in self.manifest.components)
        crossed = (
            "; keys and values of cross attentions are made in every step" if any(c and c.cross for c in caches) else ""
        )
        return f"pytorch: our networks in eager mode, our loops; what published code does more is not counted{crossed}"

    def network(self, name: str) -> torch.nn.Module:
        """Return the network of component `name`. Raises UsageError if the package has none of that name."""
        if name not in self._networks:
            self.manifest.packed(name)
            start = time.perf_counter()
            self._networks[name] = self._built(name)
            self.compile_seconds[name] += time.perf_counter() - start
        return self._networks[name]

    def _built(self, name: str) -> torch.nn.Module:
        checkpoint = self._checkpoint
        brought = checkpoint.graph(name) if isinstance(checkpoint, families.BringsGraphs) else None
        if brought is not None:
            return _brought(brought, self.manifest.packed(name).component, self._threads)
        network = checkpoint.build(name).eval()
        if self.as_published:
            from ovconvert.baselines.published import restore

            network = restore(network)
        return network

    def call(self, component: Component, inputs: dict[str, np.ndarray], past: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the outputs of a component on its named inputs and its cache, those of the cache last."""
        import torch

        network = self.network(component.name)
        if self._threads is not None and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.no_grad():
            given = [torch.from_numpy(np.ascontiguousarray(inputs[port.name])) for port in component.inputs]
            if component.cache is not None and not past:
                past = [torch.from_numpy(value) for value in empty_cache(component.cache, len(given[0])).values()]
            found = network(*given, *past)
        return list(found) if isinstance(found, tuple) else [found]

    def compiled(self, name: str, form: str = "plain") -> Compiled:
        """Return component `name` in `form`; a cache lies between the calls of a request if the form is stateful.

        Raises UsageError if the package has no such component or form.
        """
        packed = self.manifest.packed(name)
        require_form(packed, form)
        self.network(name)

        def create() -> Request:
            return _Remembering(self, packed.component) if form == "stateful" else _Plain(self, packed.component)

        return Compiled(create)

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run component `name` once on its named inputs; return its named outputs, which the caller owns."""
        request = self.compiled(name).create_infer_request()
        start = time.perf_counter()
        result = request.infer(inputs)
        self.seconds[name] += time.perf_counter() - start
        return {output.name: value for output, value in result.items()}

    def release(self, *names: str) -> None:
        """Give back the memory of components; the next use reads them again. With `as_published`, give back nothing."""
        if not self.as_published:
            for name in names:
                self._networks.pop(name, None)


class _Plain:
    """A request without a state; the explicit cache goes in and out as arrays."""

    def __init__(self, engine: TorchEngine, component: Component) -> None:
        self._engine, self._component = engine, component

    def reset_state(self) -> None:
        """Nothing was kept."""

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool = False) -> dict[Output, np.ndarray]:
        import torch

        component = self._component
        names = [past for past, _ in component.cache.names()] if component.cache else []
        past = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in names]
        found = self._engine.call(component, inputs, past)
        return {Output(port.name): value.numpy() for port, value in zip(component.all_outputs(), found, strict=True)}


class _Remembering:
    """A request whose cache lies between its calls as the published loop keeps it: grown by `cat`, gathered for beams."""

    def __init__(self, engine: TorchEngine, component: Component) -> None:
        self._engine, self._component = engine, component
        assert component.cache is not None
        self._tensors = len(list(component.cache.names()))
        self._past: list[torch.Tensor] = []
        # the first call, while it is not known how many beams will continue its one row
        self._prompt: dict[str, np.ndarray] | None = None

    def reset_state(self) -> None:
        """Forget what was read."""
        self._past, self._prompt = [], None

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool = False) -> dict[Output, np.ndarray]:
        order = inputs["beam_idx"]
        if not self._past:
            self._prompt = dict(inputs) if len(order) == 1 else None
        elif self._prompt is not None:
            if self._engine.as_published and len(order) > 1:
                self._read_per_beam(self._prompt, len(order) - 1)
            self._prompt = None
        found = self._engine.call(self._component, inputs, self._continued(order))
        ports = self._component.outputs
        # behind them come keys and values of cross attentions, which our networks make anew in every call
        self._past = found[len(ports) : len(ports) + self._tensors]
        return {Output(port.name): value.numpy() for port, value in zip(ports, found, strict=False)}

    def _continued(self, order: np.ndarray) -> list[torch.Tensor]:
        """Return the cache of the rows that `order` names. One sequence alone is never gathered: no loop does that."""
        import torch

        if not self._past or (len(order) == 1 and len(self._past[0]) == 1):
            return self._past
        rows = torch.from_numpy(order.astype(np.int64))
        return [value.index_select(0, rows) for value in self._past]

    def _read_per_beam(self, prompt: dict[str, np.ndarray], more: int) -> None:
        """Read the prompt for the beams after the first too."""
        import torch

        repeated = {port.name: np.repeat(prompt[port.name], more, 0) for port in self._component.inputs}
        ports = len(self._component.outputs)
        others = self._engine.call(self._component, repeated, [])[ports : ports + self._tensors]
        self._past = [torch.cat(pair) for pair in zip(self._past, others, strict=True)]


def _brought(path: Path, component: Component, threads: int | None) -> torch.nn.Module:
    """Return the ONNX file at `path` as a network, its inputs and outputs told by position as export tells them."""
    import torch

    from ovconvert.baselines.onnxruntime import open_session

    session = open_session(path, threads)
    names = [value.name for value in session.get_inputs()]

    class Brought(torch.nn.Module):
        def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = session.run(None, dict(zip(names, (value.numpy() for value in given), strict=True)))
            shapes = ([-1 if isinstance(size, str) else size for size in port.shape] for port in component.outputs)
            told = zip(found, shapes, component.outputs, strict=False)
            return tuple(torch.from_numpy(value.reshape(shape).astype(port.dtype)) for value, shape, port in told)

    return Brought()


def _opened(source: Path | None, script: str, manifest: package.Manifest) -> families.Checkpoint:
    """Return the checkpoint at `source`, split as the package is. Raises UsageError if it is of other sizes."""
    wanted = {packed.component.name: packed.component for packed in manifest.components}
    whole = any(component.role == "step" and component.cache is None for component in wanted.values())
    if script:
        checkpoint: families.Checkpoint = open_script(script, source)
    else:
        assert source is not None  # what makes a subject asks for one of both
        checkpoint = families.open_checkpoint(source, manifest.family, split=not whole, strict=False)
    have = {component.name: component for component in checkpoint.family.components}
    problems = [f"{name}: not in the checkpoint" for name in wanted if name not in have]
    problems += [
        f"{name}: other ports or another cache"
        for name, component in wanted.items()
        if name in have and _border(have[name]) != _border(component)
    ]
    if problems:
        raise UsageError(
            listing(
                f"the checkpoint {script or source} is not the one that the package was made from; give that one:", problems
            )
        )
    return checkpoint


def _border(component: Component) -> tuple[object, ...]:
    return component.inputs, component.outputs, component.cache
