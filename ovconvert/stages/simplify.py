"""Simplify an ONNX graph with onnxsim, keeping the original where that does not help or changes results."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import ConversionError, ParityError, UsageError
from ovconvert.graphs.weights import attach, detach
from ovconvert.options import Progress, option, silent
from ovconvert.package import write_fault

if TYPE_CHECKING:
    import onnx

# What onnxsim may leave out. The first set is all of it; the second spares MatMul + Add, which it turns into a Gemm
# between two reshapes when the input has more than two axes.
SKIPPED = ((), ("fuse_matmul_add_bias_into_gemm",))
TOLERANCE = 1e-5  # relative; folding may change the order of float32 operations, nothing else


@dataclass(frozen=True)
class Options:
    """How to simplify."""

    input_shape: tuple[str, ...] = option((), "Sizes for the comparison, as NAME:1x80x40; dynamic axes are 5 otherwise.")
    check: bool = option(True, "Compare the outputs before and after on random inputs.")
    force: bool = option(False, "Replace DEST if it exists.")


@dataclass(frozen=True)
class Simplified:
    """What simplification did to a graph."""

    model: onnx.ModelProto
    nodes_before: int
    nodes_after: int
    skipped: tuple[str, ...] | None  # the optimisers left out; None: the graph was kept as it was


def requires(source: Path, options: Options) -> list[str]:
    """Return what is wrong with `source`."""
    if not source.is_file():
        return [f"{source} is not a file; give an ONNX file"]
    return []


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the simplified form of the ONNX file `source` to `dest`, large weights beside it in `<dest>_data`.

    Raises UsageError if `dest` exists, ConversionError if `source` is no ONNX, ParityError if the outputs change.
    """
    if dest.exists() and not options.force:
        raise UsageError(f"destination {dest} exists; name another, or replace it with --force")
    progress("read", 0, 4)
    model = read_onnx(source)
    weights = detach(model, source.parent)
    progress("simplify", 1, 4)
    simplified = simplify(model)
    progress("write", 2, 4)
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{dest.name}.partial", dir=dest.parent) as partial:
            attach(simplified.model, weights, Path(partial) / dest.name)
            progress("compare", 3, 4)
            if options.check:
                compare(source, Path(partial) / dest.name, input_shapes(options.input_shape))
            for path in sorted(Path(partial).iterdir(), reverse=True):  # the weights first, the graph that reads them last
                path.replace(dest.with_name(path.name))
    except OSError as error:
        raise write_fault(dest, error) from error
    progress(f"{simplified.nodes_before} nodes -> {simplified.nodes_after}", 4, 4)
    return dest


def simplify(model: onnx.ModelProto) -> Simplified:
    """Return the smallest of the forms that onnxsim makes of `model` and the model itself, counted in nodes."""
    import onnxsim

    best = Simplified(model, len(model.graph.node), len(model.graph.node), None)
    gemms = _gemms(model)
    for skipped in SKIPPED:
        try:
            # our comparison runs on the whole model with its weights; onnxsim's would invent values for them
            candidate, _ = onnxsim.simplify(model, check_n=0, skipped_optimizers=list(skipped) or None)
        except RuntimeError as error:
            raise ConversionError(f"onnxsim cannot simplify the graph: {error}") from error
        del candidate.metadata_props[:]  # onnxsim's log of every node it touched
        nodes = len(candidate.graph.node)
        if nodes < best.nodes_after:
            best = Simplified(candidate, best.nodes_before, nodes, skipped)
        if _gemms(candidate) == gemms:
            break  # the optimiser that the next set leaves out did nothing
    return best


def _gemms(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Gemm" for node in model.graph.node)


def compare(before: Path, after: Path, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Run both ONNX files on the same random inputs; return the largest relative error.

    Raises ParityError above the tolerance, UsageError if the graph does not accept inputs of the sizes tried.
    """
    import openvino as ov

    core = ov.Core()
    rng = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {}
    results = []
    for path in (before, after):
        try:
            compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError as error:
            raise ConversionError(
                f"OpenVINO cannot run {before}, so nothing can be compared; --no-check skips it: {error}"
            ) from error
        strange = set(shapes) - {port.get_any_name() for port in compiled.inputs}
        if strange:
            raise UsageError(f"--input-shape names {', '.join(sorted(strange))}, which the graph does not have as input")
        for port in compiled.inputs:
            name = port.get_any_name()
            if name not in inputs:
                inputs[name] = _random(port, shapes.get(name), rng)
        try:
            results.append(compiled(inputs))
        except RuntimeError as error:
            sizes = ", ".join(f"{name}:{'x'.join(map(str, value.shape))}" for name, value in inputs.items())
            raise UsageError(
                f"{path.name} does not run at the sizes {sizes}; give sizes that fit together with --input-shape, or skip "
                f"the comparison with --no-check ({error})"
            ) from error
    errors = {}
    for port in results[0]:
        name = port.get_any_name()
        expected, found = results[0][port], results[1][name]
        errors[name] = float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1e-30)
    worst = max(errors, key=lambda name: errors[name])
    if not errors[worst] <= TOLERANCE:
        raise ParityError(
            f"simplification changed output {worst!r}: relative error {errors[worst]:.1e}, allowed {TOLERANCE:.0e}; "
            "nothing was written"
        )
    return errors[worst]


def read_onnx(path: Path) -> onnx.ModelProto:
    """Return the ONNX graph at `path`, external data not loaded. Raises ConversionError if it is none."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ConversionError(f"{path} is not an ONNX file, or is truncated: {error}") from error
    beside = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    missing = sorted(name for name in beside if not (path.parent / name).is_file())
    if missing:
        raise ConversionError(f"{path} keeps its weights in {', '.join(missing)}, which is missing beside it")
    if not model.graph.node:
        raise ConversionError(f"{path} is not an ONNX file with a graph in it")
    return model


def input_shapes(given: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Read NAME:1x80x40 items. Raises UsageError for one that is not of that form."""
    shapes = {}
    for item in given:
        name, separator, sizes = item.rpartition(":")
        if not separator or not all(size.isdigit() for size in sizes.split("x")):
            raise UsageError(f"--input-shape {item!r} is not understood; allowed: NAME:1x80x40")
        shapes[name] = tuple(int(size) for size in sizes.split("x"))
    return shapes


def _random(port: Any, shape: tuple[int, ...] | None, rng: np.random.Generator) -> np.ndarray:
    """Return random values for an input of a compiled model; integers are 0 or 1, valid as ids and as masks."""
    partial = port.get_partial_shape()
    shape = shape or tuple(axis.get_length() if axis.is_static else 5 for axis in partial)
    dtype = port.get_element_type().to_dtype()
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
