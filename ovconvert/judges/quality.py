"""Judge the speech of a package offline, beside a reference or by itself.

With --reference, a package or the checkpoint, both speak the same texts: freely, and with the speech codes that the
reference chose. Every change of a mean comes with its interval, the noise floor of the reference against itself, and a
verdict. An utterance that failed counts as the worst and is never left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ovconvert import package
from ovconvert.errors import UsageError
from ovconvert.machine import describe
from ovconvert.options import Progress, option, silent
from ovconvert.quality import rows, texts, verdicts, words
from ovconvert.quality.judging import Panel, instruments, judge, prepare
from ovconvert.quality.metric import FREE
from ovconvert.quality.opening import open_program, open_reference
from ovconvert.quality.rows import Floors
from ovconvert.quality.speaking import Prompt, speak_alone
from ovconvert.report import Exhibit, Measurement, Report
from ovconvert.runtime.request import DECIDED, PROFILES, Request

JUDGE = "quality"


@dataclass(frozen=True)
class Options(Request):
    """A request, what is spoken, what it is judged beside, and what is asked."""

    reference: Path | None = option(None, "Package or checkpoint to judge beside; without it, only what needs none.")
    reference_profile: str | None = option(
        None,
        "The reference speaks with this profile and without the settings given for the package (default: both alike). Then "
        "the MOS proxy is asked between seeds.",
        choices=tuple(PROFILES),
    )
    texts: Path | None = option(None, "File with the texts to speak, UTF-8, one a line (default: the shipped ones).")
    voices: tuple[Path, ...] = option((), "Recordings of voices, files or folders, comma-separated; texts take turns.")
    utterances: int | None = option(None, "Speak only the first so many texts.")
    language_model: Path | None = option(None, "ARPA file of the texts' domain for the recogniser of words.")
    max_mos_drop: float | None = option(0.1, "Largest loss of the MOS proxy that passes.")
    max_wer_rise: float | None = option(1.0, "Largest rise of the word error rate that passes, in points.")
    min_top1: float | None = option(None, "Lowest top-1 agreement of the decoder that passes, in %.")
    teacher_forced: bool = option(True, "Compare the decoders token by token; the two must differ in precision only.")
    examples: int = option(5, "Utterances to hear in an HTML report, the worst first.")
    threads: int | None = option(None, "Threads of the inference engines (default: the engine decides).")


def requires(package_dir: Path, options: Options) -> list[str]:
    """Return what is wrong with the options: numbers, texts, voices, the reference."""
    manifest = package.load(package_dir)
    least = (("utterances", options.utterances, 1), ("threads", options.threads, 1), ("examples", options.examples, 0))
    problems = [f"{name} {value}: at least {low}" for name, value, low in least if value is not None and value < low]
    floors = (("max-mos-drop", options.max_mos_drop), ("max-wer-rise", options.max_wer_rise), ("min-top1", options.min_top1))
    problems += [f"--{name} {value}: at least 0" for name, value in floors if value is not None and value < 0]
    if options.voice is not None:
        problems.append("give the voices with --voices, not --voice")
    if options.language_model is not None and not options.language_model.is_file():
        problems.append(f"language model {options.language_model}: no such file")
    if options.min_top1 is not None and not (options.reference and options.teacher_forced):
        problems.append("--min-top1 needs --reference and --teacher-forced")
    if options.reference_profile is not None and options.reference is None:
        problems.append("--reference-profile needs --reference")
    if options.min_top1 is not None and not _decodes(manifest):
        problems.append("--min-top1 is of decoders, and the package has none")
    problems += _reference_problems(manifest, options)
    try:
        prompts_of(package_dir, options)
    except UsageError as error:
        problems.append(str(error))
    return problems


def run(package_dir: Path, options: Options, progress: Progress = silent) -> Report:
    """Return what the panel hears in a package's speech, and what became of it from the reference to the package.

    Raises what the program of the package raises for a text or a voice that it cannot take.
    """
    prompts = prompts_of(package_dir, options)
    panel = Panel(instruments(options.language_model))
    request = Request(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Request)})
    candidate = open_program(package_dir, options.threads)
    notes = list(panel.missing)
    if len(prompts) < verdicts.FEW:
        notes.append(f"{len(prompts)} utterances are few: intervals are too narrow; speak {verdicts.FEW} or more")
    if options.reference is None:
        spoken = speak_alone(candidate, prompts, request, progress)
        sheet = panel.sheet_alone(spoken, progress)
        counts = [float(max(len(words.words_of(prompt.text)), 1)) for prompt in prompts]
        found = list(rows.alone(sheet, panel.metrics((FREE,)), counts))
        heard = rows.exhibits_alone(spoken, sheet, options.examples)
        notes.append("no reference: nothing was compared, and no floor was asked")
    else:
        reference = prepare(
            open_reference(options.reference, package_dir, options.threads),
            prompts,
            _of_reference(request, options.reference_profile),
            panel,
            teacher_forced=options.teacher_forced and _decodes(package.load(package_dir)),
            progress=progress,
        )
        judged = judge(reference, candidate, panel, progress, request)
        floors = Floors(options.max_mos_drop, options.max_wer_rise, options.min_top1)
        found = list(rows.compared(reference, judged, panel, floors))
        heard = rows.exhibits(reference, judged, options.examples)
        if not judged.paired:
            notes.append("the reference speaks with other settings, so the MOS proxy is asked between seeds")
        if words.WER.name not in panel.make_up and options.max_wer_rise is not None:
            notes.append("the word error rate was not measured, so its floor was not asked")
    return _report(package_dir, options, panel, found, notes, heard)


def prompts_of(package_dir: Path, options: Options) -> tuple[Prompt, ...]:
    """Return what is to be spoken. Raises UsageError if there are no texts or no voices."""
    lines = texts.of_file(options.texts) if options.texts else texts.shipped()
    held = [path for path in (package_dir / package.ASSETS).rglob("*") if path.suffix.lower() in texts.RECORDINGS]
    return texts.prompts(lines[: options.utterances], texts.recordings(options.voices or sorted(held)))


def _of_reference(request: Request, profile: str | None) -> Request:
    """Return what the reference is asked: a profile by itself, or what the package is asked."""
    if profile is None:
        return request
    left_open: dict[str, Any] = dict.fromkeys(DECIDED)
    return dataclasses.replace(request, profile=profile, **left_open)


def _reference_problems(manifest: package.Manifest, options: Options) -> list[str]:
    place = options.reference
    if place is None:
        return []
    if not place.is_dir():
        return [f"reference {place}: no such package or checkpoint"]
    if not (place / package.MANIFEST).is_file():
        return [] if find_spec("torch") else [f"reference {place} is no package, and a checkpoint needs torch"]
    theirs = package.load(place)
    other = (theirs.family, theirs.variant) != (manifest.family, manifest.variant)
    if other and options.teacher_forced and _decodes(manifest):
        return [f"reference {place} is another model ({theirs.family} {theirs.variant}): add --no-teacher-forced"]
    return []


def _decodes(manifest: package.Manifest) -> bool:
    """Tell whether a model chooses tokens one by one, so that two of them can be compared token by token."""
    return any(packed.component.role == "step" for packed in manifest.components)


def _report(
    place: Path,
    options: Options,
    panel: Panel,
    found: list[Measurement],
    notes: list[str],
    heard: tuple[Exhibit, ...],
) -> Report:
    given = dict(_given(options))
    return Report(
        JUDGE, str(place), describe(), tuple(found), {**given, "make_up": panel.make_up}, tuple(notes), exhibits=heard
    )


def _given(options: Options) -> Iterator[tuple[str, object]]:
    """Yield the options that differ from their defaults, paths as text."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value not in (None, (), "", field.default):
            yield field.name, ", ".join(map(str, value)) if isinstance(value, tuple) else _plain(value)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
