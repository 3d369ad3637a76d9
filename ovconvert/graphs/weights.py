"""ONNX weights kept outside the graph, so that graph tools see structure only and memory stays bounded.

A 24-layer decoder has 1.9 GB of weights and 2,000 nodes. Passed whole through an optimiser it needs five copies of the
weights; passed without them, none. `detach` turns every large initializer into a graph input, `attach` turns the
inputs back into initializers whose values lie in one file beside the model (`*.onnx_data`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import onnx

LARGE = 4096  # bytes; smaller constants take part in folding
ALIGNMENT = 64


class Array(Protocol):
    """Anything that NumPy can read: an array, a tensor of PyTorch, a memory-mapped slice."""

    def __array__(self) -> np.ndarray: ...


def detach(model: onnx.ModelProto, directory: Path) -> dict[str, np.ndarray]:
    """Move the large initializers of `model` out of the graph, in place; return them by name.

    `directory` is where the external data of the model lies. External values are memory-mapped, not read.
    """
    import onnx

    weights: dict[str, np.ndarray] = {}
    kept = []
    for tensor in model.graph.initializer:
        if _bytes(tensor) < LARGE:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                onnx.external_data_helper.load_external_data_for_tensor(tensor, str(directory))
            kept.append(tensor)
            continue
        weights[tensor.name] = _values(tensor, directory)
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return weights


def attach(model: onnx.ModelProto, weights: Mapping[str, Array], path: Path) -> None:
    """Write `model` to `path` with `weights` as initializers in `<path>_data`, one tensor in memory at a time.

    Graph inputs named in `weights` become initializers; weights that the graph no longer reads are left out.
    """
    import onnx

    inputs = [port for port in model.graph.input if port.name not in weights]
    used = {name for node in _nodes(model.graph) for name in node.input} | {port.name for port in model.graph.output}
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    data_path = path.with_name(path.name + "_data")
    with data_path.open("wb") as data:
        for name, source in weights.items():
            if name not in used:
                continue
            array = np.ascontiguousarray(source.__array__())
            data.write(b"\0" * (-data.tell() % ALIGNMENT))
            offset = data.tell()
            data.write(array.data)
            tensor = onnx.TensorProto(
                name=name, data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape
            )
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", data_path.name), ("offset", offset), ("length", array.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            model.graph.initializer.append(tensor)
    if data_path.stat().st_size == 0:
        data_path.unlink()
    path.write_bytes(model.SerializeToString())


def _nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _nodes(inner)


def _bytes(tensor: onnx.TensorProto) -> int:
    import onnx

    return int(np.prod(tensor.dims, dtype=np.int64)) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _values(tensor: onnx.TensorProto, directory: Path) -> Any:
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return onnx.numpy_helper.to_array(tensor)
    entry = {item.key: item.value for item in tensor.external_data}
    return np.memmap(
        directory / entry["location"],
        dtype=onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type),
        mode="r",
        offset=int(entry.get("offset", 0)),
        shape=tuple(tensor.dims),
    )
