"""A part of an ONNX graph: what makes some tensors from others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ovconvert.errors import ConversionError

if TYPE_CHECKING:
    import onnx


def extract(model: onnx.ModelProto, ends: Sequence[str], starts: Collection[str]) -> onnx.ModelProto:
    """Return the part of `model` that makes the tensors `ends` from the tensors `starts` and the model's inputs."""
    import onnx

    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    pending = list(ends)
    while pending:
        name = pending.pop()
        if name in needed:
            continue
        needed.add(name)
        if name not in starts and name in makers:
            pending.extend(_reads(makers[name]))
    nodes = [node for node in graph.node if any(name in needed and name not in starts for name in node.output)]
    read = {name for node in nodes for name in _reads(node)} | set(ends)
    described = {port.name: port for port in (*graph.value_info, *graph.input, *graph.output)}
    undescribed = [name for name in (*starts, *ends) if name not in described]
    if undescribed:
        described |= {port.name: port for port in onnx.shape_inference.infer_shapes(model).graph.value_info}
    missing = [name for name in undescribed if name not in described]
    if missing:
        raise ConversionError(f"the type of {', '.join(missing)} cannot be inferred; cut at another tensor")
    # a tensor that both crosses the cut and is an input of the original is named once
    inputs = [described[name] for name in starts if name in read]
    inputs += [port for port in graph.input if port.name in read and port.name not in starts]
    part = onnx.helper.make_graph(
        nodes,
        graph.name,
        inputs,
        [described[name] for name in ends],
        initializer=[tensor for tensor in graph.initializer if tensor.name in read],
    )
    return onnx.helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)


def _reads(node: onnx.NodeProto) -> list[str]:
    """Return the tensors that a node reads, those of the graphs inside it included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for inner in [attribute.g, *attribute.graphs]:
            made = {name for node in inner.node for name in node.output}
            names += [name for node in inner.node for name in _reads(node) if name not in made]
    return names
