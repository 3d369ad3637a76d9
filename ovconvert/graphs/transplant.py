"""Weights of layers as numbers, and a graph with the weights of some layers replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.graphs.layers import find_layers, weight_place

if TYPE_CHECKING:
    import openvino as ov

Weights = Mapping[str, Sequence[np.ndarray]]
"""By layer the values that its operations read, one array per operation, float32."""


def read_weights(model: ov.Model) -> dict[str, tuple[np.ndarray, ...]]:
    """Return the weights of all layers of `model` as its operations read them: integers are scaled."""
    import openvino as ov
    from openvino import opset13 as ops

    copy = model.clone()  # which has to outlive its places
    places = _places(copy)
    read = [place.get_source_output() for found in places.values() for place in found]
    if not read:
        return {}
    asked = ov.Model([ops.convert(output, "f32").output(0) for output in read], [], "weights")
    request = ov.Core().compile_model(asked, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    request.infer()
    values = iter([np.array(request.get_output_tensor(number).data) for number in range(len(read))])
    return {name: tuple(next(values) for _ in found) for name, found in places.items()}


def transplant(model: ov.Model, weights: Weights) -> ov.Model:
    """Return a copy of `model` whose layers named in `weights` have these instead of their own.

    Raises KeyError for a layer that the model lacks, ValueError for weights of another shape.
    """
    from openvino import opset13 as ops

    copy = model.clone()
    places = _places(copy)
    for name, values in weights.items():
        for place, value in zip(places[name], values, strict=True):
            shape = tuple(place.get_shape())
            if shape != value.shape:
                raise ValueError(f"layer {name}: weights of shape {value.shape}, the model reads {shape}")
            constant = ops.constant(value.astype(place.get_element_type().to_dtype()))
            place.replace_source_output(constant.output(0))
    copy.validate_nodes_and_infer_types()
    return copy


def _places(model: ov.Model) -> dict[str, list[Any]]:
    """Return by layer the inputs of its operations where the weight comes in."""
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    found: dict[str, list[Any]] = {}
    for layer in find_layers(model):
        for operation in layer.operations:
            place = weight_place(nodes[operation])
            assert place is not None, operation  # find_layers found one
            found.setdefault(layer.name, []).append(nodes[operation].input(place))
    return found
