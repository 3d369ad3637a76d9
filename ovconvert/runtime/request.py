"""What a caller asks of a speech program: one frozen dataclass, from which the flags of `speak` are generated."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from ovconvert.errors import UsageError, listing
from ovconvert.options import option

MAX_TEXT = 5000  # characters; a safeguard of the command line and of services, not a limit of any model


@dataclass(frozen=True)
class Request:
    """Voice, emotion, length, sampling and solver settings of one utterance; the defaults are the original's."""

    voice: Path | None = option(None, "Reference recording of the voice to speak with (any format libsndfile reads).")
    emotion_voice: Path | None = option(None, "Recording whose emotion is taken; without it, the voice's own.")
    emotion_alpha: float = option(1.0, "Strength of the emotion, 0 to 1.")
    emotion_vector: tuple[float, ...] | None = option(
        None, "Eight weights: happy, angry, sad, afraid, disgusted, melancholic, surprised, calm."
    )
    emotion_text: str | None = option(
        None, "Text from which the emotion is read, by the package's classifier; empty: the spoken text itself."
    )
    emotion_random: bool = option(False, "Draw a stored emotion vector per emotion instead of the nearest to the voice.")
    language: str = option("auto", "Language of the text, where the model wants to be told: auto, zh, en, ja, ...")
    speed: float = option(1.0, "Speaking rate, 0.5 to 2; 1.25 is a quarter faster.")
    seed: int = option(0, "Seed of every random draw; the same seed gives the same audio.")
    do_sample: bool = option(True, "Draw tokens at random; --no-do-sample takes the likeliest.")
    num_beams: int = option(3, "Beams of the decoder; 1 is fastest.")
    top_k: int = option(30, "Candidates kept per token; 0 keeps all.")
    top_p: float = option(0.8, "Probability mass kept per token.")
    temperature: float = option(0.8, "Sampling temperature.")
    repetition_penalty: float = option(10.0, "Penalty of tokens that occurred.")
    length_penalty: float = option(0.0, "Exponent of the length in the score of a beam.")
    max_new_tokens: int = option(1500, "Longest segment, in speech tokens.")
    steps: int = option(25, "Steps of the flow-matching solver.")
    guidance: float = option(0.7, "Strength of classifier-free guidance; 0 halves the solver's work.")
    segment_tokens: int = option(120, "Longest segment of text, in text tokens.")
    silence_ms: int = option(200, "Silence between segments, in milliseconds.")
    max_reference_seconds: float = option(15.0, "Reference recordings are cut to this length.")

    def __post_init__(self) -> None:
        """Raise UsageError with every value that is out of range."""
        problems = [
            f"{name} is {getattr(self, name)}; allowed: {low} to {high}"
            for name, low, high in RANGES
            if not low <= getattr(self, name) <= high
        ]
        vector = self.emotion_vector
        if vector is not None and (len(vector) != 8 or not all(0.0 <= weight <= 1.4 for weight in vector)):
            problems.append(f"emotion_vector is {list(vector)}; allowed: eight weights from 0 to 1.4")
        given = [name for name in ("emotion_voice", "emotion_vector", "emotion_text") if getattr(self, name) is not None]
        if len(given) > 1:
            problems.append(f"{' and '.join(given)} are given; allowed: one source of emotion")
        if problems:
            raise UsageError(listing("the request cannot be served:", problems))


RANGES: tuple[tuple[str, float, float], ...] = (
    ("emotion_alpha", 0.0, 1.0),
    ("speed", 0.5, 2.0),
    ("seed", 0, 2**63 - 1),
    ("num_beams", 1, 10),
    ("top_k", 0, 1_000_000),
    ("top_p", 0.0, 1.0),
    ("temperature", 0.01, 5.0),
    ("repetition_penalty", 1.0, 100.0),
    ("length_penalty", -5.0, 5.0),
    ("max_new_tokens", 1, 10_000),
    ("steps", 1, 1000),
    ("guidance", 0.0, 10.0),
    ("segment_tokens", 10, 600),
    ("silence_ms", 0, 10_000),
    ("max_reference_seconds", 1.0, 60.0),
)


def changed(request: Request) -> set[str]:
    """Return the names of the fields that differ from their defaults."""
    default = Request()
    return {field.name for field in fields(request) if getattr(request, field.name) != getattr(default, field.name)}
