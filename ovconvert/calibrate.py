"""Record what enters each component while a package speaks: the data that quantization is calibrated with.

Every text is spoken once and every voice is heard, with the settings given or else the package's own. What is kept is
spread over the kinds of calls (early and late tokens, every time of the solver, every voice) and bounded in size.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path

from ovconvert import calibration, package
from ovconvert.bench import texts
from ovconvert.bench.texts import Text
from ovconvert.calibration import Calibration, text_hash
from ovconvert.capture import Captured, Collector, with_explicit_cache
from ovconvert.errors import OvconvertError, UsageError
from ovconvert.options import Progress, option, silent
from ovconvert.runtime import find_program
from ovconvert.runtime.request import Request

RECORDINGS = (".wav", ".flac", ".ogg", ".mp3")
TOOLS = ("ovconvert", "openvino", "numpy")
MEGABYTE = 10**6


@dataclass(frozen=True)
class Options(Request):
    """What to speak with whom, and how much of it to keep."""

    texts: Path | None = option(None, "File of texts to speak, one a line, UTF-8 (default: the shipped ones).")
    voices: Path | None = option(None, "Directory of reference recordings (default: those in the package, or --voice).")
    exclude: Path | None = option(None, "File of texts that must not be spoken, such as those of an evaluation, one a line.")
    num_samples: int = option(300, "Most samples of each component.")
    max_megabytes: int = option(1000, "Most megabytes, all components together.")
    threads: int | None = option(None, "Threads of the inference engine (default: the engine decides).")
    force: bool = option(False, "Replace DEST if it is a calibration set.")


def requires(source: Path, options: Options) -> list[str]:
    """Return everything that is wrong with the texts, the voices and the limits."""
    problems = [
        f"{name.replace('_', '-')} {getattr(options, name)}: at least 1"
        for name in ("num_samples", "max_megabytes", "threads")
        if getattr(options, name) is not None and getattr(options, name) < 1
    ]
    manifest = package.load(source)
    program = find_program(manifest.family)
    if not hasattr(program, "speak"):
        problems.append(f"packages of the family {manifest.family!r} do not speak; calibrate records speech")
    for find in (lambda: chosen_texts(options), lambda: recordings(source, options)):
        try:
            find()
        except OvconvertError as error:
            problems.append(str(error))
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the calibration set of the package `source` to `dest`.

    Raises UsageError for a text or recording that cannot be used and if `dest` exists, IntegrityError if the package is
    damaged.
    """
    package.refuse_existing(dest, force=options.force)
    from ovconvert.runtime.engine import Engine

    package.verify(source)
    said, heard = chosen_texts(options), recordings(source, options)
    engine = Engine(source, threads=options.threads)
    described = engine.manifest
    engine.manifest = with_explicit_cache(described)
    rounds = max(len(said), len(heard))
    with package.whole(dest, force=options.force, mark=calibration.MANIFEST) as partial:
        collector = Collector(partial, [packed.component for packed in described.components], options.seed)
        program = find_program(described.family)(Captured(engine, collector))
        for number in range(rounds):
            progress("speak", number, rounds)
            text, voice = number % len(said), number % len(heard)
            collector.begin(text, voice)
            program.speak(said[text].text, _request(options, heard[voice], options.seed + number))
        progress("speak", rounds, rounds)
        samples = collector.samples(options.num_samples, options.max_megabytes * MEGABYTE)
        calibration.save(
            Calibration(
                package=package.sha256(source / package.MANIFEST),
                architecture=calibration.architecture(described),
                source=calibration.source(described),
                texts=tuple(text_hash(text.text) for text in said),
                voices=tuple(package.sha256(path) for path in heard),
                settings=_settings(options),
                tools={name: version(name) for name in TOOLS},
                samples=samples,
            ),
            partial,
        )
    return dest


def chosen_texts(options: Options) -> tuple[Text, ...]:
    """Return the texts to speak, without those to leave out. Raises UsageError if none is left."""
    found = texts.of_file(options.texts) if options.texts else texts.shipped(options.language)
    left_out = {text_hash(text.text) for text in texts.of_file(options.exclude)} if options.exclude else set()
    kept = tuple(text for text in found if text_hash(text.text) not in left_out)
    if not kept:
        raise UsageError(f"none of the {len(found)} texts is left: {options.exclude} names them all; give others by --texts")
    return kept


def recordings(source: Path, options: Options) -> tuple[Path, ...]:
    """Return the recordings of the voices to speak with, by name. Raises UsageError if there are none."""
    if options.voice is not None and options.voices is None:
        return (options.voice,)
    place = options.voices or source / package.ASSETS / "voices"
    if place.is_file():
        return (place,)
    found = sorted(path for path in place.glob("*") if path.suffix.lower() in RECORDINGS) if place.is_dir() else []
    if not found:
        where = f"{place} has no recording ({', '.join(RECORDINGS)})" if options.voices else "the package has no voices"
        raise UsageError(f"{where}; give a directory of reference recordings by --voices")
    return tuple(found)


def _request(options: Options, voice: Path, seed: int) -> Request:
    asked = {field.name: getattr(options, field.name) for field in fields(Request)}
    return Request(**asked | {"voice": voice, "seed": seed})


def _settings(options: Options) -> dict[str, object]:
    """Return what of the options decides the samples, beside texts and voices."""
    paths = ("texts", "voices", "exclude", "voice", "emotion_voice", "threads", "force")
    return {name: value for name, value in asdict(options).items() if name not in paths and value is not None}
