"""What a program is asked in a benchmark: to speak a text, to transcribe a recording, or to answer a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.runtime import find_program
from ovconvert.runtime.audio import read_audio
from ovconvert.runtime.listening import ListenRequest, Transcript
from ovconvert.runtime.request import Request
from ovconvert.runtime.speech import Speech
from ovconvert.runtime.writing import Answer, WriteRequest

Asked = Request | ListenRequest | WriteRequest
# text is improbable to a model of seeded weights: the work would then be repeated at other temperatures
ONCE = {"temperatures": (0.0,), "logprob_threshold": -1e9}


@dataclass(frozen=True)
class Outcome:
    """What came of one request: seconds of audio made or heard, seconds until the first was made, and what was made.

    `settings` are those that held; `sound` is samples and rate.
    """

    audio_seconds: float | None = None
    first_audio_seconds: float | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    sound: tuple[np.ndarray, int] | None = None


@dataclass(frozen=True)
class Ability:
    """A method of programs, the request that it takes with what stands in it here, and how its result is read.

    `fixed` is what a benchmark decides, since another choice could not be compared.
    """

    method: str
    request: type
    call: Callable[[Any, str, Any], Any]
    outcome: Callable[[Any, str], Outcome]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def asked(self, given: Mapping[str, Any]) -> Asked:
        """Return the request: of `given`, what it has a field for and what is not None."""
        known = {one.name for one in fields(self.request)} - self.fixed.keys()
        kept = {name: value for name, value in given.items() if name in known and value is not None}
        asked: Asked = self.request(**kept, **self.fixed)
        return asked

    def unknown(self, given: Mapping[str, Any]) -> list[str]:
        """Return the names in `given` that it has no field for, or that a benchmark decides."""
        known = {one.name for one in fields(self.request)} - self.fixed.keys()
        return sorted(given.keys() - known)


def _spoken(speech: Speech, text: str) -> Outcome:
    settings = dict(speech.settings)
    return Outcome(speech.audio_seconds, speech.first_audio_seconds, settings, (speech.samples, speech.sample_rate))


def _heard(transcript: Transcript, audio: str) -> Outcome:
    return Outcome(recording_seconds(audio))


def _written(answer: Answer, text: str) -> Outcome:
    return Outcome()


ABILITIES = (
    Ability("speak", Request, lambda program, text, asked: program.speak(text, asked), _spoken),
    Ability("transcribe", ListenRequest, lambda program, audio, asked: program.transcribe(Path(audio), asked), _heard, ONCE),
    Ability("write", WriteRequest, lambda program, text, asked: program.write(text, asked), _written),
)
SPEAKING, LISTENING, WRITING = ABILITIES


def ability_of(family: str) -> Ability:
    """Return what the program of a family is for; to speak if there is no program, which opening it will tell."""
    if not has_program(family):
        return SPEAKING
    program = find_program(family)
    return next(ability for ability in ABILITIES if hasattr(program, ability.method))


def has_program(family: str) -> bool:
    """Tell whether a program of ours runs packages of a family; of others the components alone can be measured."""
    try:
        find_program(family)
    except UsageError:
        return False
    return True


def ability_for(asked: Asked) -> Ability:
    """Return the ability that takes a request."""
    return next(ability for ability in ABILITIES if isinstance(asked, ability.request))


@lru_cache
def recording_seconds(audio: str) -> float:
    """Return the length of a recording. Raises UsageError if it cannot be read."""
    return read_audio(Path(audio), allow_silence=True).seconds
