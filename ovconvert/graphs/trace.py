"""PyTorch module to ONNX graph without weights."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import ConversionError
from ovconvert.spec import Port

if TYPE_CHECKING:
    import onnx
    import torch

OPSET = 17  # the newest that every consumer of ours, onnxsim's folding included, reads without losses


def trace(
    module: torch.nn.Module, inputs: Sequence[Port], outputs: Sequence[Port], example: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """Return the ONNX graph of `module` as traced on `example`, its parameters being graph inputs named as in the module.

    The module takes `inputs` and returns `outputs`, both by position. Axes whose size is a string in a port stay dynamic.
    """
    import onnx
    import torch

    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), _plain_attention():
        # the TorchScript exporter announces its retirement and warns about every shape read while tracing; the golden
        # tensors at other sizes are the check that no size was frozen
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(torch.from_numpy(np.array(example[port.name])) for port in inputs),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[port.name for port in inputs],
            output_names=[port.name for port in outputs],
            dynamic_axes={port.name: port.dynamic_axes() for port in (*inputs, *outputs) if port.dynamic_axes()},
            export_params=False,
            keep_initializers_as_inputs=True,
            do_constant_folding=False,
        )
    return onnx.load_from_string(buffer.getvalue())


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Write attention as softmax(q*scale @ transpose(k) + mask) @ v while the block runs.

    The exporter's own form scales the key too, which puts an operation between the cache and the attention; the CPU plugin
    then fuses the attention but not the cache.
    """
    from torch.onnx import register_custom_op_symbolic, unregister_custom_op_symbolic

    name = "aten::scaled_dot_product_attention"
    register_custom_op_symbolic(name, _attention_symbolic, OPSET)
    try:
        yield
    finally:
        unregister_custom_op_symbolic(name, OPSET)


def _attention_symbolic(
    graph: Any,
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    dropout: Any = None,
    is_causal: Any = None,
    scale: Any = None,
    enable_gqa: Any = None,
) -> Any:
    """Return the ONNX nodes of one attention. Raises ConversionError for the flags that our networks do not use."""
    import torch
    from torch.onnx import symbolic_helper

    for flag, given in (("is_causal", is_causal), ("enable_gqa", enable_gqa)):
        if symbolic_helper._maybe_get_const(given, "b"):
            raise ConversionError(f"attention with {flag}=True cannot be exported; give a mask, or repeat the heads")
    factor = None if symbolic_helper._is_none(scale) else symbolic_helper._maybe_get_const(scale, "f")
    if factor is None:
        width = graph.op("Gather", graph.op("Shape", query), graph.op("Constant", value_t=torch.tensor(3)))
        root = graph.op("Sqrt", graph.op("Cast", width, to_i=1))  # 1 is ONNX's number of float32
        factor_node = graph.op("Div", graph.op("Constant", value_t=torch.tensor(1.0)), root)
    else:
        factor_node = graph.op("Constant", value_t=torch.tensor(float(factor)))
    keys = graph.op("Transpose", key, perm_i=[0, 1, 3, 2])
    scores = graph.op("MatMul", graph.op("Mul", query, factor_node), keys)
    if mask is not None and not symbolic_helper._is_none(mask):
        scores = graph.op("Add", scores, mask)
    return graph.op("MatMul", graph.op("Softmax", scores, axis_i=-1), value)
