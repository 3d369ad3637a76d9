"""Runs the graphs of a package on OpenVINO: compiled when first used, timed, and released on demand."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert import memory, package
from ovconvert.errors import EnvironmentFault, IntegrityError, UsageError
from ovconvert.spec import Component

if TYPE_CHECKING:
    import openvino as ov

ONE_STREAM = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}


def named(component: Component, result: Mapping[ov.ConstOutput, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what a graph of `component` gave under the names of its outputs.

    Compiling gives a tensor a second name where one operation is moved behind another, and which of them is called the
    first depends on the alphabet.
    """
    declared = {port.name for port in component.all_outputs()}
    return {name: value for output, value in result.items() for name in declared.intersection(output.get_names())}


def require_denormals() -> None:
    """Raise EnvironmentFault if this thread, and those that it starts, take the smallest numbers for zero.

    OpenVINO's kernels for integers then give wrong shapes, without a word. A library that was linked with -ffast-math
    switches the processor over when it is loaded.
    """
    smallest = np.array([1], np.int32).view(np.float32)  # 2 ** -149
    if smallest[0] * np.float32(2.0) == 0.0:
        raise EnvironmentFault(
            "this process flushes denormal numbers to zero, and OpenVINO then computes wrongly; the cause is a library that "
            "was linked with -ffast-math, or torch.set_flush_denormal(True): run this in a process without it"
        )


class Engine:
    """The graphs of the package at `directory`, compiled for the CPU on `threads` threads (all, if None).

    `seconds` adds up the time spent per component, compilation not included; `compile_seconds` has that. Raises
    EnvironmentFault in a process in which OpenVINO would compute wrongly.
    """

    def __init__(self, directory: Path, *, threads: int | None = None, cache_dir: Path | None = None) -> None:
        import openvino as ov

        require_denormals()
        self.directory = directory
        self.manifest = package.load(directory)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.compile_seconds: defaultdict[str, float] = defaultdict(float)
        self._core = ov.Core()
        self._properties: dict[str, Any] = dict(ONE_STREAM)
        if threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = threads
        if cache_dir is not None:
            self._properties["CACHE_DIR"] = str(cache_dir)
        self._compiled: dict[tuple[str, str], ov.CompiledModel] = {}
        self._requests: dict[str, ov.InferRequest] = {}

    def compiled(self, name: str, form: str = "plain") -> ov.CompiledModel:
        """Return component `name` in `form`, compiled with the options that its manifest pins.

        The graph is checked against its hash; its weights, gigabytes of them, are left to `ovconvert verify`. Raises
        UsageError if the package has no such component or form, IntegrityError if its IR was changed or cannot be read.
        """
        key = (name, form)
        if key in self._compiled:
            return self._compiled[key]
        packed = self.manifest.packed(name)
        if form not in packed.graphs:
            raise UsageError(f"component {name!r} has no form {form!r}; have: {', '.join(packed.graphs)}")
        graph = packed.graphs[form]
        self._drop_files()
        start = time.perf_counter()
        self._require_unchanged(graph.xml)
        try:
            model = self._core.read_model(self.directory / graph.xml, self.directory / graph.bin)
        except RuntimeError as error:
            raise IntegrityError(
                f"{self.directory / graph.xml} cannot be read by OpenVINO; check it with 'ovconvert verify': {error}"
            ) from error
        self._compiled[key] = self._core.compile_model(model, "CPU", {**self._properties, **packed.runtime_options})
        self.compile_seconds[name] += time.perf_counter() - start
        return self._compiled[key]

    def _drop_files(self) -> None:
        """Take the weights' files of the graphs so far out of memory: their first run has packed them anew."""
        graphs = (self.manifest.packed(name).graphs[form] for name, form in self._compiled)
        memory.drop_mapped([self.directory / graph.bin for graph in graphs])

    def _require_unchanged(self, name: str) -> None:
        """Raise IntegrityError if a file is missing or not the one that the manifest names."""
        path = self.directory / name
        if not path.is_file() or package.sha256(path) != self.manifest.files.get(name):
            raise IntegrityError(f"{path} is missing or changed since the package was made; copy it again or export anew")

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run component `name` once on its named inputs; return its named outputs, which the caller owns."""
        if name not in self._requests:
            self._requests[name] = self.compiled(name).create_infer_request()
        start = time.perf_counter()
        result = self._requests[name].infer(inputs, share_inputs=True)
        self.seconds[name] += time.perf_counter() - start
        return named(self.manifest.packed(name).component, result)

    def release(self, *names: str) -> None:
        """Give back the memory of components; the next use compiles them again."""
        found = [key for key in self._compiled if key[0] in names]
        for key in found:
            del self._compiled[key]
        for name in names:
            self._requests.pop(name, None)
        if found:
            memory.give_back()
