"""ONNX files that a checkpoint brings along, as components: under the names, dtypes and shapes of their ports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ovconvert.errors import ConversionError, listing
from ovconvert.spec import Port

if TYPE_CHECKING:
    import onnx

# Before every name of the file, so that none is a port's. Where a tensor comes to have two names, OpenVINO gives the first
# in the order of the alphabet: this is behind every port's.
INSIDE = "~"


def adopt(model: onnx.ModelProto, inputs: Sequence[Port], outputs: Sequence[Port]) -> onnx.ModelProto:
    """Return `model` with `inputs` and `outputs` in place of its own, in their order.

    What such files call their inputs changes from one to the next, so they are told by position. An input must have its
    port's dtype and fit its shape; the outputs are brought to theirs, further outputs are left out. Raises ConversionError
    with all that does not fit.
    """
    from onnx import helper, numpy_helper
    from onnx.compose import add_prefix

    if problems := _misfits(model, inputs, outputs):
        raise ConversionError(listing("the ONNX file is not the network that is expected there:", problems))
    model = add_prefix(model, INSIDE)
    graph = model.graph
    for port, own in zip(inputs, _own_inputs(model), strict=True):
        graph.input.remove(own)
        graph.input.append(_value(port))
        graph.node.insert(0, helper.make_node("Identity", [port.name], [own.name]))
    found = [own.name for own in graph.output]
    del graph.output[:]
    for port, own_name in zip(outputs, found, strict=False):
        shape = np.array([-1 if isinstance(size, str) else size for size in port.shape], np.int64)
        graph.initializer.append(numpy_helper.from_array(shape, f"{port.name}/shape"))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
        graph.node.append(helper.make_node("Reshape", [own_name, f"{port.name}/shape"], [f"{port.name}/shaped"]))
        graph.node.append(helper.make_node("Cast", [f"{port.name}/shaped"], [port.name], to=kind))
        graph.output.append(_value(port))
    return model


def _own_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs of a graph that are no weights: older files list those among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _value(port: Port) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(port.name, helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype)), list(port.shape))


def _misfits(model: onnx.ModelProto, inputs: Sequence[Port], outputs: Sequence[Port]) -> list[str]:
    """Return what of a model does not fit the ports."""
    from onnx import helper

    own = _own_inputs(model)
    problems = []
    if len(own) != len(inputs):
        wanted, names = ", ".join(port.name for port in inputs), ", ".join(value.name for value in own)
        problems.append(f"it has {len(own)} inputs ({names}); expected {len(inputs)}: {wanted}")
    if len(model.graph.output) < len(outputs):
        problems.append(f"it has {len(model.graph.output)} outputs; expected at least {len(outputs)}")
    for port, value in zip(inputs, own, strict=False):
        tensor = value.type.tensor_type
        sizes = [dim.dim_value or None for dim in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        fits = len(sizes) == len(port.shape) and all(
            size is None or size == expected for size, expected in zip(sizes, port.shape, strict=True)
        )
        if dtype != port.dtype or not fits:
            shown = f"{dtype} {['?' if size is None else size for size in sizes]}"
            problems.append(f"its input {value.name} is {shown}; expected {port.dtype} {list(port.shape)}")
    return problems
