"""Feed-forwards of a graph, found by their shape, not by names.

A feed-forward is a MatMul into units, an activation, and a MatMul out of them, to as many values as came in: the branch of a
residual. Gates, which multiply one set of units with another, belong to it; so do gates cut from one wide MatMul.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ovconvert.graphs.blocks import Block, Cut, Found, data_shape, last_axis, trace, weight_axis
from ovconvert.graphs.layers import find_layers

if TYPE_CHECKING:
    import openvino as ov

ACTIVATIONS = ("Gelu", "Swish", "Relu", "Sigmoid", "Tanh", "Mish", "HSwish", "Elu", "SoftPlus")


def find_feed_forwards(model: ov.Model) -> tuple[Block, ...]:
    """Return the feed-forwards of `model` in the order of the graph. One whose weights are read twice is none."""
    names = {layer.operations[0]: layer.name for layer in find_layers(model) if len(layer.operations) == 1}
    ends = [
        node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul" and node.get_friendly_name() in names
    ]
    return tuple(block for block in (_ending_in(node, names) for node in ends) if block)


def _ending_in(outgoing: Any, names: Mapping[str, str]) -> Block | None:
    """Return the feed-forward that ends in a MatMul; None if what is multiplied there are no units of one."""
    axis = weight_axis(outgoing, incoming=False)
    if axis is None:
        return None
    units = data_shape(outgoing, 1)[axis]
    found = Found({outgoing.get_name(): outgoing}, [Cut(outgoing, 1, axis)])
    if not trace(outgoing.input_value(0), units, names, found, size=1, through=ACTIVATIONS):
        return None
    activated = any(node.get_type_name() in ACTIVATIONS for node in found.nodes.values())
    made = (cut.node for cut in found.cuts[1:] if cut.node.get_type_name() == "MatMul")
    returns = all(last_axis(node.input_value(0)) == last_axis(outgoing.output(0)) for node in made)
    if not (activated and returns and found.alone()):
        return None
    return Block(names[outgoing.get_friendly_name()], units, 1, outgoing, tuple(found.cuts), tuple(found.parts))
