"""What a program that listens is asked, and what it gives: text in passages with their times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ovconvert.errors import UsageError, listing
from ovconvert.options import option
from ovconvert.runtime.decode import Generation, Sampling

TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class ListenRequest:
    """How to transcribe. Raises UsageError with every value that is out of range.

    The defaults are those of the published decoder, except that one beam is kept.
    """

    language: str = option("auto", "Language that is spoken, as en or de; auto: the likeliest at the beginning.")
    task: str = option("transcribe", "Write what is said, or translate it into English.", choices=TASKS)
    timestamps: bool = option(False, "Ask the model when each passage begins and ends; always so for long recordings.")
    num_beams: int = option(1, "Beams of the decoder at temperature 0.")
    length_penalty: float = option(1.0, "Exponent of the length in the score of a beam.")
    temperatures: tuple[float, ...] = option(
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), "Tried in turn until the text neither repeats itself nor is too improbable."
    )
    compression_threshold: float = option(2.4, "Text that zlib makes so many times shorter repeats itself.")
    logprob_threshold: float = option(-1.0, "Lowest mean log-probability of a token that is accepted.")
    no_speech_threshold: float = option(0.6, "Improbable text is left out if silence is likelier than this.")
    condition: bool = option(False, "Show the model the text of the windows before.")
    max_new_tokens: int = option(448, "Longest text of a window, in tokens.")
    seed: int = option(0, "Seed of what is drawn at temperatures above 0.")

    def __post_init__(self) -> None:
        checks = (
            ("task", self.task in TASKS, ", ".join(TASKS)),
            ("num_beams", 1 <= self.num_beams <= 10, "1 to 10"),
            ("length_penalty", -5.0 <= self.length_penalty <= 5.0, "-5 to 5"),
            ("temperatures", bool(self.temperatures) and all(0 <= t <= 5 for t in self.temperatures), "some, each 0 to 5"),
            ("max_new_tokens", 1 <= self.max_new_tokens <= 10_000, "1 to 10000"),
            ("no_speech_threshold", 0.0 <= self.no_speech_threshold <= 1.0, "0 to 1"),
            ("seed", 0 <= self.seed < 2**63, "0 or more"),
        )
        problems = [f"{name} is {getattr(self, name)!r}; allowed: {allowed}" for name, ok, allowed in checks if not ok]
        if problems:
            raise UsageError(listing("the request cannot be served:", problems))


@dataclass(frozen=True)
class Passage:
    """Text between two moments of the recording, in seconds, and the tokens that say it, timestamps included."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Transcript:
    """All that was heard. `language` is a code such as en, or "" where the model knows only one."""

    text: str
    passages: tuple[Passage, ...]
    language: str
    timings: dict[str, float] = field(default_factory=dict)


class ListeningProgram(Protocol):
    """How the components of a family turn speech into text."""

    @property
    def window(self) -> int:
        """How many samples are heard at once."""

    def transcribe(
        self, audio: Path, request: ListenRequest, on_progress: Callable[[str, int, int], None] = ...
    ) -> Transcript:
        """Return what is said in the recording at `audio`."""

    def generate(self, samples: np.ndarray, sampling: Sampling) -> Generation:
        """Return the tokens of one window, `samples` (count,) at the rate of the model, heard once."""
