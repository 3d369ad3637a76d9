"""Find the precisions and settings that are fastest on this machine and still pass.

Every component is measured in every precision, in turns, on inputs captured from the package's own run; settings of the
request likewise. What is faster is heard beside the reference, on texts that calibration did not see. At the end what was
chosen races every uniform package. The directory PACKAGE.tune keeps all figures, the package, and a recipe that makes it
again bit for bit; a second call reuses them, and an interrupted one goes on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ovconvert import calibration, package
from ovconvert.bench.texts import Text, of_file, shipped
from ovconvert.errors import OvconvertError, UsageError
from ovconvert.intervals import Estimate
from ovconvert.machine import Machine, describe
from ovconvert.options import Progress, option, silent
from ovconvert.package import sha256
from ovconvert.page.front import GAIN, LOSS, SHORT, Mark, front
from ovconvert.quality import mos, texts, words
from ovconvert.quality.rows import GATE, Floors
from ovconvert.quality.speaking import Prompt
from ovconvert.report import Measurement, Report, Summary, figure, write_whole
from ovconvert.runtime.request import Request
from ovconvert.spec import FLOAT_FORMATS, PRECISIONS
from ovconvert.tuning.hearing import Listener, make_up
from ovconvert.tuning.packages import Shelf
from ovconvert.tuning.reproduction import recipe
from ovconvert.tuning.search import Trial
from ovconvert.tuning.store import Store
from ovconvert.tuning.tuning import Outcome, Point, Tuning

JUDGE = "tune"
RECIPE, PACKAGE, FIGURES, PACKAGES = "recipe.toml", "package", "measured", "packages"


@dataclass(frozen=True)
class Options(Request):
    """A request, what is tried, how it is measured and heard, and what is asked."""

    precisions: tuple[str, ...] = option(
        (), "Precisions to try, comma-separated (default: all that the package can be had in).", choices=PRECISIONS
    )
    settings: bool = option(True, "Also try faster settings: profiles, beams, solver, guidance, prompt.")
    dataset: Path | None = option(None, "Calibration set that 'ovconvert calibrate' made; without it, no int8-full.")
    reference: Path | None = option(None, "Package or checkpoint to hear candidates beside (default: the package itself).")
    texts: Path | None = option(None, "File with the texts to hear, UTF-8, one a line (default: the shipped ones).")
    utterances: int = option(12, "Hear only the first so many texts.")
    voices: tuple[Path, ...] = option((), "Recordings of voices, files or folders, comma-separated; texts take turns.")
    language_model: Path | None = option(None, "ARPA file of the texts' domain for the recogniser of words.")
    text_file: Path | None = option(None, "File with the texts that are spoken for speed (default: those of benchmark).")
    rounds: int = option(5, "Rounds of every race; in each, every competitor has its turn once.")
    max_mos_drop: float | None = option(0.1, "Largest loss of the MOS proxy that passes.")
    max_wer_rise: float | None = option(1.0, "Largest rise of the word error rate that passes, in points.")
    min_top1: float | None = option(None, "Lowest top-1 agreement of the decoder that passes, in %.")
    teacher_forced: bool = option(True, "Compare the decoders token by token.")
    threads: int | None = option(None, "Threads of the inference engines (default: the engine decides).")
    work_dir: Path | None = option(None, "Directory that keeps figures, packages and the recipe (default: PACKAGE.tune).")


def requires(package_dir: Path, options: Options) -> list[str]:
    """Return what is wrong with the package, the numbers, the texts, the voices, the dataset and the reference."""
    manifest = package.load(package_dir)
    least = (("utterances", options.utterances), ("rounds", options.rounds), ("threads", options.threads))
    problems = [f"{name} {value}: at least 1" for name, value in least if value is not None and value < 1]
    floors = (("max-mos-drop", options.max_mos_drop), ("max-wer-rise", options.max_wer_rise), ("min-top1", options.min_top1))
    problems += [f"--{name} {value}: at least 0" for name, value in floors if value is not None and value < 0]
    integers = [one.component.name for one in manifest.components if one.weight_format not in FLOAT_FORMATS]
    if integers:
        problems.append(f"{', '.join(integers)}: quantized already; tune the fp32 or fp16 package that it came from")
    if options.voice is not None:
        problems.append("give the voices with --voices, not --voice")
    if options.language_model is not None and not options.language_model.is_file():
        problems.append(f"language model {options.language_model}: no such file")
    if options.reference is not None and not options.reference.is_dir():
        problems.append(f"reference {options.reference}: no such package or checkpoint")
    elif options.reference is not None and (options.reference / package.MANIFEST).is_file() and options.teacher_forced:
        theirs = package.load(options.reference)
        if (theirs.family, theirs.variant) != (manifest.family, manifest.variant):
            problems.append(f"reference {options.reference} is another model: add --no-teacher-forced")
    if options.min_top1 is not None and not options.teacher_forced:
        problems.append("--min-top1 needs --teacher-forced")
    prompts: tuple[Prompt, ...] = ()
    try:
        prompts = _prompts(package_dir, options)
        _spoken_texts(options)
    except UsageError as error:
        problems.append(str(error))
    if options.dataset is not None:
        problems += _dataset_problems(options.dataset, manifest, prompts)
    elif "int8-full" in options.precisions:
        problems.append("int8-full needs --dataset, a directory that 'ovconvert calibrate' made")
    if "fp32" in options.precisions and any(one.weight_format == "fp16" for one in manifest.components):
        problems.append("fp32 cannot be made of fp16 weights; tune a package exported with --weight-format fp32")
    return problems


def run(package_dir: Path, options: Options, progress: Progress = silent) -> Report:
    """Return what was measured, heard and chosen; write the package and the recipe below the working directory.

    Raises what the program of the package raises for a text or a voice that it cannot take.
    """
    package.verify(package_dir)
    room = options.work_dir or package_dir.absolute().with_name(f"{package_dir.absolute().name}.tune")
    machine, prompts, spoken = describe(), _prompts(package_dir, options), _spoken_texts(options)
    request = Request(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Request)})
    floors = Floors(options.max_mos_drop, options.max_wer_rise, options.min_top1)
    shelf = Shelf(package_dir, room / PACKAGES, options.dataset, options.precisions)
    tuning = Tuning(
        shelf,
        Store(room / FIGURES, _common(package_dir, options, request, machine)),
        Listener(
            options.reference or package_dir,
            package_dir,
            prompts,
            request,
            language_model=options.language_model,
            teacher_forced=options.teacher_forced,
            threads=options.threads,
        ),
        spoken,
        prompts[0].voice,
        request,
        floors,
        progress,
        options.rounds,
        options.threads,
        options.settings,
        {
            "said": [prompt.text for prompt in prompts],
            "voices": [sha256(prompt.voice) for prompt in prompts],
            "make_up": make_up(options.language_model),
            "teacher_forced": options.teacher_forced,
        },
    )
    found = tuning.run()
    notes = [*found.notes, *_notes(found, options, shelf)]
    if found.chosen is not None:
        progress("the chosen package", 0, 1)
        shelf.final(found.chosen.formats, room / PACKAGE, progress)
        asked = shelf.asked(found.chosen.formats)
        said = spoken[0], prompts[0].voice
        text = recipe(package_dir, asked, found.chosen, found.verdicts, request, said, machine, room)
        write_whole(room / RECIPE, text.encode())
        notes.insert(0, f"the recipe that makes the chosen package again: {room / RECIPE}; the package: {room / PACKAGE}")
        progress("the chosen package", 1, 1)
    return Report(
        JUDGE,
        str(package_dir),
        machine,
        tuple(_rows(found, floors)),
        _given(options),
        tuple(notes),
        disturbances=found.disturbances,
        summaries=(_chosen(found), _precisions(found), _settings(found)),
    )


def _rows(found: Outcome, floors: Floors) -> Iterator[Measurement]:
    """Yield the gates of what was chosen, or else of what comes nearest, then every point, setting and component."""
    best = found.chosen or min(found.points, key=lambda one: (one.heard.failed, one.heard.drop()))
    yield from (dataclasses.replace(row, case=f"{best.name}, {row.case}") for row in best.heard.gates(floors))
    yield from _beside_uniform(found)
    for point in found.points:
        yield from _point(point, floors)
    for trial in found.settings:
        yield from _trial("settings", trial.name, trial, "end to end, alone")
    for verdict in found.verdicts:
        calls = found.race.calls.get(verdict.component, {})
        for runner, samples in calls.items():
            case = f"{runner}, {found.race.sizes[verdict.component]}"
            value = sorted(samples)[len(samples) // 2]
            yield Measurement(verdict.component, case, "one call", value, "ms", samples=samples, better="lower")
        for trial in verdict.trials:
            yield from _trial(verdict.component, trial.name, trial, "a call alone")


def _beside_uniform(found: Outcome) -> Iterator[Measurement]:
    """Yield the gate of speed: it fails only where the race shows a uniform package that passes to be faster."""
    uniform, chosen = found.fastest_uniform(), found.chosen
    if chosen is None or uniform is None:
        return
    pace = chosen.against(uniform)
    told = "it is that one" if chosen is uniform else _told(pace)
    yield Measurement(
        GATE,
        chosen.name,
        "times as fast as any uniform setting",
        pace.value,
        "x",
        1.0,
        pace.value >= 1.0 or pace.high >= 1.0,
        f"the fastest that passes: {uniform.name}; {told}",
        pace.low,
        pace.high,
        better="higher",
    )


def _told(pace: Estimate) -> str:
    if pace.low > 1:
        return "faster"
    return "cannot tell: noise decides" if pace.high >= 1 else "slower"


def _point(point: Point, floors: Floors) -> Iterator[Measurement]:
    name, heard = f"point: {point.name}", point.heard
    missed = ", ".join(row.metric for row in heard.gates(floors) if not row.passed)
    case = f"{heard.utterances} utterances"
    gain = point.gain
    yield Measurement(name, "all texts", GAIN, gain.value, "x", low=gain.low, high=gain.high, better="higher")
    yield Measurement(name, "all texts", "RTF", point.pace, "s/s", samples=point.rtf, better="lower")
    detail = f"{SHORT}: {missed}" if missed else ""
    yield Measurement(name, case, LOSS, heard.drop(), "MOS", detail=detail, better="lower")
    for metric, value, unit, better in (
        (f"{words.WER.name}, rise", heard.loss(words.WER), words.WER.unit, "lower"),
        ("top-1 agreement", heard.top1(), "%", "higher"),
        ("KL divergence", heard.divergence(), "nats", "lower"),
    ):
        if not math.isnan(value):
            yield Measurement(name, case, metric, value, unit, better=better)
    yield Measurement(name, case, "failed utterances", heard.failed, "", better="lower")
    yield Measurement(name, "graphs", "size on disk", point.size / 1e6, "MB", better="lower")


def _trial(subject: str, name: str, trial: Trial, of: str) -> Iterator[Measurement]:
    gain = trial.gain
    said = "taken" if trial.taken else "not taken" if trial.heard else "not heard: no faster, or another was taken"
    yield Measurement(
        subject, name, f"times as fast, {of}", gain.value, "x", low=gain.low, high=gain.high, detail=said, better="higher"
    )
    if trial.heard is not None:
        detail = f"{trial.heard.failed} of {trial.heard.utterances} failed, with all that was chosen before"
        metric = f"{mos.MOS.name}, drop"
        yield Measurement(subject, name, metric, trial.heard.drop(), "MOS", detail=detail, better="lower")


def _chosen(found: Outcome) -> Summary:
    """Return the table of all points, the chosen one and the Pareto front marked."""
    shown = (Mark(one.name, one.gain.value, one.heard.drop(), one.passes) for one in found.points)
    best = {mark.name for mark in front(shown)}
    lines = []
    for point in sorted(found.points, key=lambda one: -one.gain.value):
        state = "chosen" if point is found.chosen else "passes" if point.passes else SHORT
        state += ", on the front" if point.name in best else ""
        loss, rise, top1 = point.heard.drop(), point.heard.loss(words.WER), point.heard.top1()
        figures = (figure(point.gain.value), figure(point.pace), f"{loss:.3f}", _shown(rise), _shown(top1))
        lines.append((point.name, *figures, f"{point.size / 1e6:.1f}", state))
    headings = ("point", "times as fast", "RTF", "MOS proxy drop", "WER rise", "top-1, %", "MB", "verdict")
    settings = found.chosen.settings if found.chosen else {}
    said = ", ".join(f"{key} = {value}" for key, value in settings.items()) or "those of the package"
    text = f"Settings of the chosen point: {said}." if found.chosen else "No point passes."
    if alike := found.not_told_apart():
        text += f" Cannot tell which is faster, it or {', '.join(one.name for one in alike)}: noise decides; add --rounds."
    return Summary("Speed and quality of the points", text, headings, tuple(lines))


def _precisions(found: Outcome) -> Summary:
    """Return the verdict of each component, in a sentence."""
    lines = tuple(
        (verdict.component, _shown(found.race.shares.get(verdict.component, 0.0)), verdict.precision, verdict.text)
        for verdict in found.verdicts
    )
    text = "Of each the fastest precision that passes together with what was chosen before it, the costliest first."
    if found.chosen is not None and found.chosen.formats != {one.component: one.precision for one in found.verdicts}:
        text += f" The race was won by another point: {found.chosen.name}."
    return Summary("Precisions", text, ("component", "% of the time", "precision", "why"), lines)


def _settings(found: Outcome) -> Summary:
    lines = tuple(
        (
            trial.name,
            figure(trial.gain.value),
            _shown(trial.heard.drop()) if trial.heard else "not heard",
            "taken" if trial.taken else "-",
        )
        for trial in found.settings
    )
    text = "Each alone for speed; heard with those that were taken before it." if lines else "None was tried."
    return Summary("Settings", text, ("setting", "times as fast", "MOS proxy drop", "verdict"), lines)


def _shown(value: float) -> str:
    return "not measured" if math.isnan(value) else f"{value:.3g}"


def _notes(found: Outcome, options: Options, shelf: Shelf) -> Iterator[str]:
    yield "speed: interleaved rounds, the first text also with a new voice; a call alone at the size that costs most"
    yield "a search one by one: a pair that passes only together is not found"
    if options.dataset is None:
        yield "int8-full was left out: it needs --dataset"
    if found.points and words.WER not in {change.metric for change in found.points[0].heard.changes}:
        yield "the word error rate was not measured, so its floor was not asked"
    yield f"precisions tried: {', '.join(shelf.precisions)}"


def _prompts(package_dir: Path, options: Options) -> tuple[Prompt, ...]:
    """Return what is heard. Raises UsageError if there are no texts or no voices."""
    lines = texts.of_file(options.texts) if options.texts else texts.shipped()
    held = [path for path in (package_dir / package.ASSETS).rglob("*") if path.suffix.lower() in texts.RECORDINGS]
    return texts.prompts(lines[: options.utterances], texts.recordings(options.voices or sorted(held)))


def _spoken_texts(options: Options) -> tuple[Text, ...]:
    return of_file(options.text_file) if options.text_file else shipped(options.language)


def _dataset_problems(directory: Path, manifest: package.Manifest, prompts: tuple[Prompt, ...]) -> list[str]:
    try:
        dataset = calibration.load(directory)
    except OvconvertError as error:
        return [str(error)]
    seen = [prompt.text for prompt in prompts if calibration.text_hash(prompt.text) in dataset.texts]
    found = [f"--dataset {directory}: {fault}" for fault in calibration.misfits(dataset, manifest)]
    return found + [f"--dataset {directory} was captured from a text that is to be heard: {text!r}" for text in seen]


def _common(package_dir: Path, options: Options, request: Request, machine: Machine) -> dict[str, object]:
    """Return what all figures depend on."""
    reference = options.reference
    manifests = {"package": package_dir / package.MANIFEST}
    if options.dataset is not None:
        manifests["dataset"] = options.dataset / calibration.MANIFEST
    if reference is not None and (reference / package.MANIFEST).is_file():
        manifests["reference"] = reference / package.MANIFEST
    return {
        **{name: sha256(path) for name, path in manifests.items()},
        "checkpoint": str(reference) if "reference" not in manifests and reference else "",
        "request": {key: str(value) for key, value in vars(request).items()},
        "machine": [machine.processor, machine.isa, machine.usable_cores, machine.quota_cores],
        "threads": options.threads,
        "tools": {**machine.versions, "ovconvert": version("ovconvert")},
    }


def _given(options: Options) -> dict[str, object]:
    """Return the options that differ from their defaults, paths as text."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value not in (None, (), "", field.default):
            found[field.name] = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    return {key: str(value) if isinstance(value, Path) else value for key, value in found.items()}
