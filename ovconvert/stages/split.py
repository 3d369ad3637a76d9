"""Split a monolithic ONNX file in two at named tensors: what makes them, and what reads them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovconvert.errors import ConversionError, UsageError, listing
from ovconvert.graphs.weights import attach, detach
from ovconvert.options import Progress, option, silent
from ovconvert.package import plain, whole
from ovconvert.stages.simplify import read_onnx

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Options:
    """Where to cut."""

    at: tuple[str, ...] = option((), "Tensors at which to cut, comma-separated.")
    first: str = option("encoder_model", "Name of the part that makes the tensors.")
    second: str = option("decoder_model", "Name of the part that reads them.")
    force: bool = option(False, "Replace DEST if it exists.")


def requires(source: Path, options: Options) -> list[str]:
    """Return what is wrong with `source` and the options."""
    problems = [] if source.is_file() else [f"{source} is not a file; give an ONNX file"]
    if not options.at:
        problems.append("no tensor to cut at; name at least one with --at")
    problems += [f"the name {name!r} is no plain file name" for name in (options.first, options.second) if not plain(name)]
    if len(set(options.at)) != len(options.at):
        problems.append("a tensor is named twice in --at; name each once")
    if options.first == options.second:
        problems.append(f"both parts are called {options.first!r}; give them different names")
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the two parts of the ONNX file `source` into the directory `dest`.

    The first part has the tensors `options.at` as outputs. The second has them as inputs, besides those inputs of the
    original that it still reads. Raises UsageError for tensors that the graph does not have, ConversionError if the cut
    leaves one part without work.
    """
    model = read_onnx(source)
    weights = detach(model, source.parent)
    _check_names(model, options.at)
    outputs = [port.name for port in model.graph.output]
    with whole(dest, force=options.force, mark=f"{options.first}.onnx") as partial:
        parts = ((options.first, options.at, ()), (options.second, outputs, options.at))
        for done, (name, ends, starts) in enumerate(parts):
            progress(name, done, 2)
            part = extract(model, ends, starts, set(weights))
            if not part.graph.node:
                raise ConversionError(f"the cut at {', '.join(options.at)} leaves nothing for {name}; cut elsewhere")
            attach(part, weights, partial / f"{name}.onnx")
    progress("done", 2, 2)
    return dest


def extract(
    model: onnx.ModelProto, ends: Sequence[str], starts: Collection[str], weights: Collection[str]
) -> onnx.ModelProto:
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


def _check_names(model: onnx.ModelProto, at: Sequence[str]) -> None:
    given = {port.name for port in model.graph.input} | {tensor.name for tensor in model.graph.initializer}
    made = {name for node in model.graph.node for name in node.output if name}
    problems = []
    for name in at:
        if name in made:
            continue
        near = difflib.get_close_matches(name, made, n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        what = "is an input or a weight, not made by any node" if name in given else "is not in the graph"
        problems.append(f"{name} {what}{hint}")
    if problems:
        raise UsageError(listing("cannot cut there:", problems))
