"""Turn text into a WAV with a package."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ovconvert.errors import UsageError
from ovconvert.options import Progress, option, silent
from ovconvert.package import existing_parent
from ovconvert.runtime.request import Request

if TYPE_CHECKING:
    from rich.table import Table

    from ovconvert.runtime.speech import Speech, SpeechProgram

STANDARD = "-"  # input or output


@dataclass(frozen=True)
class Options(Request):
    """A request, its text, and how to deliver it."""

    text: str = option("", "Text to speak; '-' reads standard input.")
    text_file: Path | None = option(None, "File to read the text from, UTF-8.")
    stream: bool = option(
        False, "Write audio while more is made: every sentence a segment, in chunks, unless told otherwise."
    )
    raw: bool = option(False, "With --stream: 16-bit samples without a header.")
    timings: bool = option(False, "Print seconds per component, the real-time factor, and the settings that held.")
    force: bool = option(False, "Replace the output if it exists.")
    threads: int | None = option(None, "Threads of the inference engine (default: the engine decides).")
    cache_dir: Path | None = option(None, "Directory for compiled models, which makes the next start faster.")


def requires(source: Path, options: Options) -> list[str]:
    """Return what is wrong with the options: no text or two, no audio behind a path."""
    problems = []
    if bool(options.text) == bool(options.text_file):
        problems.append("give either TEXT or --text-file" if options.text else "no text: give TEXT or --text-file")
    if options.text_file and not options.text_file.is_file():
        problems.append(f"text file {options.text_file}: no such file")
    if options.raw and not options.stream:
        problems.append("raw samples are written by --stream alone; add it")
    if options.threads is not None and options.threads < 1:
        problems.append(f"threads {options.threads}: at least 1")
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Speak the text of `options` with the package at `source` and write `dest`, whole or not at all.

    What is streamed grows instead, and stays if the work ends early. Raises UsageError for a text that is empty or not
    UTF-8 and for a `dest` that may not be replaced.
    """
    refuse_output(dest, options)
    text = read_text(options)
    from ovconvert.runtime import open_package

    progress("open package", 0, 1)
    model = open_package(source, threads=options.threads, cache_dir=options.cache_dir)
    progress("open package", 1, 1)
    speech = (stream if options.stream else write)(model, text, dest, options, progress)
    for note in speech.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.timings:
        show(speech)
    return dest


def write(model: SpeechProgram, text: str, dest: Path, options: Options, progress: Progress) -> Speech:
    """Speak `text` and write it when it is whole."""
    from ovconvert.runtime.audio import write_wav

    speech = model.speak(text, options, progress)
    dest.parent.mkdir(parents=True, exist_ok=True)
    write_wav(dest, speech.samples, speech.sample_rate, overwrite=options.force)
    return speech


def stream(model: SpeechProgram, text: str, dest: Path, options: Options, progress: Progress) -> Speech:
    """Speak `text` and write it chunk by chunk, to standard output if `dest` says so."""
    from ovconvert.runtime.streaming import Writer, growing
    from ovconvert.runtime.takes import streamed

    asked = replace(options, **streamed(options, model.takes))
    if str(dest) == STANDARD:
        writer = Writer(sys.stdout.buffer, raw=options.raw)
        return model.speak(text, asked, progress, writer.add)
    with growing(dest, raw=options.raw, overwrite=options.force) as writer:
        return model.speak(text, asked, progress, writer.add)


def refuse_output(dest: Path, options: Options) -> None:
    """Raise UsageError unless `dest` is a name of the right kind that is free, or that may be replaced."""
    if str(dest) == STANDARD:
        if not options.stream:
            raise UsageError("standard output takes audio while it is made; add --stream, or name a file")
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal; send the audio to a player or a file: | aplay")
        return
    suffix = ".raw" if options.raw else ".wav"
    if dest.suffix.lower() != suffix:
        raise UsageError(f"output {dest}: only {suffix} is written; name a file that ends so")
    if dest.is_dir():
        raise UsageError(f"output {dest} is a directory; name a file")
    if dest.exists() and not options.force:
        raise UsageError(f"output {dest} exists; name another, or replace it with --force")
    folder = existing_parent(dest.parent)
    if not writable(folder):  # said now, not after minutes of work
        raise UsageError(f"output {dest}: {folder} may not be written to; name another place")


def writable(folder: Path) -> bool:
    """Tell whether files may be made in `folder`."""
    return folder.is_dir() and os.access(folder, os.W_OK)


def read_text(options: Options) -> str:
    """Return the text to speak. Raises UsageError if it is empty or not UTF-8."""
    if options.text_file:
        return decode(options.text_file.read_bytes(), str(options.text_file))
    if options.text == STANDARD:
        return decode(sys.stdin.buffer.read(), "standard input")
    return decode(options.text.encode("utf-8", "surrogateescape"), "TEXT")


def decode(data: bytes, origin: str) -> str:
    """Return `data` as text. Raises UsageError, naming `origin`, if it is not UTF-8 or says nothing."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{origin} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}") from error
    if not text.strip():
        raise UsageError(f"{origin} is empty: nothing to speak")
    return text


def show(speech: Speech) -> None:
    """Print seconds per component, the real-time factor and the settings that held on stderr."""
    from rich.console import Console

    Console(stderr=True).print(table(speech))


def table(speech: Speech) -> Table:
    """Return seconds per component, those that passed, and the real-time factor: seconds that passed per second of audio.

    Below it stand the settings that a package may decide, with the values that held.
    """
    from rich.table import Table

    settings = [f"{name} {value}" for name, value in speech.settings.items()]
    drawn = Table("component", "seconds", caption=", ".join(settings), caption_justify="left")
    for name, seconds in speech.timings.items():
        drawn.add_row(name, f"{seconds:.3f}")
    total = speech.seconds
    drawn.add_section()
    drawn.add_row("all", f"{total:.3f}")
    drawn.add_row("until the first audio", f"{speech.first_audio_seconds:.3f}")
    drawn.add_row("audio", f"{speech.audio_seconds:.3f}")
    drawn.add_row("real-time factor", f"{total / speech.audio_seconds:.3f}" if speech.audio_seconds else "-")
    return drawn
