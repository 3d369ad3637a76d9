"""The layers of a graph: operations with weights, called as in PyTorch, and the precision in which their weights lie."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ovconvert.package import LayerPrecision

if TYPE_CHECKING:
    import openvino as ov

# Operation: its inputs that may be weights.
READERS: Mapping[str, tuple[int, ...]] = {
    "MatMul": (1, 0),
    "Gather": (0,),
    "Convolution": (1,),
    "GroupConvolution": (1,),
    "ConvolutionBackpropData": (1,),
    "GroupConvolutionBackpropData": (1,),
}
SHAPING = ("Convert", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "FakeQuantize")
# They only move values, so that quantized ones stay quantized on the way to a layer.
MOVING = ("Transpose", "Reshape", "Unsqueeze", "Squeeze", "Gather", "Slice", "StridedSlice", "Broadcast", "Pad")
BITS = {"f32": 32, "f16": 16, "bf16": 16, "i8": 8, "u8": 8, "i4": 4, "u4": 4}
# What an exporter appends to a module's path: the operations that the module was traced into.
TAIL = re.compile(r"(/(MatMul|Gemm|Conv|ConvTranspose|Gather|WithoutBiases)(_\d+)?)+$")
PARAMETER = re.compile(r"\.weight$")
ANONYMOUS = re.compile(r"(Constant|[A-Za-z]+)[_:]\d+")
LAYERS = ("ovconvert", "layers")  # where an IR's rt_info lists its layers


@dataclass(frozen=True)
class Layer:
    """One weight and the operations that read it.

    `name` is the path of the PyTorch module where the graph tells it (`gpt.h.0.mlp.c_fc`), else of its operation; it is
    the same in every precision of one export. `per_scale` counts the values that share a scale if there is one per channel.
    A `fixed` layer reads constants alone, such as learned queries: its result is made when the graph is compiled.
    """

    name: str
    operations: tuple[str, ...]
    kind: str
    per_scale: int
    fixed: bool
    precision: LayerPrecision


def find_layers(model: ov.Model) -> tuple[Layer, ...]:
    """Return the layers of `model` in the order of the graph. A weight that several operations read is one layer."""
    found: dict[str, Layer] = {}
    live: set[str] = set()  # what depends on the values of an input or a state, not on its shape alone
    for node in model.get_ordered_ops():
        sources = {node.input_value(number).get_node().get_name() for number in range(node.get_input_size())}
        if node.get_type_name() != "ShapeOf" and (node.get_type_name() in ("Parameter", "ReadValue") or sources & live):
            live.add(node.get_name())
        place = weight_place(node)
        if place is None:
            continue
        weight = _weight(node.input_value(place).get_node())
        assert weight is not None  # that is what the place was chosen for
        key = weight.constant.get_name()
        if key in found:
            found[key] = replace(found[key], operations=(*found[key].operations, node.get_friendly_name()))
            continue
        shape = tuple(node.input_value(place).get_partial_shape().to_shape())
        found[key] = Layer(
            _name(node, weight.constant),
            (node.get_friendly_name(),),
            node.get_type_name(),
            math.prod(shape) // max(1, _channels(node, place, shape)),
            node.get_name() not in live and node.output(0).get_partial_shape().is_static,
            _precision(weight, shape, node.input_value(1 - place).get_node()),
        )
    return tuple(_unique(found.values()))


def weight_place(node: Any) -> int | None:
    """Return which input of an operation is the weight of its layer, None if none is."""
    for place in READERS.get(node.get_type_name(), ()):
        weight = _weight(node.input_value(place).get_node())
        if weight is not None and weight.constant.get_element_type().get_type_name() in BITS:
            return place
    return None


def weight_names(model: ov.Model) -> frozenset[str]:
    """Return the names of the constants that are weights of layers."""
    found = set()
    for node in model.get_ordered_ops():
        for place in READERS.get(node.get_type_name(), ()):
            weight = _weight(node.input_value(place).get_node())
            if weight is not None:
                found.add(weight.constant.get_friendly_name())
                break
    return frozenset(found)


def note_layers(model: ov.Model, layers: Iterable[Layer]) -> None:
    """Write into the rt_info of `model` what every layer got."""
    model.set_rt_info(json.dumps({layer.name: layer.precision.words() for layer in layers}), list(LAYERS))


def noted_layers(model: ov.Model) -> dict[str, str]:
    """Return what the rt_info of `model` says about its layers; nothing where it says nothing."""
    if not model.has_rt_info(list(LAYERS)):
        return {}
    said: dict[str, str] = json.loads(model.get_rt_info(list(LAYERS)).astype(str))
    return said


@dataclass(frozen=True)
class _Weight:
    constant: Any
    scale: Any = None
    zero_point: Any = None


def _weight(node: Any) -> _Weight | None:
    """Return the constant that a weight comes from, with its scale and zero point; None if it is computed from inputs."""
    kind = node.get_type_name()
    if kind == "Constant":
        return _Weight(node)
    if kind in SHAPING:
        return _weight(node.input_value(0).get_node())
    if kind not in ("Multiply", "Subtract"):
        return None
    inner, other = (_weight(node.input_value(number).get_node()) for number in (0, 1))
    if inner is None or other is None:
        return None
    if kind == "Multiply":
        return _Weight(inner.constant, other.constant, inner.zero_point)
    return _Weight(inner.constant, inner.scale, other.constant)


def _precision(weight: _Weight, shape: tuple[int, ...], activation: Any) -> LayerPrecision:
    constant = weight.constant
    kind = constant.get_element_type().get_type_name()
    values = math.prod(constant.get_output_shape(0))
    if kind.startswith(("f", "bf")):
        return LayerPrecision(kind, BITS[kind], values)
    while activation.get_type_name() in MOVING:
        activation = activation.input_value(0).get_node()
    activations = "int8" if activation.get_type_name() == "FakeQuantize" else "fp32"
    stored, scales = tuple(constant.get_output_shape(0)), math.prod(weight.scale.get_output_shape(0)) if weight.scale else 1
    group = values // scales if len(stored) > len(shape) else -1
    return LayerPrecision(kind, BITS[kind], values, group, weight.zero_point is None, activations)


def _channels(node: Any, place: int, shape: tuple[int, ...]) -> int:
    """Return how many scales a weight has with one per output channel: of a table, one per row."""
    kind = node.get_type_name()
    if kind == "MatMul":
        last = node.get_attributes()["transpose_b" if place else "transpose_a"] == bool(place)
        return math.prod(shape[:-2]) * (shape[-2] if last else shape[-1]) if len(shape) > 1 else 1
    if kind == "ConvolutionBackpropData":
        return shape[1]
    if kind == "GroupConvolution":
        return shape[0] * shape[1]
    return shape[0] * shape[2] if kind == "GroupConvolutionBackpropData" else shape[0]


def _name(node: Any, constant: Any) -> str:
    """Return the path of the module: from the weight's name, else from the operation's."""
    weight = constant.get_friendly_name().removesuffix("_compressed")
    if not ANONYMOUS.fullmatch(weight) and not weight.startswith("/"):
        return PARAMETER.sub("", weight)
    operation = node.get_friendly_name()
    return TAIL.sub("", operation).strip("/").replace("/", ".") or operation.strip("/")


def _unique(layers: Iterable[Layer]) -> Iterable[Layer]:
    seen: dict[str, int] = {}
    for layer in layers:
        number = seen[layer.name] = seen.get(layer.name, 0) + 1
        yield layer if number == 1 else replace(layer, name=f"{layer.name}#{number}")
