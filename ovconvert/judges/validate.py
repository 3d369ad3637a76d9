"""Replay the golden tensors of a package on its IRs: one row per component, form and size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ovconvert import golden, package
from ovconvert.errors import IntegrityError
from ovconvert.machine import describe
from ovconvert.options import Progress, option, silent
from ovconvert.package import PackedComponent
from ovconvert.report import Measurement, Report, at_least
from ovconvert.runtime.cache import FORMS, open_step
from ovconvert.runtime.engine import Engine, named
from ovconvert.spec import Port

SNR = "SNR"


@dataclass(frozen=True)
class Options:
    """What to validate."""

    components: tuple[str, ...] = option((), "Components to validate, comma-separated; all if empty.")
    floor_db: float | None = option(None, "Lowest SNR that passes, for every component, instead of the package's floors.")
    threads: int | None = option(None, "Threads of the inference engine (default: the engine decides).")


def requires(package_dir: Path, options: Options) -> list[str]:
    """Return what is wrong with the options."""
    problems = [] if options.threads is None or options.threads >= 1 else [f"threads {options.threads}: at least 1"]
    have = {packed.component.name for packed in package.load(package_dir).components}
    strange = [name for name in options.components if name not in have]
    return problems + [f"no component {name!r} in the package; have: {', '.join(sorted(have))}" for name in strange]


def run(package_dir: Path, options: Options, progress: Progress = silent) -> Report:
    """Return the comparison of every graph of the package with PyTorch's golden tensors, and of the forms of a step.

    Raises IntegrityError if a golden file, or any file that it needs, is not the one that the manifest names.
    """
    manifest = package.load(package_dir)
    chosen = [
        packed for packed in manifest.components if packed.component.name in options.components or not options.components
    ]
    _require_sealed(package_dir, manifest.files, chosen)
    rows: list[Measurement] = []
    engine = Engine(package_dir, threads=options.threads)
    for done, packed in enumerate(chosen):
        name = packed.component.name
        progress(name, done, len(chosen))
        floor = packed.floor_db if options.floor_db is None else options.floor_db
        cases = golden.Cases.load(package_dir / packed.golden)
        for form in packed.graphs:
            rows += _replay(engine, packed, form, cases, floor)
            engine.release(name)  # one form in memory at a time
        if "trace" in cases.names():
            rows += _compare_forms(engine, packed, cases, floor)
    progress("done", len(chosen), len(chosen))
    return Report("validate", str(package_dir), describe(), tuple(rows), asdict(options))


def snr_db(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the signal-to-noise ratio 20 log10(|expected| / |expected - found|) in dB; infinite if they are equal.

    It is minus infinity for another shape or a value that is not finite, so that it passes no floor.
    """
    if expected.shape != found.shape or not np.isfinite(found).all():
        return -np.inf
    noise = float(np.linalg.norm(expected.astype(np.float64) - found))
    signal = float(np.linalg.norm(expected.astype(np.float64)))
    if noise == 0.0:
        return np.inf
    return 20.0 * float(np.log10(signal / noise)) if signal else -np.inf


def _replay(engine: Engine, packed: PackedComponent, form: str, cases: golden.Cases, floor: float) -> Iterator[Measurement]:
    """Yield a row per case and output. The stateful form has no cache to set, so it replays the token trace alone."""
    name, cache = packed.component.name, packed.component.cache
    if form == "stateful":
        return
    graph = engine.compiled(name, form)
    wanted = {port.get_any_name() for port in graph.inputs}
    request = graph.create_infer_request()
    for case in cases.names():
        if case == "trace":
            continue
        inputs, expected = cases.inputs(case), cases.outputs(case)
        crossed = dict(cache.cross_names()) if cache else {}
        offered = inputs | {past: expected[present] for past, present in crossed.items()}
        given = {port: value for port, value in offered.items() if port in wanted}
        result = named(packed.component, request.infer(given))
        place = (f"{name} ({form})", f"{case}: {_sizes(packed.component.all_inputs(), inputs)}")
        for port in packed.component.outputs:
            if port.name in result or not crossed:  # one half of a step with cross attention has none of them
                yield _row(*place, port.name, expected[port.name], result[port.name], floor)
        for said, names in (("present.*", dict(cache.names()) if cache else {}), ("present.*.encoder.*", crossed)):
            made = [present for present in names.values() if present in result]
            if made:
                joined = [np.concatenate([values[present].ravel() for present in made]) for values in (expected, result)]
                yield _row(*place, said, joined[0], joined[1], floor)


def _compare_forms(engine: Engine, packed: PackedComponent, cases: golden.Cases, floor: float) -> Iterator[Measurement]:
    """Yield the token trace of every form against PyTorch, and the tokens of the forms against each other."""
    component = packed.component
    outputs = cases.outputs("trace")
    calls = 1 + max(int(name.split(".", 1)[0]) for name in outputs)
    tokens: dict[str, list[int]] = {}
    for form in (form for form in packed.graphs if form in FORMS):
        step = open_step(engine, component.name, form)
        step.reset()
        found: dict[str, list[np.ndarray]] = {port.name: [] for port in component.outputs}
        for part in golden.chunked(component, cases.inputs("trace"), golden.TRACE):
            result = step(**part)
            for port in component.outputs:
                found[port.name].append(result[port.name])
        for port in component.outputs:
            expected = [outputs[f"{call}.{port.name}"] for call in range(calls)]
            pair = [np.concatenate([value.ravel() for value in values]) for values in (expected, found[port.name])]
            yield _row(f"{component.name} ({form})", f"trace: {calls} calls", port.name, pair[0], pair[1], floor)
        tokens[form] = [int(logits.argmax()) for logits in found[component.outputs[0].name]]
        engine.release(component.name)
    reference = [int(outputs[f"{call}.{component.outputs[0].name}"].argmax()) for call in range(calls)]
    for form, chosen in tokens.items():
        same = sum(left == right for left, right in zip(reference, chosen, strict=True))
        # float16 weights may turn a near tie of flat logits, so only the float32 package is asked for PyTorch's tokens; what
        # was pruned gives others
        asked = float(calls) if packed.weight_format == "fp32" and not component.pruned else None
        yield Measurement(
            component.name,
            f"{form} = PyTorch",
            "equal tokens",
            same,
            f"of {calls}",
            asked,
            None if asked is None else same == calls,
        )
    if len(tokens) > 1:
        first, second = list(tokens)[:2]
        same = sum(left == right for left, right in zip(tokens[first], tokens[second], strict=True))
        yield at_least(component.name, f"{first} = {second}", "equal tokens", same, f"of {calls}", float(calls))


def _row(subject: str, case: str, output: str, expected: np.ndarray, found: np.ndarray, floor: float) -> Measurement:
    if expected.dtype.kind == "i":
        equal = float(np.mean(expected == found)) if expected.shape == found.shape else 0.0
        return at_least(subject, case, f"equal values of {output}", equal, "", 1.0)
    error = float(np.abs(expected - found).max()) if expected.shape == found.shape else np.inf
    return at_least(subject, case, f"{SNR} of {output}", snr_db(expected, found), "dB", floor, f"largest error {error:.1e}")


def _sizes(ports: tuple[Port, ...], inputs: Mapping[str, np.ndarray]) -> str:
    """Return the sizes of the dynamic axes in a case, as `mel_frames=24`."""
    sizes = {axis: inputs[port.name].shape[number] for port in ports for number, axis in port.dynamic_axes().items()}
    return " ".join(f"{axis}={size}" for axis, size in sizes.items()) or "fixed"


def _require_sealed(directory: Path, files: Mapping[str, str], chosen: Sequence[PackedComponent]) -> None:
    """Check the hashes of what is about to be used. Raises IntegrityError naming every changed file."""
    graphs = [graph for packed in chosen for graph in packed.graphs.values()]
    names = {name for graph in graphs for name in (graph.xml, graph.bin)} | {packed.golden for packed in chosen}
    missing = sorted(name for name in names if name not in files)
    if missing:
        raise IntegrityError(f"{directory}: the manifest does not list {', '.join(missing)}; export the package again")
    package.verify(directory, only=sorted(names))
