"""Turn text into a WAV with a package."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovconvert.errors import UsageError
from ovconvert.options import Progress, option, silent
from ovconvert.package import existing_parent
from ovconvert.runtime.request import DECIDED, Request

if TYPE_CHECKING:
    from rich.table import Table

    from ovconvert.runtime.speech import Speech

STDIN = "-"


@dataclass(frozen=True)
class Options(Request):
    """A request, its text, and how to deliver it."""

    text: str = option("", "Text to speak; '-' reads standard input.")
    text_file: Path | None = option(None, "File to read the text from, UTF-8.")
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
    if options.threads is not None and options.threads < 1:
        problems.append(f"threads {options.threads}: at least 1")
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Speak the text of `options` with the package at `source` and write `dest`, whole or not at all.

    Raises UsageError for a text that is empty or not UTF-8 and for a `dest` that may not be replaced.
    """
    refuse_output(dest, force=options.force)
    text = read_text(options)
    from ovconvert.runtime import open_package
    from ovconvert.runtime.audio import write_wav

    progress("open package", 0, 1)
    model = open_package(source, threads=options.threads, cache_dir=options.cache_dir)
    progress("open package", 1, 1)
    speech = model.speak(text, options, progress)
    dest.parent.mkdir(parents=True, exist_ok=True)
    write_wav(dest, speech.samples, speech.sample_rate, overwrite=options.force)
    for note in speech.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.timings:
        show(speech)
    return dest


def refuse_output(dest: Path, *, force: bool) -> None:
    """Raise UsageError unless `dest` is a WAV file's name that is free or that `force` allows to replace."""
    if dest.suffix.lower() != ".wav":
        raise UsageError(f"output {dest}: only .wav is written; name a file that ends so")
    if dest.is_dir():
        raise UsageError(f"output {dest} is a directory; name a file")
    if dest.exists() and not force:
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
    if options.text == STDIN:
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
    """Return seconds per component, their sum, and the real-time factor: seconds of work per second of audio.

    Below it stand the settings that a package may decide, with the values that held.
    """
    from rich.table import Table

    settings = [f"{name} {value}" for name, value in vars(speech.request).items() if name in DECIDED]
    drawn = Table("component", "seconds", caption=", ".join(settings), caption_justify="left")
    for name, seconds in speech.timings.items():
        drawn.add_row(name, f"{seconds:.3f}")
    total = sum(speech.timings.values())
    drawn.add_section()
    drawn.add_row("all", f"{total:.3f}")
    drawn.add_row("until the first audio", f"{speech.first_audio_seconds:.3f}")
    drawn.add_row("audio", f"{speech.audio_seconds:.3f}")
    drawn.add_row("real-time factor", f"{total / speech.audio_seconds:.3f}" if speech.audio_seconds else "-")
    return drawn
