"""Make the weights of a package small: INT8 or INT4, with quantized activations where asked for.

Reads an fp32 or fp16 package and writes another, in which every form of a component has the same weights. --formats gives
single components a precision of their own, also fp16, or fp32 where the source has it. The layers that a
family names, those that predict the mel, stay in floating point, and so do filters too narrow to gain. What every layer
got is in the manifest and in the rt_info of the IRs. The golden tensors go along: validate the result.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ovconvert import calibration, memory, package
from ovconvert.errors import IntegrityError, OvconvertError
from ovconvert.graphs import compress
from ovconvert.graphs.compress import Compression, Sample
from ovconvert.graphs.layers import Layer, find_layers, note_layers, weight_names
from ovconvert.graphs.save import halve, save_ir, share_weights
from ovconvert.options import Progress, option, silent
from ovconvert.package import Graph, LayerPrecision, Manifest, PackedComponent
from ovconvert.spec import FLOAT_FORMATS, FULL_INT8, PRECISIONS, QUANTIZED_FLOORS, Component
from ovconvert.stages import lower

if TYPE_CHECKING:
    import openvino as ov

TOOLS = ("ovconvert", "openvino", "nncf", "numpy")
# Where quantized activations may pay: parts whose time is spent multiplying. A step waits for its weights, and feeds its
# errors back to itself; 8-bit vocoders were slower and audibly worse wherever they were tried.
FULL_ROLES = ("frontend", "encoder", "estimator")
SAMPLES = {"weights": 128, "activations": 300}
FORMS_APART = ("stateful", "with_past")
PRIMARY = ("with_past", "plain", "full_sequence", "stateful")  # the form that is compressed; the others follow from it
LINEAGE = "quantized"
KEY, STATISTICS = "key.json", "statistics"
ONNX = "onnx/"  # not taken along: those files are the source's, in float


@dataclass(frozen=True)
class Options(Compression):
    """What to quantize, and how."""

    components: tuple[str, ...] = option(
        (),
        "Components to quantize, comma-separated; the others are copied. Default: all; with --quant-mode the activations of "
        "front end, encoders and estimator, and the weights of all.",
    )
    formats: tuple[str, ...] = option(
        (),
        "Precisions of single components, comma-separated: NAME=FORMAT, as vocoder=fp32,decoder=int4; FORMAT is one of "
        f"{', '.join(PRECISIONS)}, the last with INT8 activations.",
    )
    keep: tuple[str, ...] = option(
        (), "More layers that stay in floating point: regular expressions of layer names, or COMPONENT:EXPRESSION."
    )
    keep_fp: bool = option(
        True, "Keep the layers that the package names in floating point; --no-keep-fp quantizes them too."
    )
    dataset: Path | None = option(None, "Calibration set that 'ovconvert calibrate' made.")
    quantization_statistics_path: Path | None = option(
        None, "Directory that keeps what was found out from the dataset for the next run; INT4 only."
    )
    force: bool = option(False, "Replace DEST if it is a package.")


def requires(source: Path, options: Options) -> list[str]:
    """Return everything that is wrong with the options, and with the package for them."""
    formats, problems = _read_formats(options.formats)
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
    chosen = _chosen(manifest, options)
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
        problems += _dataset_problems(options.dataset, manifest, chosen, options)
    problems += [problem for packed in chosen if _apart(packed) for problem in _data_problems(packed, options)]
    if not strange and not problems:
        problems += _pattern_problems(source, chosen, options.keep)
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the package `source` with quantized weights to `dest`.

    Raises UsageError if `dest` exists, IntegrityError if the source or the dataset is damaged, ConversionError if a layer
    does not fit the group size and that shall be an error; then nothing is left behind.
    """
    package.refuse_existing(dest, force=options.force)
    manifest = package.load(source)
    names = {packed.component.name for packed in _chosen(manifest, options)}
    taken = [name for name in manifest.files if not name.startswith(ONNX)]
    package.verify(source, only=taken)
    dataset = None if options.dataset is None else Dataset.open(options.dataset)
    with package.whole(dest, force=options.force) as partial:
        packed, report = [], []
        for done, one in enumerate(manifest.components):
            progress(one.component.name, done, len(manifest.components) + 1)
            if one.component.name in names:
                mine = asked_of(one.component, options)
                entry, cost = quantize_component(source, partial, one, manifest.files, mine, dataset)
                report.append(cost)
            else:
                entry = one
                _copy(source, partial, {name for graph in one.graphs.values() for name in (graph.xml, graph.bin)})
            packed.append(entry)
        progress("assets and hashes", len(manifest.components), len(manifest.components) + 1)
        graphs = {name for one in manifest.components for graph in one.graphs.values() for name in (graph.xml, graph.bin)}
        _copy(source, partial, set(taken) - graphs)
        lineage = _lineage(source, manifest, sorted(names), options, dataset)
        package.save(replace(manifest, components=tuple(packed), files=package.seal(partial), lineage=lineage), partial)
        (partial / package.EXPORT_REPORT).write_text(json.dumps(report, indent=2) + "\n")
    progress("done", len(manifest.components) + 1, len(manifest.components) + 1)
    return dest


@dataclass(frozen=True)
class Dataset:
    """A calibration set."""

    directory: Path
    manifest: calibration.Calibration
    digest: str

    @classmethod
    def open(cls, directory: Path) -> Dataset:
        """Open the set at `directory`. Raises UsageError if there is none, IntegrityError if it is damaged."""
        return cls(directory, calibration.load(directory), package.sha256(directory / calibration.MANIFEST))

    def chosen(self, component: Component, settings: Compression) -> tuple[calibration.Sample, ...]:
        """Return the samples of a component, as many as the settings use."""
        limit = settings.num_samples or SAMPLES["activations" if settings.quant_mode else "weights"]
        return self.manifest.of(component.name)[:limit]

    def samples(self, component: Component, settings: Compression) -> list[dict[str, Any]]:
        """Return the inputs of the component. Raises IntegrityError if a sample is missing or changed."""
        return calibration.read(self.directory, self.chosen(component, settings), component)


def quantize_component(
    source: Path,
    dest: Path,
    packed: PackedComponent,
    files: Mapping[str, str],
    options: Options,
    dataset: Dataset | None = None,
) -> tuple[PackedComponent, dict[str, Any]]:
    """Write the graphs of one component, quantized, into `dest`; return its entry in the manifest and what it cost."""
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
        where = _statistics((files[graph.xml], files[graph.bin]), packed.component, options, dataset)
        entry = quantize_model(model, dest, packed, options, samples, where and where / STATISTICS)
        if where is not None:
            _seal_statistics(where)
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
    options: Compression,
    samples: Sequence[Sample] | None = None,
    statistics: Path | None = None,
) -> PackedComponent:
    """Quantize `model`, a graph of the component, save it into `dest` in all its forms, and return its new entry.

    A step comes with explicit cache: its other form is made from the quantized one, so that both have the same weights.
    """
    component = packed.component
    spared = decides(component) and component.name not in getattr(options, "components", ())
    if spared or options.weight_format in FLOAT_FORMATS:
        return _entry(packed, "fp16", _lowered(model, dest, packed, "fp16"), (), "fp32")
    halve(model, weight_names(model))
    layers = find_layers(model)
    keep = kept(layers, component, options)
    operations = _operations(keep)
    full = options.quant_mode is not None and _full(component, options)
    if full and samples:
        model = compress.quantize_activations(model, options, operations, samples)
    else:
        linear = any(layer.kind == "MatMul" and layer not in keep for layer in layers)  # the others have no use for data
        model = compress.compress_weights(model, options, operations, samples if linear else None, statistics)
    layers = find_layers(model)
    note_layers(model, layers)
    weight_format = "int8" if full else options.weight_format
    graphs = _lowered(model, dest, packed, weight_format)
    return _entry(packed, weight_format, graphs, layers, "int8" if full else "fp32")


def decides(component: Component) -> bool:
    """Tell whether a component makes choices, such as the codes of a codec: it stays in FP16 unless it is named.

    A choice is right or wrong: of the demo voice's codec, INT8 weights changed one code in fifty.
    """
    return any(not port.dtype.startswith("float") for port in component.outputs)


def _lowered(model: ov.Model, dest: Path, packed: PackedComponent, weight_format: str) -> dict[str, Graph]:
    """Save `model` in all forms of the component; a decoder that was not split keeps the name of its form."""
    component = packed.component
    graphs = lower.lower(model, dest, component.name, weight_format, component.cache)
    return graphs if component.cache else dict.fromkeys(packed.graphs or ("plain",), graphs["plain"])


def _quantize_forms(
    models: Mapping[str, ov.Model], dest: Path, packed: PackedComponent, options: Compression
) -> PackedComponent:
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


def kept(layers: Sequence[Layer], component: Component, options: Compression) -> list[Layer]:
    """Return the layers that stay in floating point: those that component or options name, those that gain nothing."""
    patterns = list(component.keep_fp) if getattr(options, "keep_fp", True) else []
    patterns += [text for name, text in map(_split, getattr(options, "keep", ())) if name in ("", component.name)]
    return [layer for layer in layers if compress.gains_nothing(layer) or any(_fits(text, layer) for text in patterns)]


def with_floors(component: Component) -> Component:
    """Return the component with a floor for every precision that it may get; those of its family hold."""
    return replace(component, floor_db={**QUANTIZED_FLOORS, **component.floor_db})


def asked_of(component: Component, options: Options) -> Options:
    """Return the options as they hold for one component: with the precision that --formats gives it, as if it were named."""
    precision = _read_formats(options.formats)[0].get(component.name)
    if precision is None:
        return options
    named = replace(options, components=(component.name,), quant_mode=None, weight_format=precision)
    return replace(named, quant_mode="int8", weight_format="int8") if precision == FULL_INT8 else named


def _read_formats(items: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the precision that each component is given, and what is wrong with `items`."""
    found: dict[str, str] = {}
    problems = []
    for item in items:
        name, _, precision = item.partition("=")
        if not name or precision not in PRECISIONS:
            problems.append(f"--formats {item!r}: write COMPONENT=FORMAT; formats: {', '.join(PRECISIONS)}")
        elif name in found:
            problems.append(f"--formats names {name!r} twice")
        else:
            found[name] = precision
    return found, problems


def _chosen(manifest: Manifest, options: Options) -> list[PackedComponent]:
    """Return the components that do not stay as they are."""
    formats, _ = _read_formats(options.formats)
    named = {*options.components, *formats} if options.components else {one.component.name for one in manifest.components}
    stay = {
        one.component.name
        for one in manifest.components
        if formats.get(one.component.name) == one.weight_format and one.weight_format in FLOAT_FORMATS
    }
    return [one for one in manifest.components if one.component.name in named - stay]


def _data_problems(packed: PackedComponent, options: Options) -> list[str]:
    """Return what wants data for a component whose forms are quantized one by one."""
    mine = asked_of(packed.component, options)
    data_aware = [name for name in ("quant_mode", "awq", "scale_estimation", "gptq") if getattr(mine, name)]
    if mine.weight_format in FLOAT_FORMATS or (data_aware == ["quant_mode"] and not mine.components):
        return []
    name = packed.component.name
    text = f"{name} has forms that are quantized one by one, without data: leave out {', '.join(data_aware)}"
    return [text] if data_aware else []


def _full(component: Component, options: Compression) -> bool:
    """Tell whether the activations of a component are quantized too, if that is asked for at all."""
    named = getattr(options, "components", ())
    return component.name in named or (not named and component.role in FULL_ROLES)


def _apart(packed: PackedComponent) -> bool:
    """Tell whether the forms of a component have to be quantized one by one."""
    return packed.component.cache is not None and set(packed.graphs) != {"stateful", "with_past"}


def _operations(layers: Sequence[Layer]) -> list[str]:
    return [operation for layer in layers for operation in layer.operations]


def _split(pattern: str) -> tuple[str, str]:
    """Return (component, expression) of `component:expression`; no component if there is none before a colon."""
    name, colon, text = pattern.partition(":")
    return (name, text) if colon and package.plain(name) else ("", pattern)


def _fits(pattern: str, layer: Layer) -> bool:
    return re.fullmatch(pattern, layer.name) is not None


def _pattern_problems(source: Path, chosen: Sequence[PackedComponent], patterns: Sequence[str]) -> list[str]:
    """Return the patterns that are no expression or match no layer, with the layers that they may have meant."""
    import openvino as ov

    if not patterns:
        return []
    layers = {}
    for packed in chosen:
        graph = next(packed.graphs[form] for form in PRIMARY if form in packed.graphs)
        layers[packed.component.name] = find_layers(ov.Core().read_model(source / graph.xml, source / graph.bin))
    problems = []
    for pattern in patterns:
        name, text = _split(pattern)
        if name and name not in layers:
            problems.append(f"--keep {pattern!r}: {name!r} is no component that is quantized; have: {', '.join(layers)}")
            continue
        try:
            re.compile(text)
        except re.error as error:
            problems.append(f"--keep {pattern!r} is no regular expression: {error}")
            continue
        asked = [layer for key, found in layers.items() if name in ("", key) for layer in found]
        if not any(_fits(text, layer) for layer in asked):
            near = difflib.get_close_matches(text.replace("\\", ""), [layer.name for layer in asked], n=3, cutoff=0.3)
            meant = near or [layer.name for layer in asked[:3]]
            problems.append(f"--keep {pattern!r} matches no layer; near: {', '.join(meant)}")
    return problems


def _dataset_problems(directory: Path, manifest: Manifest, chosen: Sequence[PackedComponent], options: Options) -> list[str]:
    try:
        dataset = calibration.load(directory)
    except OvconvertError as error:
        return [str(error)]
    problems = [f"--dataset {directory}: {fault}" for fault in calibration.misfits(dataset, manifest)]
    if problems:
        return problems
    have = {sample.component for sample in dataset.samples}
    named = [(packed.component, asked_of(packed.component, options)) for packed in chosen]
    asked = [
        component
        for component, mine in named
        if component.name in options.components or (mine.quant_mode and _full(component, mine))
    ]
    return [
        f"--dataset {directory} has no sample of {component.name}, which its texts did not use"
        for component in asked
        if component.name not in have
    ]


def _statistics(model: tuple[str, str], component: Component, options: Options, dataset: Dataset | None) -> Path | None:
    """Return where the statistics of a component are or shall be kept: named by model, data and settings.

    Raises IntegrityError if what is there does not belong to them, or was changed.
    """
    place = options.quantization_statistics_path if options.weight_format == "int4" else None
    if place is None or dataset is None or not dataset.manifest.of(component.name):
        return None
    settings = {name: getattr(options, name) for name in Compression.__dataclass_fields__}
    samples = [sample.sha256 for sample in dataset.chosen(component, options)]
    key = {"model": model, "samples": samples, "settings": settings, "nncf": version("nncf")}
    digest = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
    place /= f"{component.name}-{digest[:16]}"
    if place.exists():
        _require_own_statistics(place, digest)
    else:
        place.mkdir(parents=True)
        (place / KEY).write_text(json.dumps({"key": digest}) + "\n")
    return place


def _require_own_statistics(place: Path, digest: str) -> None:
    """Raise IntegrityError unless the statistics at `place` are whole and belong to the key `digest`."""
    try:
        said = json.loads((place / KEY).read_text())
    except (OSError, ValueError):
        said = {}
    if said.get("key") != digest:
        raise IntegrityError(f"{place} holds statistics of another model, dataset or settings; delete it")
    if "files" in said and said["files"] != _hashes(place / STATISTICS):
        raise IntegrityError(f"{place} holds statistics that were changed since they were made; delete it")
    if "files" not in said:  # of a run that was cut off
        shutil.rmtree(place / STATISTICS, ignore_errors=True)


def _seal_statistics(place: Path) -> None:
    said = json.loads((place / KEY).read_text())
    (place / KEY).write_text(json.dumps(said | {"files": _hashes(place / STATISTICS)}, sort_keys=True) + "\n")


def _hashes(directory: Path) -> dict[str, str]:
    return {path.name: package.sha256(path) for path in sorted(directory.glob("*")) if path.is_file()}


def _copy(source: Path, dest: Path, names: set[str]) -> None:
    for name in sorted(names):
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, dest / name)


def _lineage(
    source: Path, manifest: Manifest, names: Sequence[str], options: Options, dataset: Dataset | None
) -> dict[str, object]:
    """Return the source's lineage with this step added: what it read, with which options and tools."""
    left_out = ("force", "quantization_statistics_path", "dataset")
    chosen = {key: value for key, value in asdict(options).items() if key not in left_out}
    step = {
        "package": package.sha256(source / package.MANIFEST),
        "dataset": dataset.digest if dataset else None,
        "without_samples": [name for name in names if dataset and not dataset.manifest.of(name)],
        "components": list(names),
        "options": chosen,
        "tools": {name: version(name) for name in TOOLS},
    }
    earlier = manifest.lineage.get(LINEAGE, [])
    assert isinstance(earlier, list)
    return {**manifest.lineage, LINEAGE: [*earlier, step]}
