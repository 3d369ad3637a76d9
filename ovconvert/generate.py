"""Answer a text with a package: translate, summarise, fill in, whatever the model was trained for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovconvert.options import Progress, option, silent
from ovconvert.runtime.writing import WriteRequest
from ovconvert.text_output import refuse_text, write_text

SUFFIXES = (".txt",)


@dataclass(frozen=True)
class Options(WriteRequest):
    """A request, its text, and how to deliver it."""

    text: str = option("", "Text to answer.")
    force: bool = option(False, "Replace the output if it exists.")
    threads: int | None = option(None, "Threads of the inference engine (default: the engine decides).")
    cache_dir: Path | None = option(None, "Directory for compiled models, which makes the next start faster.")


def requires(source: Path, options: Options) -> list[str]:
    """Return what is wrong with the options: no text, no threads."""
    problems = [] if options.text.strip() else ["no text: give TEXT"]
    if options.threads is not None and options.threads < 1:
        problems.append(f"threads {options.threads}: at least 1")
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Answer the text of `options` with the package at `source`, print the answer, and write `dest`.

    Raises UsageError for a `dest` that is no .txt or may not be replaced.
    """
    refuse_text(dest, SUFFIXES, force=options.force)
    from ovconvert.runtime import open_writer

    progress("open package", 0, 1)
    model = open_writer(source, threads=options.threads, cache_dir=options.cache_dir)
    answer = model.write(options.text, options, progress)
    write_text(dest, answer.text + "\n")
    print(answer.text)
    return dest
