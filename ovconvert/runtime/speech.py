"""What a speech program offers and gives: audio as it is made, or whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ovconvert.runtime.request import Request, Resolved
from ovconvert.runtime.takes import Takes


@dataclass(frozen=True)
class Chunk:
    """Audio that follows on the chunk before it, float32 mono in [-1, 1]; `silence` samples of nothing belong behind it.

    It is a segment of the text, or a part of one. A part says of the segment what was known when it was made, the last all.
    """

    samples: np.ndarray
    sample_rate: int
    text: str
    tokens: int
    silence: int
    finished: bool  # False: the segment reached the length limit before the model ended it
    codes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # of the segment, (tokens,)
    segment: int = 0  # its number


@dataclass(frozen=True)
class Speech:
    """A whole utterance, the seconds that each component took, and the request with all that it had left open.

    The seconds of the components add up to more than `seconds`, those that passed, where two of them ran at a time.
    """

    samples: np.ndarray
    sample_rate: int
    request: Resolved
    timings: dict[str, float] = field(default_factory=dict)
    first_audio_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)  # that held, of those that a package may decide

    @property
    def audio_seconds(self) -> float:
        """Length of the audio."""
        return len(self.samples) / self.sample_rate


class SpeechProgram(Protocol):
    """How the components of a family make speech. `takes` says which fields of a request it obeys."""

    takes: Takes

    def stream(self, text: str, request: Request, on_progress: Callable[[str, int, int], None] = ...) -> Iterator[Chunk]:
        """Yield the audio of `text` in chunks, each as soon as it is made."""

    def speak(
        self,
        text: str,
        request: Request,
        on_progress: Callable[[str, int, int], None] = ...,
        on_chunk: Callable[[Chunk], None] = ...,
    ) -> Speech:
        """Return the audio of `text`, chunks joined; each is handed to `on_chunk` as soon as it is made."""
