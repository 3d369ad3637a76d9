"""Counts the work of a component from its OpenVINO graph: multiply-adds, and the bytes that must be moved.

Counted, at concrete sizes:

- operations: MatMul, convolutions (plain, grouped, transposed), ScaledDotProductAttention and Einsum of two operands, a
  multiply-add as two. Padding counts like data; so do the pairs that a mask tensor hides from attention, while those
  that its causal flag hides do not;
- weights: every constant once, in the bytes that it is stored in, however many operations read it; of a table that is
  gathered or sliced from, the values that are picked;
- activations: the inputs and outputs of the graph, without its cache;
- cache: the past read once, the new positions written once, keys and values of a cross attention read once.

Not counted: element-wise operations, normalisations, softmax, Fourier transforms; tensors between operations, which a
processor may keep in its caches; the copy of the past that a step with explicit cache makes; what follows from
constants alone, which is done at compilation; weights that the engine holds wider than the file does. The distance
between a measured time and the limit contains all of these.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovconvert.errors import UsageError
from ovconvert.golden import NEW, PAST, TOTAL
from ovconvert.package import PackedComponent
from ovconvert.spec import CacheSpec, Component, Port

if TYPE_CHECKING:
    import openvino as ov

PICKERS = ("Gather", "Slice", "StridedSlice")  # of their first input they read only what they return
MOVING = ("ReadValue", "RandomUniform", "Multinomial", "Result")  # not known before the call, whatever their inputs are
OPAQUE = (
    *("LSTMCell", "LSTMSequence", "GRUCell", "GRUSequence", "RNNCell", "RNNSequence", "Loop", "TensorIterator", "If"),
    *("DeformableConvolution", "BinaryConvolution", "PagedAttentionExtension"),
)  # they hold multiply-adds that are not counted here
CACHE_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "u8": 1, "i8": 1}  # of a value, by KV_CACHE_PRECISION


@dataclass(frozen=True)
class Work:
    """What one call must do: operations, and bytes by kind. `uncounted` names operations whose multiply-adds are missing."""

    flops: int
    weight_bytes: int
    activation_bytes: int
    cache_bytes: int
    uncounted: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Return all bytes."""
        return self.weight_bytes + self.activation_bytes + self.cache_bytes

    @property
    def intensity(self) -> float:
        """Return the operations per byte."""
        return self.flops / self.bytes


def count_component(directory: Path, packed: PackedComponent, sizes: Mapping[str, int]) -> Work:
    """Return the work of one call of a component of the package at `directory`, its dynamic axes being `sizes`.

    A step with cache is counted in its explicit form, whose sizes show at its ports, with cached values as wide as the
    stateful form, where there is one, keeps them. Its `total_sequence_length` may be left out. Keys and values of a cross
    attention are read as the cache is; that a first call makes them is not counted.

    Raises UsageError for a missing size, one that the graph refuses, and a step that has no form to count.
    """
    component = packed.component
    form = next((form for form in ("plain", "with_past", "full_sequence") if form in packed.graphs), None)
    if form is None:
        raise UsageError(f"component {component.name!r} has no form that can be counted; have: {', '.join(packed.graphs)}")
    cache = component.cache if form == "with_past" else None
    total = {TOTAL: sizes.get(PAST, 0) + sizes[NEW]} if NEW in sizes else {}
    ports = _explicit(component, cache) if cache else component.inputs
    try:
        shapes = {port.name: port.sized({**total, **sizes}) for port in ports}
    except KeyError as error:
        have = ", ".join(f"{name}={size}" for name, size in sizes.items()) or "none"
        raise UsageError(f"component {component.name!r} needs a size of its axis {error}; given: {have}") from error
    graph = packed.graphs[form]
    wide = packed.runtime_options.get("KV_CACHE_PRECISION", "") if "stateful" in packed.graphs else ""
    return count(
        directory / graph.xml, shapes, weights=directory / graph.bin, cache=cache, cached_value_bytes=CACHE_BYTES.get(wide)
    )


def _explicit(component: Component, cache: CacheSpec) -> list[Port]:
    """Return the inputs of the explicit step: what the cross attention looks at comes in as keys and values."""
    given = [port for port in component.all_inputs() if port.name != cache.cross]
    made = zip(cache.cross_names(), cache.cross_outputs(), strict=True)
    return given + [dataclasses.replace(port, name=past) for (past, _), port in made]


def count(
    xml: Path,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    weights: Path | None = None,
    cache: CacheSpec | None = None,
    cached_value_bytes: int | None = None,
) -> Work:
    """Return the work of one call of the IR at `xml`, its inputs having `shapes` by name.

    `weights` is the .bin that it reads, where that is not beside it. `cache` tells which ports are one; its values count
    `cached_value_bytes`, as many as at the port if None.

    Raises UsageError if the graph cannot have the shapes, if a size remains open, or if it keeps its cache as state.
    """
    import openvino as ov

    model = ov.Core().read_model(xml, weights or xml.with_suffix(".bin"))
    if model.get_variables():
        raise UsageError(f"{xml} keeps its cache as state, whose length no port shows; count its form with explicit cache")
    try:
        model.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
    except RuntimeError as error:
        raise UsageError(f"{xml} cannot have the shapes {_listed(shapes)}: {error}") from error
    for port in (*model.inputs, *model.outputs):
        if port.get_partial_shape().is_dynamic:
            raise UsageError(
                f"{xml}: {port.get_any_name()} is still {port.get_partial_shape()} with the shapes {_listed(shapes)}; "
                "give one to every input"
            )
    crossed = {past for past, _ in cache.cross_names()} if cache else set()
    return _count(model, dict(cache.names()) if cache else {}, crossed, cached_value_bytes)


def _count(model: ov.Model, cache: Mapping[str, str], crossed: set[str], cached_value_bytes: int | None) -> Work:
    fixed = _fixed(model)
    nodes = [node for node in model.get_ordered_ops() if node.get_name() not in fixed]
    pasts = [port for port in model.inputs if port.get_names() & cache.keys()]
    presents = [port for port in model.outputs if port.get_names() & set(cache.values())]
    looked_at = [port for port in model.inputs if port.get_names() & crossed]
    kept_names = {*cache, *cache.values(), *crossed}
    borders = [port for port in (*model.inputs, *model.outputs) if not port.get_names() & kept_names]
    read, kept, seen = (sum(_bytes(port, cached_value_bytes) for port in ports) for ports in (pasts, presents, looked_at))
    return Work(
        flops=sum(FLOPS[node.get_type_name()](node) for node in nodes if node.get_type_name() in FLOPS),
        weight_bytes=_weight_bytes(model, fixed),
        activation_bytes=sum(_bytes(port) for port in borders),
        cache_bytes=seen + read + max(0, kept - read),  # of the present, the past lies there already
        uncounted=tuple(sorted({node.get_type_name() for node in nodes if _opaque(node)})),
    )


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items()) or "of the file"


def _product(sizes: Iterable[int]) -> int:
    return int(math.prod(sizes))


def _bytes(port: Any, value_bytes: int | None = None) -> int:
    """Return the bytes of a tensor at the border; `value_bytes` instead of the width of its type, if given."""
    return _product(port.get_shape()) * (value_bytes or int(port.get_element_type().size))


def _fixed(model: ov.Model) -> set[str]:
    """Return the operations whose results follow from constants and sizes alone."""
    fixed: set[str] = set()
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        sources = [node.input_value(number).get_node().get_name() for number in range(node.get_input_size())]
        known = bool(sources) and fixed.issuperset(sources)
        if kind in ("Constant", "ShapeOf") or (known and kind not in MOVING):
            fixed.add(node.get_name())
    return fixed


def _weight_bytes(model: ov.Model, fixed: set[str]) -> int:
    """Return the stored bytes that a call reads of the constants. Constants at one place of the file are one."""
    parts: dict[tuple[int, int], float] = {}
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_byte_size():
            place = (node.data.ctypes.data, node.get_byte_size())
            parts[place] = min(1.0, parts.get(place, 0.0) + _part_read(node, fixed))
    return round(sum(size * part for (_, size), part in parts.items()))


def _part_read(node: Any, fixed: set[str]) -> float:
    """Return which part of the results of a fixed operation is read in a call, 0 to 1."""
    values = [_product(output.get_shape()) for output in node.outputs()]
    read = 0.0
    for output, size in zip(node.outputs(), values, strict=True):
        part = 0.0
        for reader in output.get_target_inputs():
            user = reader.get_node()
            if user.get_type_name() == "ShapeOf":
                continue
            picked = user.get_type_name() in PICKERS and reader.get_index() == 0
            share = _product(user.get_output_shape(0)) / size if picked else 1.0
            part += share * (_part_read(user, fixed) if user.get_name() in fixed else 1.0)
        read += size * min(1.0, part)
    return read / sum(values) if sum(values) else 0.0


def _matmul(node: Any) -> int:
    left = node.input(0).get_shape()
    inner = left[-2] if node.get_attributes()["transpose_a"] and len(left) > 1 else left[-1]
    return 2 * _product((*node.get_output_shape(0), inner))


def _convolution(node: Any) -> int:
    return 2 * _product(node.get_output_shape(0)) * _product(node.input(1).get_shape()[1:])  # (out, in, kernel)


def _group_convolution(node: Any) -> int:
    return 2 * _product(node.get_output_shape(0)) * _product(node.input(1).get_shape()[2:])  # (group, out, in, kernel)


def _transposed_convolution(node: Any) -> int:
    return 2 * _product(node.input(0).get_shape()) * _product(node.input(1).get_shape()[1:])  # (in, out, kernel)


def _transposed_group_convolution(node: Any) -> int:
    return 2 * _product(node.input(0).get_shape()) * _product(node.input(1).get_shape()[2:])  # (group, in, out, kernel)


def _attention(node: Any) -> int:
    query, key, value = (node.input(number).get_shape() for number in range(3))
    rows, keys = query[-2], key[-2]
    pairs = sum(min(row, keys) for row in range(1, rows + 1)) if node.get_attributes()["causal"] else rows * keys
    return 2 * _product((*node.get_output_shape(0)[:-2], pairs, query[-1] + value[-1]))


def _einsum(node: Any) -> int:
    if _opaque(node):
        return 0
    operands = node.get_attributes()["equation"].replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for number, labels in enumerate(operands):
        sizes |= dict(zip(labels, node.input(number).get_shape(), strict=True))
    return 2 * _product(sizes.values()) if len(operands) == 2 else 0


def _opaque(node: Any) -> bool:
    """Tell whether a node holds multiply-adds that are not counted."""
    if node.get_type_name() == "Einsum":
        equation = node.get_attributes()["equation"]
        return "..." in equation or equation.count(",") > 1
    return node.get_type_name() in OPAQUE


FLOPS: dict[str, Callable[[Any], int]] = {
    "MatMul": _matmul,
    "Convolution": _convolution,
    "GroupConvolution": _group_convolution,
    "ConvolutionBackpropData": _transposed_convolution,
    "GroupConvolutionBackpropData": _transposed_group_convolution,
    "ScaledDotProductAttention": _attention,
    "Einsum": _einsum,
}
