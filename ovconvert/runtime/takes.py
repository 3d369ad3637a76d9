"""Which fields of a request a program obeys: data of the program, held against every request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ovconvert.runtime.request import DECIDED, PROFILES, STREAMING, Request, Resolved

# by the name of a field: the values that the program can give it, none for all that are in range
Takes = Mapping[str, tuple[Any, ...]]
ALL: tuple[Any, ...] = ()

# fields that belong together
FLOW = ("solver", "steps", "sway", "guidance", "guidance_interval", "guidance_every")
SAMPLING = ("do_sample", "top_k", "top_p", "temperature", "max_new_tokens", "min_new_tokens")
BEAMS = ("num_beams", "repetition_penalty", "length_penalty")
EMOTION = ("emotion_voice", "emotion_alpha", "emotion_vector", "emotion_text", "emotion_random")
RECORDING = ("voice", "voice_text", "max_reference_seconds")


def whole(*names: str) -> Takes:
    """Return what takes every value of the fields called `names`, and what every program takes."""
    return dict.fromkeys(("seed", "profile", *names), ALL)


def narrowed(settings: Mapping[str, Any], takes: Takes) -> dict[str, Any]:
    """Return the settings that a program obeys: what is decided for every model may hold what one has not."""
    return {name: value for name, value in settings.items() if name in takes and value in (takes[name] or (value,))}


def streamed(request: Request, takes: Takes) -> dict[str, Any]:
    """Return the settings that let the first audio of a program come early, where a request leaves them open."""
    return {name: value for name, value in narrowed(STREAMING, takes).items() if getattr(request, name) is None}


def resolved(request: Request, takes: Takes, defaults: Mapping[str, Any]) -> tuple[Resolved, list[str]]:
    """Return a request that leaves nothing open, by `defaults` of a package, and a line for all that cannot be obeyed.

    Of a profile counts what the program takes. Raises UsageError as making a request does.
    """
    profile = narrowed(PROFILES[request.profile], takes)
    asked = request.resolved(defaults, profile)
    given = {field.name: value for field in fields(Request) if (value := getattr(request, field.name)) != field.default}
    problems = [f"{name} is {value!r}; this model has no such setting" for name, value in given.items() if name not in takes]
    if problems:
        problems.append(f"leave it out; settings of this model: {', '.join(takes)}")
    problems += [
        f"{name} is {value!r}; this model can do {', '.join(map(repr, allowed))} alone"
        for name, allowed in takes.items()
        if allowed and (value := getattr(asked, name)) not in allowed
    ]
    return asked, problems


def held(asked: Resolved, takes: Takes) -> dict[str, Any]:
    """Return the settings that a program followed, of those that a package may decide."""
    return {name: value for name, value in vars(asked).items() if name in DECIDED and name in takes}
