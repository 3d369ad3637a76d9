"""The kept ONNX files of a package on ONNX Runtime, in float32 or with dynamic INT8, behind the runner's own loops."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ovconvert import package
from ovconvert.baselines.surface import Compiled, Output, require_form
from ovconvert.errors import EnvironmentFault, IntegrityError, UsageError
from ovconvert.spec import CacheSpec, Component

CPU = ["CPUExecutionProvider"]
ONNX = "onnx"  # directory of the package in which an export with --keep-onnx leaves the files
OPSET = 17
ORDER = "beam_idx"


class OnnxEngine:
    """Takes the place of the runtime's engine: the ONNX files of the package at `directory`, on `threads` threads or on all.

    With `int8` the weights of matrix products are quantized per channel and their inputs in every call; convolutions stay in
    float32, as ONNX Runtime advises. The weights have 7 bits: with 8 the 16-bit sums of AVX2 overflow. A step keeps its
    cache in ONNX Runtime's own memory and gathers it there. Threads stop spinning when a call ends, so that what is measured
    next has the machine to itself. `seconds` and `compile_seconds` count as the engine's do; quantization is in the latter.

    Raises UsageError if the package keeps no ONNX, EnvironmentFault if ONNX Runtime is not installed.
    """

    def __init__(self, directory: Path, *, threads: int | None = None, int8: bool = False) -> None:
        if find_spec("onnxruntime") is None:
            raise EnvironmentFault("onnxruntime is not installed; install it with: pip install 'ovconvert[dev]'")
        self.directory = directory
        self.manifest = package.load(directory)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.compile_seconds: defaultdict[str, float] = defaultdict(float)
        self._threads = threads
        self._int8 = int8
        self._sessions: dict[str, Any] = {}
        if not (directory / ONNX).is_dir():
            raise UsageError(f"{directory} keeps no ONNX files; make it anew by 'ovconvert export --keep-onnx'")

    def session(self, name: str) -> Any:
        """Return the session of component `name`, made when first used.

        The graph is checked against its hash, its weights are not. Raises UsageError if the package has no such component,
        IntegrityError if its ONNX file is missing or was changed.
        """
        if name not in self._sessions:
            self.manifest.packed(name)
            start = time.perf_counter()
            self._sessions[name] = self._open(f"{ONNX}/{name}_model.onnx")
            self.compile_seconds[name] += time.perf_counter() - start
        return self._sessions[name]

    def compiled(self, name: str, form: str = "plain") -> Compiled:
        """Return component `name` in `form`; the cache stays between the calls of a request if the form is stateful.

        Raises as `session` does, and UsageError if the package has no such form.
        """
        packed = self.manifest.packed(name)
        require_form(packed, form)
        session = self.session(name)
        cache = packed.component.cache
        if form == "stateful" and cache is not None:
            gather = open_session(_gather(cache).SerializeToString(), self._threads)
            return Compiled(partial(_Remembering, session, gather, packed.component, cache))
        return Compiled(partial(_Plain, session))

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run component `name` once on its named inputs; return its named outputs, which the caller owns."""
        request = self.compiled(name).create_infer_request()
        start = time.perf_counter()
        result = request.infer(inputs)
        self.seconds[name] += time.perf_counter() - start
        return {output.name: value for output, value in result.items()}

    def release(self, *names: str) -> None:
        """Give back the memory of components; the next use makes their sessions again."""
        for name in names:
            self._sessions.pop(name, None)

    def _open(self, file: str) -> Any:
        path = self.directory / file
        if not path.is_file() or package.sha256(path) != self.manifest.files.get(file):
            raise IntegrityError(f"{path} is missing or changed since the package was made; copy it again or export anew")
        if not self._int8:
            return open_session(path, self._threads)
        with TemporaryDirectory(prefix="ovconvert-int8-") as scratch:
            return open_session(_quantized(path, Path(scratch)), self._threads)


class _Plain:
    """A request without a state; the explicit cache goes in and out as arrays."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [Output(port.name) for port in session.get_outputs()]
        self._inputs = [port.name for port in session.get_inputs()]

    def reset_state(self) -> None:
        """Nothing was kept."""

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool = False) -> dict[Output, np.ndarray]:
        found = self._session.run(None, {name: np.ascontiguousarray(inputs[name]) for name in self._inputs})
        return dict(zip(self._outputs, found, strict=True))


class _Remembering:
    """A request whose cache never leaves ONNX Runtime: what came out as present is bound as past, gathered for beams."""

    def __init__(self, session: Any, gather: Any, component: Component, cache: CacheSpec) -> None:
        self._session, self._gather, self._cache = session, gather, cache
        self._inputs = [port.name for port in component.inputs]
        self._outputs = [Output(port.name) for port in component.outputs]
        self._names = list(cache.names())
        self._past: dict[str, Any] = {}

    def reset_state(self) -> None:
        """Forget what was read."""
        self._past = {}

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool = False) -> dict[Output, np.ndarray]:
        given = {name: np.ascontiguousarray(inputs[name]) for name in self._inputs}
        presents = [present for _, present in self._names]
        found = _bound(self._session, given, self._continued(inputs[ORDER]), [*(o.name for o in self._outputs), *presents])
        self._past = {past: found[present] for past, present in self._names}
        return {output: found[output.name].numpy() for output in self._outputs}

    def _continued(self, order: np.ndarray) -> dict[str, Any]:
        """Return the cache of the rows that `order` names; untouched where they stay in their places."""
        if not self._past:
            return _empty(self._cache, len(order))
        rows = next(iter(self._past.values())).shape()[0]
        if np.array_equal(order, np.arange(rows)):
            return self._past
        names = [past for past, _ in self._names]
        found = _bound(self._gather, {ORDER: order.astype(np.int64)}, self._past, [_gathered(name) for name in names])
        return {name: found[_gathered(name)] for name in names}


def open_session(model: Path | bytes, threads: int | None) -> Any:
    """Return a session on the CPU for a file or a serialized graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # threads that wait for more work take the cores from whatever is measured next
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=CPU)


def _bound(session: Any, arrays: dict[str, np.ndarray], values: dict[str, Any], outputs: list[str]) -> dict[str, Any]:
    """Run a session on arrays and on its own values, without a copy of either; return its outputs as its own values."""
    binding = session.io_binding()
    for name, array in arrays.items():
        binding.bind_cpu_input(name, array)
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    for name in outputs:
        binding.bind_output(name)
    session.run_with_iobinding(binding)
    return dict(zip(outputs, binding.get_outputs(), strict=True))


def _empty(cache: CacheSpec, rows: int) -> dict[str, Any]:
    from onnxruntime import OrtValue

    shape = (rows, cache.heads, 0, cache.head_dim)
    return {past: OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32)) for past, _ in cache.names()}


def _gathered(name: str) -> str:
    return f"{name}.gathered"


def _gather(cache: CacheSpec) -> Any:
    """Return the ONNX graph that takes rows of every past tensor: on ONNX Runtime's threads and in its memory."""
    import onnx
    from onnx import helper

    names = [past for past, _ in cache.names()]
    shape = ["batch", cache.heads, "length", cache.head_dim]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Gather", [name, ORDER], [_gathered(name)], axis=0) for name in names],
        "gather",
        [
            helper.make_tensor_value_info(ORDER, onnx.TensorProto.INT64, ["rows"]),
            *(helper.make_tensor_value_info(name, kind, shape) for name in names),
        ],
        [helper.make_tensor_value_info(_gathered(name), kind, ["rows", *shape[1:]]) for name in names],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def _quantized(path: Path, scratch: Path) -> Path:
    """Write the model at `path`, its matrix products quantized, into `scratch`; return the file."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    dest = scratch / path.name
    # read here, not by name: the quantizer would write its intermediate files beside the original, into the package
    model = onnx.load(path)
    with _quiet():
        quantize_dynamic(
            model,
            dest,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )
    return dest


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings off the root logger: the quantizer advises a simplification that export has done already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
