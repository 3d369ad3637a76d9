"""Make a package smaller by removing the feed-forward units and attention heads that matter least.

Reads an fp32 or fp16 package and writes another. The graphs are cut, not the checkpoint: a deployed package can be pruned
without PyTorch, every form of a step alike, and the golden tensors stay those of the original network, so that `validate`
shows what pruning did; of their caches, only removed heads go. What was removed, and the scores that decided it, are in the
manifest's lineage.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert import calibration, golden, memory, package
from ovconvert.errors import ConversionError, OvconvertError
from ovconvert.graphs.blocks import Block, Statistics, importance, measure, shrink
from ovconvert.graphs.feed_forward import find_feed_forwards
from ovconvert.graphs.heads import find_heads
from ovconvert.graphs.save import save_ir, share_weights
from ovconvert.graphs.selection import SCOPES, counts, most_important
from ovconvert.options import Progress, option, silent
from ovconvert.package import Manifest, PackedComponent
from ovconvert.quantization.asked import decides
from ovconvert.spec import FLOAT_FORMATS, PRUNED_FLOORS, CacheSpec, Component
from ovconvert.stages import lower

if TYPE_CHECKING:
    import openvino as ov

TOOLS = ("ovconvert", "openvino", "numpy")
MEASURES = ("activation", "magnitude")
PRIMARY = ("with_past", "plain", "full_sequence", "stateful")  # the form that is measured; the others follow it
OWNERS = ("stateful", *PRIMARY, "cross")  # the form whose .bin the others read comes first
LINEAGE = "pruned"
ONNX = "onnx/"  # not taken along: those files are the source's
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Options:
    """What to remove, and by which measure."""

    ffn_width: float | None = option(None, "Share of the units of feed-forwards that stays, between 0 and 1.")
    heads: float | None = option(None, "Share of the heads of each attention that stays, between 0 and 1.")
    components: tuple[str, ...] = option(
        (),
        "Components to prune, comma-separated; the others are copied (default: all that the dataset heard, but those that "
        "make choices, such as the codes of a codec).",
    )
    importance: str = option(
        "activation",
        "What the importance of a unit is: how much its activation varies times the norm of its outgoing weights, which "
        "needs --dataset; or the magnitude of its weights alone.",
        choices=MEASURES,
    )
    scope: str = option(
        "uniform", "The same share of every feed-forward, or one ranking for all of a component.", choices=SCOPES
    )
    multiple: int = option(8, "Units of feed-forwards are kept in multiples of this many.")
    dataset: Path | None = option(None, "Calibration set that 'ovconvert calibrate' made.")
    num_samples: int = option(64, "Samples of the dataset that are used, of each component.")
    force: bool = option(False, "Replace DEST if it is a package.")


@dataclass(frozen=True)
class Kind:
    """A kind of unit: the option that gives the share that stays, what a block and its units are called, how it is found."""

    option: str
    block: str
    units: str
    find: Callable[[ov.Model], Sequence[Block]]


FEED_FORWARD = Kind("ffn_width", "feed-forward", "units", find_feed_forwards)
ATTENTION = Kind("heads", "attention", "heads", find_heads)
KINDS = (FEED_FORWARD, ATTENTION)


@dataclass(frozen=True)
class Decision:
    """What stays of one block, and why: a score per unit, the places of those kept, and the means of all values if known."""

    kind: Kind
    name: str
    scores: np.ndarray  # (units,)
    kept: np.ndarray
    means: np.ndarray | None  # (units x size,)


def requires(source: Path, options: Options) -> list[str]:
    """Return everything that is wrong with the options, and with the package for them."""
    problems = _option_problems(options)
    manifest = package.load(source)
    have = [packed.component.name for packed in manifest.components]
    strange = [name for name in options.components if name not in have]
    problems += [f"no component {name!r} in the package; have: {', '.join(have)}" for name in strange]
    problems += [
        f"{packed.component.name} has {packed.precision} weights; prune the fp32 or fp16 package it came from, then quantize"
        for packed in manifest.components
        if packed.weight_format not in FLOAT_FORMATS
        and (packed.component.name in options.components or not options.components)
    ]
    if options.dataset is not None and options.importance == "activation":
        problems += _dataset_problems(options.dataset, manifest, options)
    return problems or _block_problems(source, manifest, options)


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the package `source` without its least important units to `dest`.

    Raises UsageError if `dest` exists, IntegrityError if the source or the dataset is damaged, ConversionError if the forms
    of a component are not cut alike; then nothing is left behind.
    """
    package.refuse_existing(dest, force=options.force)
    manifest = package.load(source)
    taken = [name for name in manifest.files if not name.startswith(ONNX)]
    package.verify(source, only=taken)
    chosen = {packed.component.name for packed in _chosen(manifest, options)}
    with package.whole(dest, force=options.force) as partial:
        _copy(source, partial, taken)
        packed, report, removed = [], [], {}
        for done, one in enumerate(manifest.components):
            progress(one.component.name, done, len(manifest.components) + 1)
            if one.component.name not in chosen:
                packed.append(one)
                continue
            entry, decisions, cost = prune_component(source, partial, one, options)
            packed.append(entry)
            report.append(cost)
            if decisions:
                removed[one.component.name] = [_told(decision) for decision in decisions]
        progress("hashes", len(manifest.components), len(manifest.components) + 1)
        lineage = _lineage(source, manifest, removed, options)
        package.save(replace(manifest, components=tuple(packed), files=package.seal(partial), lineage=lineage), partial)
        (partial / package.EXPORT_REPORT).write_text(json.dumps(report, indent=2) + "\n")
    progress("done", len(manifest.components) + 1, len(manifest.components) + 1)
    return dest


def decide(source: Path, packed: PackedComponent, options: Options) -> list[Decision]:
    """Return what stays of every block of a component; nothing for one without blocks."""
    model, asked = _read(source, packed, _primary(packed)), _asked(options)
    blocks = {kind: _blocks(kind, model, packed.component) for kind, _ in asked}
    statistics: dict[str, Statistics] = {}
    if any(blocks.values()) and options.importance == "activation":

        def find(probed: ov.Model) -> Sequence[Block]:
            return [block for kind, _ in asked for block in _blocks(kind, probed, packed.component)]

        statistics = measure(model, find, _samples(packed, options))
    means = {name: one.mean for name, one in statistics.items()}
    found = []
    for kind, share in asked:
        scores = [importance(block, statistics.get(block.name)) for block in blocks[kind]]
        numbers = _counts(kind, scores, share, options)
        found += [
            Decision(kind, block.name, score, most_important(score, number), means.get(block.name))
            for block, score, number in zip(blocks[kind], scores, numbers, strict=True)
        ]
    return found


def prune_component(
    source: Path, dest: Path, packed: PackedComponent, options: Options
) -> tuple[PackedComponent, list[Decision], dict[str, Any]]:
    """Write the graphs of one component without its least important units into `dest`, where the source's lie.

    Return its new entry in the manifest, what was decided, and what it cost. A component without blocks stays as it is.
    """
    memory.reset_peak()
    begun = time.perf_counter()
    decisions = decide(source, packed, options)
    entry = _cut(source, dest, packed, decisions) if decisions else packed
    memory.give_back()
    written = {name for graph in packed.graphs.values() for name in (graph.xml, graph.bin)}
    cost = {
        "component": packed.component.name,
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_bytes": memory.peak_bytes(),
        "ir_bytes": sum((dest / name).stat().st_size for name in written),
    }
    return entry, decisions, cost


def ranges(places: Sequence[int]) -> str:
    """Return rising numbers in short: `0-3,7`."""
    found: list[list[int]] = []
    for place in places:
        if found and found[-1][1] + 1 == place:
            found[-1][1] = place
        else:
            found.append([place, place])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def _asked(options: Options) -> list[tuple[Kind, float]]:
    """Return the kinds of units to remove, each with the share that stays."""
    return [(kind, getattr(options, kind.option)) for kind in KINDS if getattr(options, kind.option) is not None]


def _counts(kind: Kind, scores: Sequence[np.ndarray], share: float, options: Options) -> list[int]:
    """Return how many units of each block stay. Of heads every attention keeps the same share: they have one cache."""
    if kind is ATTENTION:
        return counts(scores, share, 1, "uniform")
    return counts(scores, share, options.multiple, options.scope)


def _blocks(kind: Kind, model: ov.Model, component: Component) -> Sequence[Block]:
    """Return the blocks of a kind; no attentions if those with a cache cannot all be cut, or if they have a second cache."""
    blocks, cache = kind.find(model), component.cache
    if kind is ATTENTION and cache is not None:
        caches = sum(len(block.inputs) for block in blocks)
        if cache.cross or caches != 2 * cache.layers:
            return ()
    return blocks


def _apply(model: ov.Model, packed: PackedComponent, form: str, decisions: Sequence[Decision]) -> dict[str, np.ndarray]:
    """Cut a graph of a component in place; return the heads that stay in each input of a cache.

    Raises ConversionError if the graph does not have the blocks that were decided about.
    """
    caches: dict[str, np.ndarray] = {}
    for kind in KINDS:
        wanted = {decision.name: decision for decision in decisions if decision.kind is kind}
        blocks = _blocks(kind, model, packed.component) if wanted else ()
        if {block.name for block in blocks} != set(wanted):
            raise ConversionError(
                f"{packed.component.name}: the forms {form} and {_primary(packed)} have other {kind.block}s; export again"
            )
        for block in blocks:
            decision = wanted[block.name]
            caches |= {name: decision.kept for parameter, _ in block.inputs for name in parameter.output(0).get_names()}
            shrink(block, decision.kept, decision.means)
        model.validate_nodes_and_infer_types()
    return caches


def _cut(source: Path, dest: Path, packed: PackedComponent, decisions: Sequence[Decision]) -> PackedComponent:
    """Write every form of a component without the removed units; return its new entry."""
    component = replace(packed.component, floor_db=PRUNED_FLOORS, pruned=True)
    if component.cache is None or set(packed.graphs) != {"stateful", "with_past"}:
        _write_forms(source, dest, packed, decisions)
        return replace(packed, component=component)
    model = _read(source, packed, "with_past")  # the other form is made from it anew
    caches = _apply(model, packed, "with_past", decisions)
    if caches:
        component = replace(component, cache=_smaller(component.cache, caches))
        _cut_golden(dest / packed.golden, packed.component.cache, caches)
    lower.lower(model, dest, component.name, packed.weight_format, component.cache)
    return replace(packed, component=component)


def _write_forms(source: Path, dest: Path, packed: PackedComponent, decisions: Sequence[Decision]) -> None:
    """Save every form of a component without the removed units; forms share a .bin where they did."""
    forms = sorted(packed.graphs, key=OWNERS.index)
    owner = packed.graphs[forms[0]]
    for form in forms:
        model, graph = _read(source, packed, form), packed.graphs[form]
        if form != "cross":  # keys and values of an encoder's states: no units
            _apply(model, packed, form, decisions)
        pinned = lower.pinned(packed.weight_format)
        save_ir(model, dest / graph.xml, weight_format=packed.weight_format, runtime_options=pinned)
        if form != forms[0] and graph.bin == owner.bin:
            share_weights(dest / graph.xml, dest / owner.xml)


def _smaller(cache: CacheSpec, caches: Mapping[str, np.ndarray]) -> CacheSpec:
    """Return the cache for the heads that stay, which are as many in every layer."""
    (heads,) = {len(kept) for kept in caches.values()}
    return replace(cache, heads=heads)


def _cut_golden(path: Path, cache: CacheSpec | None, caches: Mapping[str, np.ndarray]) -> None:
    """Take the removed heads out of the caches of golden tensors; all else stays as PyTorch gave it."""
    present = {present: caches[past] for past, present in cache.names()} if cache else {}
    kept = {**caches, **present}
    cases, cut = golden.Cases.load(path), golden.Cases()
    for case in cases.names():
        both = [
            {name: value[:, kept[name]] if name in kept else value for name, value in values.items()}
            for values in (cases.inputs(case), cases.outputs(case))
        ]
        cut.add(case, *both)
    cut.save(path)


def _read(source: Path, packed: PackedComponent, form: str) -> ov.Model:
    import openvino as ov

    graph = packed.graphs[form]
    return ov.Core().read_model(source / graph.xml, source / graph.bin)


def _primary(packed: PackedComponent) -> str:
    return next(form for form in PRIMARY if form in packed.graphs)


def _samples(packed: PackedComponent, options: Options) -> list[dict[str, np.ndarray]]:
    assert options.dataset is not None
    listed = calibration.load(options.dataset).of(packed.component.name)[: options.num_samples]
    return calibration.read(options.dataset, listed, packed.component)


def _chosen(manifest: Manifest, options: Options) -> list[PackedComponent]:
    """Return the components that are pruned if they have blocks."""
    if options.components:
        return [packed for packed in manifest.components if packed.component.name in options.components]
    able = [packed for packed in manifest.components if not decides(packed.component)]
    if options.importance == "magnitude" or options.dataset is None:
        return able
    heard = {sample.component for sample in calibration.load(options.dataset).samples}
    return [packed for packed in able if packed.component.name in heard]


def _option_problems(options: Options) -> list[str]:
    found = [] if _asked(options) else ["nothing to remove: give --ffn-width or --heads, the share that stays, such as 0.75"]
    found += [
        f"--{kind.option.replace('_', '-')} is {share}; allowed: a share above 0 and below 1, such as 0.75"
        for kind, share in _asked(options)
        if not 0.0 < share < 1.0
    ]
    found += [
        f"--{name.replace('_', '-')} is {getattr(options, name)}; allowed: 1 or more"
        for name in ("multiple", "num_samples")
        if getattr(options, name) < 1
    ]
    if options.importance == "activation" and options.dataset is None:
        found.append(
            "--importance activation needs --dataset, a directory that 'ovconvert calibrate' made; without data there is "
            "--importance magnitude"
        )
    if options.importance == "magnitude" and options.dataset is not None:
        found.append("--dataset has no use with --importance magnitude, which looks at weights alone")
    return found


def _dataset_problems(directory: Path, manifest: Manifest, options: Options) -> list[str]:
    try:
        dataset = calibration.load(directory)
    except OvconvertError as error:
        return [str(error)]
    if misfits := calibration.misfits(dataset, manifest):
        return [f"--dataset {directory}: {fault}" for fault in misfits]
    heard = {sample.component for sample in dataset.samples}
    return [
        f"--dataset {directory} has no sample of {name}, which its texts did not use; use --importance magnitude for it"
        for name in options.components
        if name not in heard and manifest.has(name)
    ]


def _block_problems(source: Path, manifest: Manifest, options: Options) -> list[str]:
    """Return the components that have nothing to remove, and the blocks of which nothing would be left."""
    found: list[str] = []
    fewer = False
    for packed in _chosen(manifest, options):
        model = _read(source, packed, _primary(packed))
        for kind, share in _asked(options):
            blocks = _blocks(kind, model, packed.component)
            if not blocks and options.components:
                found.append(f"{packed.component.name} has no {kind.block} that can be pruned; leave it or the option out")
            numbers = _counts(kind, [np.arange(1.0, block.units + 1) for block in blocks], share, options)
            fewer = fewer or any(number < block.units for block, number in zip(blocks, numbers, strict=True))
            if kind is FEED_FORWARD and options.scope == "global" and blocks and 0 in numbers:
                least = options.multiple * len(blocks) / sum(block.units for block in blocks)
                found.append(
                    f"--ffn-width {share} leaves less than {options.multiple} units for each feed-forward of "
                    f"{packed.component.name}; allowed: {math.ceil(1000 * least) / 1000} or more, or a smaller --multiple"
                )
                continue
            found += [
                f"--{kind.option.replace('_', '-')} {share} leaves none of the {block.units} {kind.units} of "
                f"{packed.component.name}: {block.name}; give a larger share"
                + (f", or a smaller --multiple than {options.multiple}" if kind is FEED_FORWARD else "")
                for block, number in zip(blocks, numbers, strict=True)
                if number == 0
            ]
    return (
        found if found or fewer else ["nothing would be removed from the package; give smaller shares or other components"]
    )


def _told(decision: Decision) -> dict[str, object]:
    """Return what the lineage says of a block: units before and after, quantiles of their scores, the removed ones.

    `removed` counts the units as they were before this step; `removed_score_share` is their part of the summed squares of
    the scores.
    """
    squares = np.square(decision.scores)
    removed = np.setdiff1d(np.arange(len(squares)), decision.kept)
    share = squares[removed].sum() / max(float(squares.sum()), float(np.finfo(float).tiny))
    return {
        "kind": decision.kind.block,
        "layer": decision.name,
        "units": len(squares),
        "kept": len(decision.kept),
        "score_quantiles": [float(f"{value:.4g}") for value in np.quantile(decision.scores, QUANTILES)],
        "removed_score_share": float(f"{share:.4g}"),
        "removed": ranges(removed.tolist()),
    }


def _copy(source: Path, dest: Path, names: Sequence[str]) -> None:
    for name in names:
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, dest / name)


def _lineage(source: Path, manifest: Manifest, removed: Mapping[str, object], options: Options) -> dict[str, object]:
    """Return the source's lineage with this step added: what it read, what it removed, with which options and tools."""
    step = {
        "package": package.sha256(source / package.MANIFEST),
        "dataset": package.sha256(options.dataset / calibration.MANIFEST) if options.dataset else None,
        "removed": removed,
        "options": {key: value for key, value in asdict(options).items() if key not in ("force", "dataset")},
        "tools": {name: version(name) for name in TOOLS},
    }
    earlier = manifest.lineage.get(LINEAGE, [])
    assert isinstance(earlier, list)
    return {**manifest.lineage, LINEAGE: [*earlier, step]}
