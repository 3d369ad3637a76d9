"""Lower an ONNX file to OpenVINO IR; a decoder step also gets a form with its cache as in-model state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovconvert.errors import ConversionError
from ovconvert.graphs.cross import cross_part, step_part
from ovconvert.graphs.save import save_ir, share_weights
from ovconvert.graphs.sine import rewrite_squared_sines
from ovconvert.graphs.state import make_stateful
from ovconvert.options import Progress, option, silent
from ovconvert.package import Graph, plain, whole
from ovconvert.spec import FLOAT_FORMATS, CacheSpec
from ovconvert.stages.simplify import read_onnx

if TYPE_CHECKING:
    import openvino as ov

# f32 activations and no quantization of activations, whatever the defaults of the release and the machine are: an AVX-512
# machine would otherwise compute in bfloat16 and keep an 8-bit cache. The cache is as precise as the weights are, but not
# below f16: at INT8 weights an 8-bit cache was no faster; at INT4 it was by some per cent, but then the forms of the step
# may give different tokens, as the explicit cache is f32.
CACHES = {"fp32": "f32", "fp16": "f16", "int8": "f16", "int4": "f16"}
PAST_KEY = re.compile(r"past_key_values\.(\d+)\.key")


@dataclass(frozen=True)
class Options:
    """How to lower."""

    weight_format: str = option("fp16", "Precision of the stored weights.", choices=FLOAT_FORMATS)
    name: str = option("", "Component name in openvino_<name>_model.xml; openvino_model.xml if empty.")
    force: bool = option(False, "Replace DEST if it exists.")


def requires(source: Path, options: Options) -> list[str]:
    """Return what is wrong with `source`."""
    problems = [] if source.is_file() else [f"{source} is not a file; give an ONNX file"]
    if options.name and not plain(options.name):
        problems.append(f"the name {options.name!r} is no plain file name")
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the IR of the ONNX file `source` into the directory `dest`.

    A graph with `past_key_values.*` inputs is lowered in two forms that share one .bin. Raises ConversionError if OpenVINO
    cannot convert the graph, UsageError if `dest` exists.
    """
    read_onnx(source)
    with whole(dest, force=options.force, mark=f"{ir_name(options.name)}.xml") as partial:
        progress("convert", 0, 2)
        model = convert(source)
        progress("save", 1, 2)
        lower(model, partial, options.name, options.weight_format, find_cache(model))
    progress("done", 2, 2)
    return dest


def convert(source: Path) -> ov.Model:
    """Return the OpenVINO model of an ONNX file. Raises ConversionError naming what OpenVINO did not understand."""
    import openvino as ov

    try:
        model = ov.convert_model(source)
    except (RuntimeError, ov.frontend.OpConversionFailure, ov.frontend.GeneralFailure) as error:
        raise ConversionError(f"OpenVINO cannot convert {source}: {error}") from error
    rewrite_squared_sines(model)
    return model


def lower(model: ov.Model, dest: Path, name: str, weight_format: str, cache: CacheSpec | None) -> dict[str, Graph]:
    """Save `model` into `dest` in the forms it can have; return them. One .bin serves all forms."""
    if cache is None:
        return {"plain": _save(model, dest, ir_name(name), weight_format)}
    parts = {"stateful": make_stateful(model, cache), "with_past": model}
    if cache.cross:
        parts |= {"with_past": step_part(model, cache), "cross": cross_part(model, cache)}
    graphs: dict[str, Graph] = {}
    for form, part in parts.items():
        stem = name if form == "stateful" else f"{name}_{form}".lstrip("_")
        graphs[form] = _save(part, dest, ir_name(stem), weight_format)
        if form != "stateful":
            owner = graphs["stateful"]
            share_weights(dest / graphs[form].xml, dest / owner.xml)
            graphs[form] = Graph(graphs[form].xml, owner.bin)
    return graphs


def pinned(weight_format: str) -> dict[str, str]:
    """Return the options with which graphs of a weight format must be compiled."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": CACHES[weight_format],
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }


def ir_name(name: str) -> str:
    """Return the file name of a component's IR without its ending, as optimum-intel writes it."""
    return f"openvino_{name}_model" if name else "openvino_model"


def find_cache(model: ov.Model) -> CacheSpec | None:
    """Return the cache that the names of the inputs declare, or None. Raises ConversionError if its shape is unclear."""
    keys = {}
    for port in model.inputs:
        for name in port.get_names():
            if PAST_KEY.fullmatch(name):
                keys[name] = port.get_partial_shape()
    if not keys:
        return None
    shapes = {(str(shape[1]), str(shape[3])) for shape in keys.values()}
    heads, head_dim = next(iter(shapes))
    if len(shapes) != 1 or not heads.isdigit() or not head_dim.isdigit():
        raise ConversionError(
            f"the cache inputs have the (heads, head_dim) {sorted(shapes)}; allowed: one fixed pair for all layers"
        )
    return CacheSpec(len(keys), int(heads), int(head_dim))


def _save(model: ov.Model, dest: Path, stem: str, weight_format: str) -> Graph:
    graph = Graph(f"{stem}.xml", f"{stem}.bin")
    save_ir(model, dest / graph.xml, weight_format=weight_format, runtime_options=pinned(weight_format))
    return graph
