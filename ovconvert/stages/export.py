"""Export a checkpoint as a package: per component torch -> ONNX -> onnxsim -> OpenVINO IR, with golden tensors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert import golden, memory, package
from ovconvert.errors import EnvironmentFault
from ovconvert.families import AUTO, BringsGraphs, Checkpoint, DropIn, open_checkpoint
from ovconvert.options import Progress, option, silent
from ovconvert.package import Manifest, PackedComponent
from ovconvert.quantization.asked import Asked
from ovconvert.scripted import open_script
from ovconvert.spec import INTEGER_FORMATS, WEIGHT_FORMATS, Component
from ovconvert.stages import lower, quantize, simplify

if TYPE_CHECKING:
    import openvino as ov
    import torch
    from onnx.reference import ReferenceEvaluator

TOOLS = ("ovconvert", "torch", "onnx", "onnxsim", "openvino", "nncf", "numpy")
ONNX = "onnx"
TRACED = "0"  # the golden case whose sizes the trace sees

Arrays = dict[str, np.ndarray]
Network = Callable[[Component, Mapping[str, np.ndarray]], Arrays]  # inputs of a component by port -> its outputs


@dataclass(frozen=True)
class Options:
    """How to export."""

    split: bool = option(True, "Export the decoder as a step with KV cache; --no-split: one full sequence, no cache.")
    weight_format: str = option("fp16", "Precision of the stored weights.", choices=WEIGHT_FORMATS)
    family: str = option(AUTO, "Model family; auto recognises it by the files.")
    model_script: str = option(
        "", "A model of your own: SCRIPT.py:NAME, where NAME describes its components; -m may be left out."
    )
    strict: bool = option(True, "Refuse keys that no network explains; --no-strict leaves them out and names them.")
    keep_onnx: bool = option(False, "Keep the simplified ONNX files in DEST/onnx.")
    seed: int = option(0, "Seed of the inputs of the golden tensors.")
    force: bool = option(False, "Replace DEST if it is a package.")


def requires(source: Path | None, options: Options) -> list[str]:
    """Return what is wrong with `source` and the options."""
    problems = []
    if source is None and not options.model_script:
        problems.append("no checkpoint; give its directory with --model, or a script with --model-script")
    if source is not None and not source.is_dir():
        problems.append(f"no checkpoint at {source}: not a directory")
    if options.model_script and options.family != AUTO:
        problems.append(f"the model script says what the model is; leave --family {options.family} out")
    if options.model_script and not options.split:
        problems.append("the model script says whether its decoder has a cache; leave --no-split out")
    return problems


def run(source: Path | None, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the package of the checkpoint directory `source`, or of the model that a script describes, to `dest`.

    Raises ConversionError for a checkpoint that is not whole or a script that fails, UsageError if `dest` exists,
    EnvironmentFault if the disk is too small; then nothing is left behind.
    """
    package.refuse_existing(dest, force=options.force)
    checkpoint = _open(source, options)
    _require_space(checkpoint, dest)
    components = checkpoint.family.components
    with package.whole(dest, force=options.force) as partial:
        packed, records, report = [], {}, []
        for done, component in enumerate(components):
            progress(component.name, done, len(components) + 1)
            entry, record, cost = export_component(checkpoint, component, partial, options)
            packed.append(entry)
            records[component.name] = record
            report.append(cost)
        progress("assets and hashes", len(components), len(components) + 1)
        checkpoint.write_assets(partial / package.ASSETS)
        if isinstance(checkpoint, DropIn):
            checkpoint.write_beside(partial)
        _write_manifest(partial, source, checkpoint, packed, records, options)
        (partial / package.EXPORT_REPORT).write_text(json.dumps(report, indent=2) + "\n")
    progress("done", len(components) + 1, len(components) + 1)
    return dest


def _open(source: Path | None, options: Options) -> Checkpoint:
    if options.model_script:
        return open_script(options.model_script, source)
    assert source is not None  # required
    return open_checkpoint(source, options.family, split=options.split, strict=options.strict)


def export_component(
    checkpoint: Checkpoint, component: Component, dest: Path, options: Options
) -> tuple[PackedComponent, dict[str, Any], dict[str, Any]]:
    """Export one component into `dest`; return its entry in the manifest, its lineage, and what it cost."""
    memory.reset_peak()
    start = time.perf_counter()
    path = dest / ONNX / f"{component.name}_model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = f"{package.GOLDEN}/{component.name}.npz"
    brought = checkpoint.graph(component.name) if isinstance(checkpoint, BringsGraphs) else None
    if brought is None:
        parameters, simplified = _from_module(checkpoint, component, dest / record, path, options.seed)
    else:
        parameters, simplified = _from_graph(brought, checkpoint, component, dest / record, path, options.seed)
    model = lower.convert(path)
    attentions = _count(model, "ScaledDotProductAttention")
    entry = _lower(model, dest, component, record, options.weight_format)
    lineage = {
        "onnx_nodes": simplified.nodes_before,
        "simplified_nodes": simplified.nodes_after,
        "skipped_optimizers": None if simplified.skipped is None else list(simplified.skipped),
        "attentions": attentions,
    }
    del model, simplified
    if not options.keep_onnx:
        _discard(path)
    cost = {
        "component": component.name,
        "parameters": parameters,
        "seconds": round(time.perf_counter() - start, 2),
        "peak_bytes": memory.peak_bytes(),
        "ir_bytes": sum(
            (dest / name).stat().st_size
            for name in {name for graph in entry.graphs.values() for name in (graph.xml, graph.bin)}
        ),
    }
    return entry, lineage, cost


def _lower(model: ov.Model, dest: Path, component: Component, record: str, weight_format: str) -> PackedComponent:
    """Save a graph in the forms it can have, its weights made small if so asked; return the component's entry."""
    form = "full_sequence" if component.role == "step" and component.cache is None else "plain"
    if weight_format in INTEGER_FORMATS:
        packed = PackedComponent(component, weight_format, {}, record)
        packed = quantize.quantize_model(model, dest, packed, Asked(weight_format))
    else:
        graphs = lower.lower(model, dest, component.name, weight_format, component.cache)
        packed = PackedComponent(component, weight_format, graphs, record, lower.pinned(weight_format))
    return packed if component.cache else replace(packed, graphs={form: packed.graphs["plain"]})


def _from_module(
    checkpoint: Checkpoint, component: Component, record: Path, path: Path, seed: int
) -> tuple[int, simplify.Simplified]:
    """Write the golden tensors of a PyTorch module to `record` and its ONNX to `path`; return its size and the graph."""
    module = checkpoint.build(component.name)
    cases = _record_golden(checkpoint, component, partial(_run, module), seed)
    cases.save(record)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return parameters, _to_onnx(module, component, cases.inputs(TRACED), path)


def _from_graph(
    brought: Path, checkpoint: Checkpoint, component: Component, record: Path, path: Path, seed: int
) -> tuple[int, simplify.Simplified]:
    """Do the same for the ONNX file `brought`. Its golden tensors come from the interpreter that ONNX defines itself by."""
    from onnx.external_data_helper import load_external_data_for_model
    from onnx.reference import ReferenceEvaluator

    from ovconvert.graphs.adopt import adopt
    from ovconvert.graphs.weights import attach, detach

    read = simplify.read_onnx(brought)
    load_external_data_for_model(read, str(brought.parent))
    model = adopt(read, component.inputs, component.outputs)
    _record_golden(checkpoint, component, partial(_evaluate, ReferenceEvaluator(model)), seed).save(record)
    weights = detach(model, brought.parent)
    simplified = simplify.simplify(model)
    attach(simplified.model, weights, path)
    return sum(values.size for values in weights.values()), simplified


def _record_golden(checkpoint: Checkpoint, component: Component, network: Network, seed: int) -> golden.Cases:
    """Run the network at every size of its axes; return inputs and outputs."""
    cases = golden.Cases()
    for number, sizes in enumerate(golden.sizes(component, checkpoint.family.dims)):
        rng = np.random.default_rng([seed, number])
        inputs = checkpoint.example(component.name, sizes, rng)
        inputs |= {
            port.name: rng.standard_normal(port.sized(sizes), dtype=np.float32)
            for port in (component.cache.inputs() if component.cache else ())
        }
        outputs = network(component, inputs)
        cases.add(str(number), inputs, outputs)
    if component.cache is not None:
        chunks = golden.TRACE
        sizes = golden.sizes_of_trace(checkpoint.family.dims, sum(chunks))
        inputs = checkpoint.example(component.name, sizes, np.random.default_rng([seed, len(chunks)]))
        cases.add("trace", inputs, _run_trace(network, component, inputs, chunks))
    return cases


def _evaluate(evaluator: ReferenceEvaluator, component: Component, inputs: Mapping[str, np.ndarray]) -> Arrays:
    names = [port.name for port in component.outputs]
    return dict(zip(names, map(np.asarray, evaluator.run(names, dict(inputs))), strict=True))


def _run(module: torch.nn.Module, component: Component, inputs: Mapping[str, np.ndarray]) -> Arrays:
    import torch

    with torch.inference_mode():
        result = module(*(torch.from_numpy(np.asarray(inputs[port.name])) for port in component.all_inputs()))
    values = result if isinstance(result, tuple) else (result,)
    return {port.name: value.numpy() for port, value in zip(component.all_outputs(), values, strict=True)}


def _run_trace(network: Network, component: Component, inputs: Mapping[str, np.ndarray], chunks: Sequence[int]) -> Arrays:
    """Run a sequence chunk by chunk, each continuing the cache of the one before; return the outputs of all calls."""
    cache = component.cache
    assert cache is not None
    past = golden.empty_past(component, batch=1)
    calls = []
    for part in golden.chunked(component, inputs, chunks):
        result = network(component, {**part, **past})
        past = {name: result.pop(present) for name, present in cache.names()}
        calls.append({port.name: result[port.name] for port in component.outputs})
    return {f"{number}.{name}": value for number, call in enumerate(calls) for name, value in call.items()}


def _to_onnx(
    module: torch.nn.Module, component: Component, example: Mapping[str, np.ndarray], path: Path
) -> simplify.Simplified:
    """Write the simplified ONNX of `module`, traced on `example`, to `path`."""
    from ovconvert.graphs.trace import trace
    from ovconvert.graphs.weights import attach

    simplified = simplify.simplify(trace(module, component.all_inputs(), component.all_outputs(), example))
    attach(simplified.model, dict(module.state_dict()), path)
    return simplified


def _write_manifest(
    dest: Path,
    source: Path | None,
    checkpoint: Checkpoint,
    packed: Sequence[PackedComponent],
    records: Mapping[str, Any],
    options: Options,
) -> None:
    """Write the manifest with the hashes of the package and of the checkpoint's files."""
    chosen = {key: value for key, value in asdict(options).items() if key != "force"}
    lineage: dict[str, object] = {
        "source": {_named(path, source): package.sha256(path) for path in checkpoint.files},
        "tools": {name: version(name) for name in TOOLS},
        "options": chosen,
        "unused_keys": sorted(checkpoint.unused),
        "components": records,
    }
    family = checkpoint.family
    files = package.seal(dest)
    manifest = Manifest(family.name, family.variant, family.sample_rate, family.dims, tuple(packed), files, lineage)
    if missing := manifest.named() - set(files):  # another process meddled with the directory
        raise EnvironmentFault(f"files vanished while the package was made: {', '.join(sorted(missing))}; export again")
    package.save(manifest, dest)


def _named(path: Path, source: Path | None) -> str:
    """Return a file's path inside the checkpoint, its name if it lies elsewhere."""
    inside = source is not None and path.is_relative_to(source)
    return path.relative_to(source).as_posix() if inside and source is not None else path.name


def _require_space(checkpoint: Checkpoint, dest: Path) -> None:
    """Raise EnvironmentFault if the package and its largest ONNX file would not fit on the disk."""
    import shutil

    needed = int(1.5 * sum(path.stat().st_size for path in checkpoint.files))
    free = shutil.disk_usage(package.existing_parent(dest)).free
    if free < needed:
        raise EnvironmentFault(
            f"{dest} may need {needed / 2**30:.1f} GiB and the disk has {free / 2**30:.1f} GiB free; make room or name "
            "another place"
        )


def _count(model: ov.Model, operation: str) -> int:
    return sum(node.get_type_name() == operation for node in model.get_ops())


def _discard(path: Path) -> None:
    for name in (path, path.with_name(path.name + "_data")):
        name.unlink(missing_ok=True)
    if not any(path.parent.iterdir()):
        path.parent.rmdir()
