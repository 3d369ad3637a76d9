"""Attention heads of a graph: found by walking from an attention back to what makes its queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ovconvert.graphs.blocks import (
    PAIRED,
    Block,
    Cut,
    Found,
    Shape,
    axis_size,
    constant_of,
    data_shape,
    last_axis,
    trace,
    weight_axis,
)
from ovconvert.graphs.layers import find_layers

if TYPE_CHECKING:
    import openvino as ov

ATTENTION = "ScaledDotProductAttention"
HEADS = 1  # the axis of the heads in what an attention reads and gives
MASK = 3  # its place among the inputs of an attention
MOVED = ("Gather", "Unsqueeze")  # operations on an axis behind that of the heads


def find_heads(model: ov.Model) -> tuple[Block, ...]:
    """Return the attentions of `model` whose heads can be removed, in the order of the graph; a head is a unit.

    Not so where heads share keys, or where the mask differs from head to head.
    """
    names = {layer.operations[0]: layer.name for layer in find_layers(model) if len(layer.operations) == 1}
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == ATTENTION]
    return tuple(block for block in (_around(node, names) for node in nodes) if block)


def _around(attention: Any, names: Mapping[str, str]) -> Block | None:
    """Return the heads of an attention, or None if something that cannot be cut depends on their number."""
    made = attention.output(0).get_partial_shape()
    heads, size = axis_size(made, HEADS), axis_size(made, -1)
    if heads < 2 or size < 0:
        return None
    if attention.get_input_size() > MASK and _per_head(attention.input_value(MASK)):
        return None
    merged = _merged(attention, heads, size)
    if merged is None:
        return None
    outgoing, shape = merged
    axis = weight_axis(outgoing, incoming=False)
    if outgoing.get_friendly_name() not in names or axis is None:
        return None
    found = Found(cuts=[Cut(outgoing, 1, axis, 1, size)], shapes=[shape])
    for node in (outgoing, shape.node, shape.node.input_value(0).get_node(), attention):
        found.nodes = {node.get_name(): node, **found.nodes}
    walked = all(_walk(attention.input_value(number), HEADS, heads, names, found) for number in range(MASK))
    if not (walked and found.alone()):
        return None
    name, inputs = names[outgoing.get_friendly_name()], tuple(found.inputs)
    return Block(name, heads, size, outgoing, tuple(found.cuts), tuple(found.parts), tuple(found.shapes), inputs)


def _per_head(mask: Any) -> bool:
    """Tell whether a mask may differ from head to head."""
    shape = mask.get_partial_shape()
    return shape.rank.is_dynamic or (shape.rank.get_length() > 2 and axis_size(shape, -3) != 1)


def _merged(attention: Any, heads: int, size: int) -> tuple[Any, Shape] | None:
    """Return the MatMul that reads all heads side by side, and the Reshape that puts them there."""
    node, chain = attention, []
    for kind in ("Transpose", "Reshape", "MatMul"):
        readers = node.output(0).get_target_inputs()
        if len(readers) != 1 or next(iter(readers)).get_node().get_type_name() != kind:
            return None
        node = next(iter(readers)).get_node()
        chain.append(node)
    transpose, reshape, outgoing = chain
    order = constant_of(transpose, 1)
    if order is None or order.get_data().tolist() != [0, 2, 1, 3] or last_axis(reshape.output(0)) != heads * size:
        return None
    if constant_of(reshape, 1) is None or outgoing.input_value(0).get_node().get_name() != reshape.get_name():
        return None
    return outgoing, Shape(reshape, reshape.output(0).get_partial_shape().rank.get_length() - 1, size)


def _walk(value: Any, axis: int, heads: int, names: Mapping[str, str], found: Found) -> bool:
    """Follow a tensor whose `axis` counts the heads back to what makes it; add it all to `found`.

    Tell whether every operation on the way was understood.
    """
    node, kind, shape = value.get_node(), value.get_node().get_type_name(), value.get_partial_shape()
    if shape.rank.is_dynamic or axis_size(shape, axis) != heads:
        return False
    if node.get_name() in found.nodes:
        return True
    found.nodes = {node.get_name(): node, **found.nodes}
    if kind == "Parameter":
        found.inputs.append((node, axis))
        return True
    if kind == "Transpose" and constant_of(node, 1) is not None:
        return _walk(node.input_value(0), int(constant_of(node, 1).get_data()[axis]), heads, names, found)
    if kind == "Concat":
        inputs = [node.input_value(number) for number in range(node.get_input_size())]
        joined = node.get_attributes()["axis"] % shape.rank.get_length()
        return joined != axis and all(_walk(one, axis, heads, names, found) for one in inputs)
    if kind in PAIRED:
        return all(_walk_operand(node, number, axis, heads, names, found) for number in (0, 1))
    if (kind in MOVED and _moved_axis(node) > axis) or (kind == "Slice" and _leaves(node, axis)):
        return _walk(node.input_value(0), axis, heads, names, found)
    if kind == "Reshape" and constant_of(node, 1) is not None:
        return _walk_reshape(node, axis, heads, names, found)
    return False


def _walk_operand(node: Any, number: int, axis: int, heads: int, names: Mapping[str, str], found: Found) -> bool:
    """Follow one side of a sum or product; a side that is the same for all heads is left alone."""
    value = node.input_value(number)
    shape = value.get_partial_shape()
    own = axis - (node.output(0).get_partial_shape().rank.get_length() - shape.rank.get_length())
    if own < 0 or axis_size(shape, own) == 1:
        return True
    if constant_of(node, number) is None:
        return _walk(value, own, heads, names, found)
    found.cuts.append(Cut(node, number, own))
    return data_shape(node, number)[own] == heads


def _walk_reshape(node: Any, axis: int, heads: int, names: Mapping[str, str], found: Found) -> bool:
    """Follow a Reshape that parts heads lying side by side, or one of axes behind that of the heads."""
    given, made = node.input_value(0).get_partial_shape(), node.output(0).get_partial_shape()
    found.shapes.append(Shape(node, axis, 1))
    rank, size = made.rank.get_length(), axis_size(made, -1)
    if given.rank.is_dynamic or size < 0:
        return False
    if axis == rank - 2 and given.rank.get_length() == rank - 1 and last_axis(node.input_value(0)) == heads * size:
        return trace(node.input_value(0), heads * size, names, found, size=size)
    same = given.rank.get_length() > axis and axis_size(given, axis) == heads
    return same and _walk(node.input_value(0), axis, heads, names, found)


def _moved_axis(node: Any) -> int:
    """Return the first axis that a Gather or an Unsqueeze touches, counted in its input; -1 where it is not constant."""
    axis = constant_of(node, node.get_input_size() - 1)
    if axis is None or axis.get_data().size != 1:
        return -1
    place, rank = int(axis.get_data().ravel()[0]), node.input_value(0).get_partial_shape().rank.get_length()
    return place % (rank if node.get_type_name() == "Gather" else rank + 1)


def _leaves(node: Any, axis: int) -> bool:
    """Tell whether a Slice is known to take all of an axis."""
    axes = constant_of(node, 4) if node.get_input_size() == 5 else None
    rank = node.output(0).get_partial_shape().rank.get_length()
    return axes is not None and axis not in [place % rank for place in axes.get_data().tolist()]
