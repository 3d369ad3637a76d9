"""Make the weights of a package small: INT8 or INT4, with quantized activations where asked for.

Reads an fp32 or fp16 package and writes another, in which every form of a component has the same weights. --formats gives
single components a precision of their own, also fp16, or fp32 where the source has it. The layers that a
family names, those that predict the mel, stay in floating point, and so do filters too narrow to gain. What every layer
got is in the manifest and in the rt_info of the IRs. The golden tensors go along: validate the result.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovconvert import memory, package
from ovconvert.errors import UsageError
from ovconvert.graphs import compress
from ovconvert.graphs.compress import Sample
from ovconvert.graphs.layers import Layer, find_layers, note_layers, weight_names
from ovconvert.graphs.save import halve, save_ir, share_weights
from ovconvert.options import Progress, option, silent
from ovconvert.package import Graph, LayerPrecision, Manifest, PackedComponent
from ovconvert.quantization.asked import (
    Asked,
    asked_of,
    decides,
    full,
    kept,
    pattern_problems,
    read_formats,
    to_quantize,
)
from ovconvert.quantization.samples import STATISTICS, Dataset, dataset_problems, seal_statistics, statistics_place
from ovconvert.spec import FLOAT_FORMATS, QUANTIZED_FLOORS, Component
from ovconvert.stages import lower

if TYPE_CHECKING:
    import openvino as ov

TOOLS = ("ovconvert", "openvino", "nncf", "numpy")
FORMS_APART = ("stateful", "with_past")
PRIMARY = ("with_past", "plain", "full_sequence", "stateful")  # the form that is compressed; the others follow from it
LINEAGE = "quantized"
ONNX = "onnx/"  # not taken along: those files are the source's, in float


@dataclass(frozen=True)
class Options(Asked):
    """What to quantize, how, and with which data."""

    dataset: Path | None = option(None, "Calibration set that 'ovconvert calibrate' made.")
    quantization_statistics_path: Path | None = option(
        None, "Directory that keeps what was found out from the dataset for the next run; INT4 only."
    )
    force: bool = option(False, "Replace DEST if it is a package.")


def requires(source: Path, options: Options) -> list[str]:
    """Return everything that is wrong with the options, and with the package for them."""
    formats, problems = read_formats(options.formats)
    problems += compress.problems(options, with_data=options.dataset is not None, formats=formats.values())
    int4 = "int4" in (options.weight_format, *formats.values())
    if options.quantization_statistics_path and (not int4 or not options.dataset or options.gptq):
        problems.append(
            "--quantization-statistics-path needs --weight-format int4 and --dataset, and no --gptq, which keeps none"
        )
    manifest = package.load(source)
    have = {packed.component.name: packed for packed in manifest.components}
    strange = [name for name in dict.fromkeys((*options.components, *formats)) if name not in have]
    problems += [f"no component {name!r} in the package; have: {', '.join(have)}" for name in strange]
    chosen = to_quantize(manifest, options)
    problems += [
        f"{packed.component.name} has {packed.precision} weights already; quantize the fp32 or fp16 package it came from"
        for packed in chosen
        if packed.weight_format not in FLOAT_FORMATS
    ]
    problems += [
        f"{name} has fp16 weights, and fp32 cannot be made of them: what was rounded is lost; leave it out, or start from a "
        "package exported with --weight-format fp32"
        for name, precision in formats.items()
        if precision == "fp32" and name in have and have[name].weight_format == "fp16"
    ]
    if options.dataset is not None:
        problems += dataset_problems(options.dataset, manifest, chosen, options)
    problems += [problem for packed in chosen if _apart(packed) for problem in _data_problems(packed, options)]
    if not strange and not problems:
        problems += pattern_problems(options.keep, _layers(source, chosen) if options.keep else {})
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the package `source` with quantized weights to `dest`.

    Raises UsageError if `dest` exists or AWQ finds nothing to do, IntegrityError if the source or the dataset is damaged,
    ConversionError if a layer does not fit the group size and that shall be an error; then nothing is left behind.
    """
    package.refuse_existing(dest, force=options.force)
    manifest = package.load(source)
    names = {packed.component.name for packed in to_quantize(manifest, options)}
    taken = [name for name in manifest.files if not name.startswith(ONNX)]
    package.verify(source, only=taken)
    dataset = None if options.dataset is None else Dataset.open(options.dataset)
    with package.whole(dest, force=options.force) as partial:
        packed, report, without_awq = [], [], []
        for done, one in enumerate(manifest.components):
            progress(one.component.name, done, len(manifest.components) + 1)
            if one.component.name in names:
                mine = asked_of(one.component, options)
                idle: list[str] = []
                entry, cost = quantize_component(source, partial, one, manifest.files, mine, dataset, idle)
                report.append(cost)
                without_awq += [one.component.name] * ("awq" in idle)
            else:
                entry = one
                _copy(source, partial, {name for graph in one.graphs.values() for name in (graph.xml, graph.bin)})
            packed.append(entry)
        _require_awq(packed, names, options.awq, without_awq)
        progress("assets and hashes", len(manifest.components), len(manifest.components) + 1)
        graphs = {name for one in manifest.components for graph in one.graphs.values() for name in (graph.xml, graph.bin)}
        _copy(source, partial, set(taken) - graphs)
        lineage = _lineage(source, manifest, sorted(names), options, dataset, without_awq)
        package.save(replace(manifest, components=tuple(packed), files=package.seal(partial), lineage=lineage), partial)
        (partial / package.EXPORT_REPORT).write_text(json.dumps(report, indent=2) + "\n")
    progress("done", len(manifest.components) + 1, len(manifest.components) + 1)
    return dest


def quantize_component(
    source: Path,
    dest: Path,
    packed: PackedComponent,
    files: Mapping[str, str],
    options: Options,
    dataset: Dataset | None = None,
    idle: list[str] | None = None,
) -> tuple[PackedComponent, dict[str, Any]]:
    """Write the graphs of one component, quantized, into `dest`; return its entry in the manifest and what it cost.

    `idle` gets the methods that found nothing to do.
    """
    import openvino as ov

    memory.reset_peak()
    begun = time.perf_counter()
    core = ov.Core()
    if _apart(packed):
        models = {form: core.read_model(source / graph.xml, source / graph.bin) for form, graph in packed.graphs.items()}
        entry = _quantize_forms(models, dest, packed, options)
        del models
    else:
        graph = packed.graphs[next(form for form in PRIMARY if form in packed.graphs)]
        model = core.read_model(source / graph.xml, source / graph.bin)
        heard = dataset is not None and options.weight_format not in FLOAT_FORMATS
        samples = dataset.samples(packed.component, options) if dataset and heard else None
        room = options.quantization_statistics_path if options.weight_format == "int4" else None
        hashes = files[graph.xml], files[graph.bin]
        where = statistics_place(room, hashes, packed.component, options, dataset) if room and dataset else None
        entry = quantize_model(model, dest, packed, options, samples, where and where / STATISTICS, idle)
        if where is not None:
            seal_statistics(where)
        del model, samples
    memory.give_back()
    written = {name for one in entry.graphs.values() for name in (one.xml, one.bin)}
    cost = {
        "component": packed.component.name,
        "parameters": sum(layer.values for layer in entry.layers.values()),
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_bytes": memory.peak_bytes(),
        "ir_bytes": sum((dest / name).stat().st_size for name in written),
    }
    return entry, cost


def quantize_model(
    model: ov.Model,
    dest: Path,
    packed: PackedComponent,
    options: Asked,
    samples: Sequence[Sample] | None = None,
    statistics: Path | None = None,
    idle: list[str] | None = None,
) -> PackedComponent:
    """Quantize `model`, a graph of the component, save it into `dest` in all its forms, and return its new entry.

    A step comes with explicit cache: its other form is made from the quantized one, so that both have the same weights.
    `idle` gets the methods that found nothing to do.
    """
    component = packed.component
    spared = decides(component) and component.name not in options.components
    if spared or options.weight_format in FLOAT_FORMATS:
        return _entry(packed, "fp16", _lowered(model, dest, packed, "fp16"), (), "fp32")
    halve(model, weight_names(model))
    layers = find_layers(model)
    keep = kept(layers, component, options)
    operations = _operations(keep)
    with_activations = options.quant_mode is not None and full(component, options)
    if with_activations and samples:
        model = compress.quantize_activations(model, options, operations, samples)
    else:
        linear = any(layer.kind == "MatMul" and layer not in keep for layer in layers)  # the others have no use for data
        model = compress.compress_weights(model, options, operations, samples if linear else None, statistics, idle)
    layers = find_layers(model)
    note_layers(model, layers)
    weight_format = "int8" if with_activations else options.weight_format
    graphs = _lowered(model, dest, packed, weight_format)
    return _entry(packed, weight_format, graphs, layers, "int8" if with_activations else "fp32")


def _lowered(model: ov.Model, dest: Path, packed: PackedComponent, weight_format: str) -> dict[str, Graph]:
    """Save `model` in all forms of the component; a decoder that was not split keeps the name of its form."""
    component = packed.component
    graphs = lower.lower(model, dest, component.name, weight_format, component.cache)
    return graphs if component.cache else dict.fromkeys(packed.graphs or ("plain",), graphs["plain"])


def _quantize_forms(models: Mapping[str, ov.Model], dest: Path, packed: PackedComponent, options: Asked) -> PackedComponent:
    """Quantize forms that do not follow from each other: the first decides, and the others give each layer the same."""
    first = next(form for form in FORMS_APART if form in models)
    to_integers = options.weight_format not in FLOAT_FORMATS
    precisions: dict[str, LayerPrecision] = {}
    layers: tuple[Layer, ...] = ()
    for form in (first, *(form for form in models if form != first)):
        model, graph = models[form], packed.graphs[form]
        if to_integers:
            halve(model, weight_names(model))
        if to_integers and form == first:
            operations = _operations(kept(find_layers(model), packed.component, options))
            model = compress.compress_weights(model, options, operations)
            layers = find_layers(model)
            precisions = {layer.name: layer.precision for layer in layers}
        elif to_integers:
            model = compress.follow(model, precisions, options)
        if to_integers:
            note_layers(model, find_layers(model))
        xml = dest / graph.xml
        save_ir(model, xml, weight_format=options.weight_format, runtime_options=lower.pinned(options.weight_format))
        if graph.bin != packed.graphs[first].bin:
            continue
        if form != first:
            share_weights(xml, dest / packed.graphs[first].xml)
    return _entry(packed, options.weight_format, packed.graphs, layers, "fp32")


def _entry(
    packed: PackedComponent, weight_format: str, graphs: dict[str, Graph], layers: Sequence[Layer], activations: str
) -> PackedComponent:
    precisions = {layer.name: layer.precision for layer in layers}
    options = packed.runtime_options | lower.pinned(weight_format)
    return PackedComponent(
        with_floors(packed.component), weight_format, graphs, packed.golden, options, activations, precisions
    )


def with_floors(component: Component) -> Component:
    """Return the component with a floor for every precision that it may get; those of its family hold."""
    return replace(component, floor_db={**QUANTIZED_FLOORS, **component.floor_db})


def _data_problems(packed: PackedComponent, options: Options) -> list[str]:
    """Return what wants data for a component whose forms are quantized one by one."""
    mine = asked_of(packed.component, options)
    data_aware = [name for name in ("quant_mode", "awq", "scale_estimation", "gptq") if getattr(mine, name)]
    if mine.weight_format in FLOAT_FORMATS or (data_aware == ["quant_mode"] and not mine.components):
        return []
    name = packed.component.name
    text = f"{name} has forms that are quantized one by one, without data: leave out {', '.join(data_aware)}"
    return [text] if data_aware else []


def _apart(packed: PackedComponent) -> bool:
    """Tell whether the forms of a component have to be quantized one by one."""
    return packed.component.cache is not None and set(packed.graphs) != {"stateful", "with_past"}


def _operations(layers: Sequence[Layer]) -> list[str]:
    return [operation for layer in layers for operation in layer.operations]


def _layers(source: Path, chosen: Sequence[PackedComponent]) -> dict[str, list[Layer]]:
    """Return the layers of components by name."""
    import openvino as ov

    found = {}
    for packed in chosen:
        graph = next(packed.graphs[form] for form in PRIMARY if form in packed.graphs)
        found[packed.component.name] = list(find_layers(ov.Core().read_model(source / graph.xml, source / graph.bin)))
    return found


def _require_awq(packed: Sequence[PackedComponent], names: Collection[str], asked: bool, without: Sequence[str]) -> None:
    """Raise UsageError if AWQ was asked for and no component that became INT4 had anything for it."""
    small = [one.component.name for one in packed if one.component.name in names and one.weight_format == "int4"]
    if asked and small and set(small) <= set(without):
        raise UsageError(
            f"--awq finds nothing to do in {', '.join(small)}: NNCF looks for matrix products behind ReLU, SiLU and the "
            "like, or behind a product of two others, and does not know GELU; leave it out, or try --scale-estimation or "
            "--gptq"
        )


def _copy(source: Path, dest: Path, names: set[str]) -> None:
    for name in sorted(names):
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, dest / name)


def _lineage(
    source: Path,
    manifest: Manifest,
    names: Sequence[str],
    options: Options,
    dataset: Dataset | None,
    without_awq: Sequence[str],
) -> dict[str, object]:
    """Return the source's lineage with this step added: what it read, with which options and tools."""
    left_out = ("force", "quantization_statistics_path", "dataset")
    chosen = {key: value for key, value in asdict(options).items() if key not in left_out}
    step = {
        "package": package.sha256(source / package.MANIFEST),
        "dataset": dataset.digest if dataset else None,
        "without_samples": [name for name in names if dataset and not dataset.manifest.of(name)],
        "without_awq": list(without_awq),
        "components": list(names),
        "options": chosen,
        "tools": {name: version(name) for name in TOOLS},
    }
    earlier = manifest.lineage.get(LINEAGE, [])
    assert isinstance(earlier, list)
    return {**manifest.lineage, LINEAGE: [*earlier, step]}
