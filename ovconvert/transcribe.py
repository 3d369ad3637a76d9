"""Turn a recording into text with a package."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ovconvert.errors import UsageError
from ovconvert.options import Progress, option, silent
from ovconvert.runtime.listening import ListenRequest, Transcript
from ovconvert.text_output import refuse_text, write_text

SUFFIXES = (".txt", ".json", ".srt")


@dataclass(frozen=True)
class Options(ListenRequest):
    """A request, its recording, and how to deliver it."""

    audio: Path | None = option(None, "Recording to transcribe (any format libsndfile reads).")
    force: bool = option(False, "Replace the output if it exists.")
    threads: int | None = option(None, "Threads of the inference engine (default: the engine decides).")
    cache_dir: Path | None = option(None, "Directory for compiled models, which makes the next start faster.")


def requires(source: Path, options: Options) -> list[str]:
    """Return what is wrong with the options: no recording, no threads."""
    problems = [] if options.audio else ["no recording: name an audio file"]
    if options.audio and not options.audio.is_file():
        problems.append(f"recording {options.audio}: no such file")
    if options.threads is not None and options.threads < 1:
        problems.append(f"threads {options.threads}: at least 1")
    return problems


def run(source: Path, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Transcribe the recording of `options` with the package at `source`, print the text, and write `dest`.

    The suffix of `dest` chooses the form: .txt the text, .json passages with times and tokens, .srt subtitles. Raises
    UsageError for another suffix and for a `dest` that may not be replaced.
    """
    refuse_text(dest, SUFFIXES, force=options.force)
    if options.audio is None:
        raise UsageError("no recording: name an audio file")
    from ovconvert.runtime import open_listener

    progress("open package", 0, 1)
    model = open_listener(source, threads=options.threads, cache_dir=options.cache_dir)
    transcript = model.transcribe(options.audio, options, progress)
    write_text(dest, FORMS[dest.suffix.lower()](transcript))
    print(transcript.text.strip())
    return dest


def as_text(transcript: Transcript) -> str:
    """Return the text, ended by a new line."""
    return transcript.text.strip() + "\n"


def as_json(transcript: Transcript) -> str:
    """Return text, language, and passages with seconds and tokens; no timings, so that equal runs give equal files."""
    content = asdict(transcript)
    del content["timings"]
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def as_subtitles(transcript: Transcript) -> str:
    """Return the passages as SubRip subtitles."""
    blocks = [
        f"{number}\n{moment(passage.start)} --> {moment(passage.end)}\n{passage.text.strip()}\n"
        for number, passage in enumerate(transcript.passages, 1)
    ]
    return "\n".join(blocks)


def moment(seconds: float) -> str:
    """Return a time as SubRip writes it: 00:01:02,345."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"


FORMS = {".txt": as_text, ".json": as_json, ".srt": as_subtitles}
