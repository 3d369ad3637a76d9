"""Cut a monolithic ONNX file in two: an encoder and a step with a cache, or at named tensors.

An encoder-decoder that takes the encoder's input and all words so far becomes an encoder, which also makes the keys and
values of the cross attentions, and a decoder that takes the new words and what it attended to before (`past_key_values.*`).
Both are run beside the original before they are kept. With `--at` the file is cut at these tensors and nothing is changed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import ConversionError, UsageError, listing
from ovconvert.graphs.cut import extract
from ovconvert.graphs.insert_cache import Parts, insert_cache, ordered
from ovconvert.graphs.parts import CALLS, HEARD, STATES, Pair, draw, require_equal
from ovconvert.graphs.probe import Runner, Shapes, probe
from ovconvert.graphs.weights import attach, detach
from ovconvert.graphs.whole import Whole, is_mask, understand
from ovconvert.options import Progress, option, silent
from ovconvert.package import plain, whole
from ovconvert.stages.simplify import input_shapes, read_onnx

if TYPE_CHECKING:
    import onnx

SHORTER = 5  # words at which the graph is looked at besides those of the comparison


@dataclass(frozen=True)
class Options:
    """Where to cut."""

    at: tuple[str, ...] = option((), "Tensors at which to cut, comma-separated, and nothing else is done.")
    encoder_output: str = option("", "Tensor that the encoder says (default: the last that the decoder listens to).")
    decoder_inputs: tuple[str, ...] = option((), "Inputs of the decoder (default: by their names, or by what reads them).")
    logits: str = option("", "Output with the scores of the words (default: logits, or the only one).")
    cache: bool = option(True, "Give the decoder a cache; --no-cache: it reads all words at every call.")
    input_shape: tuple[str, ...] = option((), "Sizes for the comparison, as NAME:1x80x40.")
    first: str = option("encoder_model", "Name of the part that makes the tensors.")
    second: str = option("decoder_model", "Name of the part that reads them.")
    force: bool = option(False, "Replace DEST if it exists.")


def requires(source: Path, options: Options) -> list[str]:
    """Return what is wrong with `source` and the options."""
    problems = [] if source.is_file() else [f"{source} is not a file; give an ONNX file"]
    problems += [f"the name {name!r} is no plain file name" for name in (options.first, options.second) if not plain(name)]
    if len(set(options.at)) != len(options.at):
        problems.append("a tensor is named twice in --at; name each once")
    if options.at and (options.encoder_output or options.decoder_inputs or options.logits or not options.cache):
        problems.append("--at cuts and does nothing else; leave the options of encoder-decoders out")
    if options.first == options.second:
        problems.append(f"both parts are called {options.first!r}; give them different names")
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the two parts of the ONNX file `source` into the directory `dest`.

    With `options.at` the first part has these tensors as outputs; the second has them as inputs, besides those inputs of
    the original that it still reads. Raises UsageError for names that the graph does not have or where one has to be given,
    ConversionError if there is no encoder, if no cache can be inserted, or if a part is left without work, and ParityError
    if the parts do not compute what the original does.
    """
    model = read_onnx(source)
    weights = detach(model, source.parent)
    if options.at:
        _check_names(model, options.at)
    with whole(dest, force=options.force, mark=f"{options.first}.onnx") as partial:
        if options.at:
            _cut(model, weights, partial, options, progress)
        else:
            _split(source, model, weights, partial, options, progress)
    progress("done", 2, 2)
    return dest


def _cut(
    model: onnx.ModelProto, weights: Mapping[str, np.ndarray], dest: Path, options: Options, progress: Progress
) -> None:
    """Cut at the named tensors."""
    outputs = [port.name for port in model.graph.output]
    parts = ((options.first, options.at, ()), (options.second, outputs, options.at))
    for done, (name, ends, starts) in enumerate(parts):
        progress(name, done, 2)
        part = extract(model, ends, starts)
        if not part.graph.node:
            raise ConversionError(f"the cut at {', '.join(options.at)} leaves nothing for {name}; cut elsewhere")
        attach(part, weights, dest / f"{name}.onnx")


def _split(
    source: Path,
    model: onnx.ModelProto,
    weights: Mapping[str, np.ndarray],
    dest: Path,
    options: Options,
    progress: Progress,
) -> None:
    """Cut an encoder-decoder, and compare the parts with the original."""
    ports = [port for port in model.graph.input if port.name not in weights]
    found = understand(
        model,
        [port.name for port in ports],
        decoder_inputs=options.decoder_inputs,
        encoder_output=options.encoder_output,
        logits=options.logits,
    )
    progress("look at shapes", 0, 3)
    sizes = input_shapes(options.input_shape)
    short, long = (draw(ports, found, words, sizes) for words in (SHORTER, sum(CALLS)))
    names = [name for name in found.flow.maker if name in found.said | found.sized | found.heard]
    shapes = probe(source, names, (short, long))
    parts = insert_cache(model, found, shapes) if options.cache else _without_cache(model, found, shapes)
    progress("write", 1, 3)
    named = _named(found, shapes)
    files = [dest / f"{name}.onnx" for name in (options.first, options.second)]
    for path, part in zip(files, _models(model, found, parts, shapes, named), strict=True):
        attach(part, weights, path)
    progress("compare", 2, 3)
    require_equal(Runner(source).run(long)[found.logits], Pair(files[0], files[1], named).say(found, long, CALLS))


def _without_cache(model: onnx.ModelProto, found: Whole, shapes: Shapes) -> Parts:
    """Return the parts of a graph that is cut behind its encoder and stays as it is."""
    from onnx import helper

    ends = [(STATES, *_described(found.states, shapes))]
    nodes = [*model.graph.node, helper.make_node("Identity", [found.states], [STATES])]
    return Parts(nodes, list(model.graph.initializer), ends, [], [(found.logits, *_described(found.logits, shapes))])


def _models(
    model: onnx.ModelProto, found: Whole, parts: Parts, shapes: Shapes, named: Mapping[str, str]
) -> Iterator[onnx.ModelProto]:
    """Yield the encoder and the decoder, whose inputs are called as `named` says."""
    import onnx
    from onnx import helper

    starts = [name for name, *_ in parts.step_starts]
    between = _between(found, parts, starts) if starts else [found.states]
    ports = [*parts.encoder_ends, *parts.step_starts, *parts.step_ends]
    ports += [(name, *_described(name, shapes)) for name in between]
    joined = onnx.ModelProto()
    joined.CopyFrom(model)
    del joined.graph.node[:], joined.graph.initializer[:]
    joined.graph.node.extend(ordered(parts.nodes, set(starts)))
    joined.graph.initializer.extend(parts.initializers)
    joined.graph.value_info.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
        for name, dtype, shape in ports
    )
    ends = [name for name, *_ in parts.encoder_ends] + [name for name in between if name != found.states]
    yield extract(joined, ends, [])
    step = extract(joined, [name for name, *_ in parts.step_ends], [*starts, *between])
    _rename(step, named)
    yield step


def _named(found: Whole, shapes: Shapes) -> dict[str, str]:
    """Return what inputs of the whole are called in the decoder."""
    named = {name: f"encoder_{name}" for name in found.encoder_inputs if "encoder" not in name}
    named[found.words] = "inputs_embeds" if np.issubdtype(shapes.dtypes[found.words], np.floating) else "input_ids"
    return named | {found.states: HEARD}


def _between(found: Whole, parts: Parts, starts: Sequence[str]) -> list[str]:
    """Return what the step reads of the encoder besides its keys and values.

    What is made from masks alone is made again, from the mask.
    """
    makers = {name: node for node in parts.nodes for name in node.output if name}
    crossing: list[str] = []
    seen: set[str] = set(starts)
    pending = [name for name, *_ in parts.step_ends]
    while pending:
        name = pending.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if name in found.heard:
            origins = found.flow.sources_of(name)
            if name in found.encoder_inputs and is_mask(name):
                continue
            if found.states in origins or not all(is_mask(one) for one in origins & set(found.encoder_inputs)):
                crossing.append(name)
                continue
        if name in makers:
            pending.extend(makers[name].input)
    return sorted(crossing, key=lambda name: found.flow.order.get(name, -1))


def _described(name: str, shapes: Shapes) -> tuple[Any, list[Any]]:
    """Return the type and the shape of a tensor; which of its axes are fixed is known of lists of sizes alone."""
    counted = shapes.rank(name) == 1 and np.issubdtype(shapes.dtypes[name], np.integer)
    return shapes.dtypes[name], list(shapes.first[name]) if counted else [None] * shapes.rank(name)


def _rename(part: onnx.ModelProto, names: Mapping[str, str]) -> None:
    for port in part.graph.input:
        port.name = names.get(port.name, port.name)
    for node in part.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)


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
