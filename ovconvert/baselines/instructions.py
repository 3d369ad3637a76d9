"""What a listener is told before its first token, and which tokens it never says, as its directory has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = "config.json"
GENERATION = "generation_config.json"
PREPROCESSOR = "preprocessor_config.json"
TASK = "transcribe"


@dataclass(frozen=True)
class Instructions:
    """`prompt` says start, language, task, and that no times are wanted; `language` is a token, "" for a model of one.

    `suppressed` never come. The end is among them, so that nothing ends early, and all times: where a decoder finds two of
    them, it may hear a part of the window once more.
    """

    prompt: tuple[int, ...]
    language: str
    suppressed: tuple[int, ...]


def read_instructions(directory: Path, vocabulary: int) -> Instructions:
    """Return those of the directory of a `transformers` model of so many ids, or of one that was made from it.

    The language is the one with the lowest id, as in our program.
    """
    generation = read_object(directory / GENERATION)
    config = read_object(directory / CONFIG)
    start, end = (int({**config, **generation}[key]) for key in ("decoder_start_token_id", "eos_token_id"))
    languages: dict[str, int] = generation.get("lang_to_id") or {}
    if not generation.get("is_multilingual", True):
        languages = {}
    language = min(languages, key=lambda name: languages[name], default="")
    tasks: dict[str, int] = generation.get("task_to_id") or {}
    told = [start, *([languages[language]] if language else []), *([tasks[TASK]] if language and tasks else [])]
    silent = generation.get("no_timestamps_token_id")
    never = generation.get("suppress_tokens") or ()
    if silent is None:
        return Instructions(tuple(told), language, tuple(sorted({*never, end})))
    times = range(silent + 1, vocabulary)
    return Instructions((*told, silent), language, tuple(sorted({*never, end, *times})))


def read_object(path: Path) -> dict[str, Any]:
    """Return what a JSON file says."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
