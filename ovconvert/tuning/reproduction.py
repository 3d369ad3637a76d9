"""The recipe that makes the chosen point again: the same package bit for bit, and a sentence spoken with its settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ovconvert.bench.texts import Text
from ovconvert.machine import Machine
from ovconvert.runtime.request import Request
from ovconvert.stages import quantize
from ovconvert.tuning.search import Verdict
from ovconvert.tuning.tuning import Point

NAME = "tuned"


def recipe(
    source: Path,
    asked: quantize.Options,
    point: Point,
    verdicts: Sequence[Verdict],
    request: Request,
    said: tuple[Text, Path | None],
    machine: Machine,
    directory: Path,
) -> str:
    """Return the text of a recipe that lies in `directory`: `quantize` as `asked`, `validate`, and `said` (text, voice)."""
    text, voice = said
    lines = [
        f"# Chosen by 'ovconvert tune': {point.name}, {point.gain.value:.2f} times as fast as the package was, end to end",
        f"# ({point.gain.low:.2f} to {point.gain.high:.2f}), on {machine.processor}, {machine.usable_cores} cores.",
        *(f"# - {_said(verdict, point)}" for verdict in verdicts),
        f'name = "{NAME}"',
        "",
        "[[step]]",
        'verb = "quantize"',
        *_keys({"source": _from(directory, source), "formats": asked.formats}),
        *(_keys({"dataset": _from(directory, asked.dataset)}) if asked.dataset else ()),
        "",
        "[[step]]",
        'verb = "validate"',
        "",
        "# the settings that belong to it",
        "[[step]]",
        'verb = "speak"',
        *_keys({"text": text.text}),
        *(_keys({"voice": _from(directory, voice)}) if voice else ()),
        *_keys(_given(request, directory) | point.settings),
    ]
    return "\n".join(lines) + "\n"


def _said(verdict: Verdict, point: Point) -> str:
    """Return why a component got its precision, or that another point won the race."""
    precision = point.formats[verdict.component]
    won = f"; but {point.name} won the race, in which it is {precision}" if precision != verdict.precision else ""
    return verdict.text + won


def _given(request: Request, directory: Path) -> dict[str, Any]:
    """Return what the request says otherwise than its defaults do."""
    values = ((field.name, getattr(request, field.name), field.default) for field in fields(Request))
    given = {name: value for name, value, default in values if value != default}
    return {name: _from(directory, value) if isinstance(value, Path) else value for name, value in given.items()}


def _from(directory: Path, place: Path) -> str:
    return Path(os.path.relpath(place.absolute(), directory.absolute())).as_posix()


def _keys(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line of TOML per value; its texts, numbers, booleans and lists are written as JSON writes them."""
    for key, value in values.items():
        yield f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)}"
