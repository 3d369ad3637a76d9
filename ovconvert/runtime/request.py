"""What a caller asks of a speech program: one frozen dataclass, from which the flags of `speak` are generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ovconvert.errors import UsageError, listing
from ovconvert.options import left_open, option
from ovconvert.runtime.solve import SOLVERS

MAX_TEXT = 5000  # characters; a safeguard of the command line and of services, not a limit of any model
LATENTS = ("second-pass", "step")
POSITIONS = ("original", "contiguous")
SEGMENTS = ("length", "sentence")
PROFILES: dict[str, dict[str, Any]] = {
    "exact": {},
    "fast": {
        "num_beams": 1,
        "latents": "step",
        "positions": "contiguous",
        "solver": "dpm++",
        "steps": 5,
        "sway": -1.0,
        "guidance_interval": (0.0, 0.6),
        "prompt_seconds": 5.0,
    },
}
STREAMING: dict[str, Any] = {"segment_by": "sentence", "chunk_seconds": 2.0}  # what makes the first audio come early


@dataclass(frozen=True)
class Defaults:
    """What holds where neither the caller nor the package says otherwise: the original's values."""

    do_sample: bool = True
    num_beams: int = 3
    top_k: int = 30
    top_p: float = 0.8
    temperature: float = 0.8
    repetition_penalty: float = 10.0
    length_penalty: float = 0.0
    max_new_tokens: int = 1500
    min_new_tokens: int = 0
    latents: str = "second-pass"
    positions: str = "original"
    solver: str = "euler"
    steps: int = 25
    sway: float = 0.0
    guidance: float = 0.7
    guidance_interval: tuple[float, ...] = (0.0, 1.0)
    guidance_every: int = 1
    prompt_seconds: float = 60.0
    segment_by: str = "length"
    segment_tokens: int = 120
    silence_ms: int = 200
    chunk_seconds: float = 0.0


@dataclass(frozen=True)
class Request:
    """Voice, emotion, length, sampling and solver settings of one utterance.

    What stays None is decided by the package, else by `Defaults`; a value that is given always holds.
    """

    voice: Path | None = option(None, "Reference recording of the voice to speak with (any format libsndfile reads).")
    voice_text: str | None = option(
        None,
        "What is said in the reference recording, for models that continue it; without it, the text file beside the "
        "recording (voice.wav: voice.txt).",
    )
    speaker: str | None = option(None, "Name of a speaker that the package stores, for models that have some.")
    instruct_text: str | None = option(None, "How to speak, in words, for models that were trained to be told so.")
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
    do_sample: bool | None = left_open(Defaults.do_sample, "Draw tokens at random, or take the likeliest")
    num_beams: int | None = left_open(Defaults.num_beams, "Beams of the decoder; 1 is fastest")
    top_k: int | None = left_open(Defaults.top_k, "Candidates kept per token; 0 keeps all")
    top_p: float | None = left_open(Defaults.top_p, "Probability mass kept per token")
    temperature: float | None = left_open(Defaults.temperature, "Sampling temperature")
    repetition_penalty: float | None = left_open(Defaults.repetition_penalty, "Penalty of tokens that occurred")
    length_penalty: float | None = left_open(Defaults.length_penalty, "Exponent of the length in the score of a beam")
    max_new_tokens: int | None = left_open(Defaults.max_new_tokens, "Longest segment, in speech tokens")
    min_new_tokens: int | None = left_open(Defaults.min_new_tokens, "Shortest segment, in speech tokens")
    latents: str | None = left_open(
        Defaults.latents,
        "Where the flow's latents come from: a second pass over all tokens, or the steps that drew them",
        choices=LATENTS,
    )
    positions: str | None = left_open(
        Defaults.positions,
        "Positions of the tokens while decoding: the original leaves out position 1, its training and second pass do not",
        choices=POSITIONS,
    )
    solver: str | None = left_open(Defaults.solver, "Method of the flow-matching solver", choices=tuple(SOLVERS))
    steps: int | None = left_open(Defaults.steps, "Steps of the flow-matching solver")
    sway: float | None = left_open(Defaults.sway, "Spacing of the solver's steps: 0 is even, -1 puts more of them early")
    guidance: float | None = left_open(Defaults.guidance, "Strength of guidance; 0 halves the solver's work")
    guidance_interval: tuple[float, ...] | None = left_open(
        Defaults.guidance_interval, "Solver times, from and to, between which guidance acts"
    )
    guidance_every: int | None = left_open(
        Defaults.guidance_every,
        "Guidance is computed at every so-many-th evaluation of the flow, and used again at those between",
    )
    prompt_seconds: float | None = left_open(
        Defaults.prompt_seconds, "The solver hears only the last so many seconds of the reference recording"
    )
    segment_by: str | None = left_open(
        Defaults.segment_by,
        "Where segments of text end: as late as their length allows, or with every sentence, whose audio then comes sooner",
        choices=SEGMENTS,
    )
    segment_tokens: int | None = left_open(Defaults.segment_tokens, "Longest segment of text, in text tokens")
    silence_ms: int | None = left_open(Defaults.silence_ms, "Silence between segments, in milliseconds")
    chunk_seconds: float | None = left_open(
        Defaults.chunk_seconds, "Audio is voiced and given so many seconds at a time; 0: a segment at a time"
    )
    overlap: bool = option(False, "Decode the next segment while this one is solved and voiced.")
    max_reference_seconds: float = option(15.0, "Reference recordings are cut to this length.")
    profile: str = option(
        "exact",
        "Settings that belong together: exact leaves them to the package; fast trades a little for speed. What is given "
        "beside it holds.",
        choices=tuple(PROFILES),
    )

    def __post_init__(self) -> None:
        """Raise UsageError with every value that is out of range."""
        problems = out_of_range(vars(self))
        vector = self.emotion_vector
        if vector is not None and (len(vector) != 8 or not all(0.0 <= weight <= 1.4 for weight in vector)):
            problems.append(f"emotion_vector is {list(vector)}; allowed: eight weights from 0 to 1.4")
        for name, allowed in WORDS.items():
            if getattr(self, name) not in (None, *allowed):
                problems.append(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        given = [name for name in ("emotion_voice", "emotion_vector", "emotion_text") if getattr(self, name) is not None]
        if len(given) > 1:
            problems.append(f"{' and '.join(given)} are given; allowed: one source of emotion")
        if problems:
            raise UsageError(listing("the request cannot be served:", problems))

    def resolved(self, defaults: Mapping[str, Any], profile: Mapping[str, Any] | None = None) -> Resolved:
        """Return the request with everything that it leaves open taken from its profile (or `profile`, what counts of it),
        else from `defaults`, a package's, else the original's.

        Raises UsageError as making a request does.
        """
        asked = {field.name: getattr(self, field.name) for field in fields(Request)}
        said = {name: value for name, value in asked.items() if value is not None}
        decided = {name: value for name, value in defaults.items() if name in DECIDED}
        return Resolved(**decided | dict(PROFILES[self.profile] if profile is None else profile) | said)


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
    ("min_new_tokens", 0, 10_000),
    ("steps", 1, 1000),
    ("sway", -1.0, 1.0),  # beyond, times need not rise
    ("guidance", 0.0, 10.0),
    ("guidance_every", 1, 1000),
    ("prompt_seconds", 0.5, 60.0),
    ("segment_tokens", 10, 600),
    ("silence_ms", 0, 10_000),
    ("chunk_seconds", 0.0, 60.0),
    ("max_reference_seconds", 1.0, 60.0),
)

WORDS = {
    "latents": LATENTS,
    "positions": POSITIONS,
    "solver": tuple(SOLVERS),
    "segment_by": SEGMENTS,
    "profile": tuple(PROFILES),
}
DECIDED = frozenset(field.name for field in fields(Defaults))  # the settings that a package may decide


def out_of_range(given: Mapping[str, Any]) -> list[str]:
    """Return a line for every value that is out of range; None is no value."""
    problems = [
        f"{name} is {given[name]}; allowed: {low} to {high}"
        for name, low, high in RANGES
        if given.get(name) is not None and not low <= given[name] <= high
    ]
    interval = given.get("guidance_interval")
    if interval is not None and (len(interval) != 2 or not 0.0 <= interval[0] <= interval[1] <= 1.0):
        problems.append(f"guidance_interval is {list(interval)}; allowed: two times from 0 to 1 that do not fall")
    return problems


@dataclass(frozen=True)
class Resolved(Defaults, Request):
    """A request that leaves nothing open."""
