"""What a program that writes is asked, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ovconvert.options import option
from ovconvert.runtime.decode import Generation, Sampling


@dataclass(frozen=True)
class WriteRequest:
    """How to answer. Raises UsageError with every value that is out of range."""

    do_sample: bool = option(False, "Draw tokens at random, or take the likeliest.")
    num_beams: int = option(1, "Beams of the decoder.")
    top_k: int = option(0, "Candidates kept per token; 0 keeps all.")
    top_p: float = option(1.0, "Probability mass kept per token.")
    temperature: float = option(1.0, "Sampling temperature.")
    repetition_penalty: float = option(1.0, "Penalty of tokens that occurred; 1 is none.")
    length_penalty: float = option(1.0, "Exponent of the length in the score of a beam.")
    max_new_tokens: int = option(256, "Longest answer, in tokens.")
    seed: int = option(0, "Seed of what is drawn at random.")

    def __post_init__(self) -> None:
        Sampling(
            self.do_sample,
            self.num_beams,
            self.top_p,
            self.top_k,
            self.temperature,
            self.repetition_penalty,
            self.length_penalty,
            self.max_new_tokens,
        )


@dataclass(frozen=True)
class Answer:
    """The text, its tokens without the end, and whether the model ended it."""

    text: str
    tokens: tuple[int, ...]
    finished: bool
    timings: dict[str, float] = field(default_factory=dict)


class WritingProgram(Protocol):
    """How the components of a family answer a text."""

    def write(self, text: str, request: WriteRequest, on_progress: Callable[[str, int, int], None] = ...) -> Answer:
        """Return the answer to `text`."""

    def generate(self, ids: Sequence[int], sampling: Sampling) -> Generation:
        """Return the tokens that follow the source `ids`, read as they are."""
