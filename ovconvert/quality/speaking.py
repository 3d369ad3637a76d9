"""Lets a reference and a candidate speak the same texts: freely, and with the speech codes that the reference chose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np

from ovconvert.errors import QualityError
from ovconvert.options import Progress, silent
from ovconvert.quality.metric import RATE, Take
from ovconvert.runtime import audio
from ovconvert.runtime.request import Request
from ovconvert.runtime.speech import Chunk

SEEDS = 3  # of a reference: what is judged, what it is held against, and the first once more
VOICE_SECONDS = 15.0  # of a recording, as the runner cuts it


class Program(Protocol):
    """What quality asks of a speech program."""

    def stream(self, text: str, request: Request) -> Iterator[Chunk]:
        """Yield the audio of `text`, each chunk with the codes of its segment."""

    def render(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        """Return the audio (samples,) of given speech codes for a text of one segment."""

    def logits(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        """Return the decoder's logits (codes + 1, vocabulary) before each code and after the last, step by step."""


@dataclass(frozen=True)
class Prompt:
    """What is to be said, in whose voice. `name` is what reports call it."""

    name: str
    text: str
    voice: Path


@dataclass(frozen=True, eq=False)
class Segment:
    """A part of a text that is spoken in one go, and the codes (count,) that were chosen for it."""

    text: str
    codes: np.ndarray


@dataclass(frozen=True, eq=False)
class Spoken:
    """One prompt as one side spoke it with one seed: freely, and with the reference's codes of the first seed."""

    free: Take
    given: Take
    segments: tuple[Segment, ...]  # of free running


@dataclass(frozen=True, eq=False)
class Recorded:
    """A prompt as the reference spoke it, with SEEDS seeds. The first is what a candidate is compared with."""

    prompt: Prompt
    takes: tuple[Spoken, ...]

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Return the segments and codes that everybody is given."""
        return self.takes[0].segments


def record(program: Program, prompts: Sequence[Prompt], request: Request, progress: Progress = silent) -> list[Recorded]:
    """Return every prompt as the reference speaks it, with SEEDS seeds from `request.seed` on.

    Raises as the program does for a text or a voice that it cannot take.
    """
    found = []
    for number, prompt in enumerate(prompts):
        progress("the reference speaks", number, len(prompts))
        takes: list[Spoken] = []
        for seed in range(SEEDS):
            asked = replace(request, voice=prompt.voice, seed=request.seed + seed)
            takes.append(_speak(program, prompt, asked, takes[0].segments if takes else None))
        found.append(Recorded(prompt, tuple(takes)))
    progress("the reference speaks", len(prompts), len(prompts))
    return found


def speak(
    program: Program, recorded: Sequence[Recorded], request: Request, progress: Progress = silent, who: str = "the candidate"
) -> list[Spoken]:
    """Return every recorded prompt as a candidate speaks it with the reference's first seed and with its codes.

    Where its numbers overflow, it is silent.
    """
    found = []
    for number, one in enumerate(recorded):
        progress(f"{who} speaks", number, len(recorded))
        try:
            found.append(_speak(program, one.prompt, replace(request, voice=one.prompt.voice), one.segments))
        except QualityError:
            nothing = Take(one.prompt.text, np.zeros(0, np.float32), _heard(one.prompt.voice))
            found.append(Spoken(nothing, nothing, ()))
    progress(f"{who} speaks", len(recorded), len(recorded))
    return found


def speak_alone(program: Program, prompts: Sequence[Prompt], request: Request, progress: Progress = silent) -> list[Spoken]:
    """Return every prompt as a program speaks it freely; nothing is given to it, so both takes are the same."""
    found = []
    for number, prompt in enumerate(prompts):
        progress("the package speaks", number, len(prompts))
        found.append(_speak(program, prompt, replace(request, voice=prompt.voice), ()))
    progress("the package speaks", len(prompts), len(prompts))
    return found


def _speak(program: Program, prompt: Prompt, request: Request, given: Sequence[Segment] | None) -> Spoken:
    chunks = list(program.stream(prompt.text, request))
    parts = [list(part) for _, part in groupby(chunks, lambda chunk: chunk.segment)]
    segments = tuple(Segment(part[-1].text, part[-1].codes) for part in parts)
    rate, silence = chunks[-1].sample_rate, parts[0][-1].silence
    voice = _heard(prompt.voice)

    def take(parts: Sequence[np.ndarray], finished: bool) -> Take:
        samples = audio.resample(audio.Audio(audio.join(parts, silence), rate), RATE).samples
        return Take(prompt.text, samples, voice, finished)

    whole = [np.concatenate([chunk.samples for chunk in part]) for part in parts]
    free = take(whole, all(chunk.finished for chunk in chunks))
    if given == ():
        return Spoken(free, free, segments)
    rendered = [program.render(part.text, part.codes, request) for part in given or segments]
    return Spoken(free, take(rendered, True), segments)


def _heard(path: Path) -> np.ndarray:
    return audio.resample(audio.read_audio(path, max_seconds=VOICE_SECONDS), RATE).samples
