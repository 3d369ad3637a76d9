"""A recipe: a TOML file of steps, read into typed steps; everything wrong with it is told at once.

    name = "demo"

    [[step]]
    verb = "make-checkpoint"      # a verb of the command line; the other keys are its options
    family = "..."

    [[step]]
    verb = "export"
    source = "@make-checkpoint"   # output of an earlier step, or a path; default: the last output that the verb reads

A relative path is taken from the recipe's directory; `@step/inside` names a file inside an earlier step's output.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovconvert import fields
from ovconvert.errors import UsageError, listing
from ovconvert.verbs import BY_NAME, Verb

STEP_KEYS = ("verb", "name", "source")
RECIPE_KEYS = ("name", "step")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# options about where things lie, which a recipe does not choose
DELIVERY = ("force", "cache_dir", "quantization_statistics_path", "work_dir")
ACCEPTED_ERRORS = (ValueError, UsageError)


@dataclass(frozen=True)
class Step:
    """One step. `source` is "@step", a path or None; `options` is an instance of the verb's `Options`."""

    name: str
    verb: Verb
    source: str | None
    options: Any


@dataclass(frozen=True)
class Recipe:
    """Steps in their order. `directory` is where relative paths begin."""

    name: str
    directory: Path
    steps: tuple[Step, ...]


def reference(text: str | Path) -> tuple[str, str] | None:
    """Return (step, path inside its output) of "@step/inside", None for a path in the file system."""
    text = str(text)
    if not text.startswith("@"):
        return None
    step, _, inside = text[1:].partition("/")
    return step, inside


def load(path: Path) -> Recipe:
    """Return the recipe at `path`. Raises UsageError with everything that is wrong with the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return parse(text, path.absolute().parent, origin=str(path))


def parse(text: str, directory: Path, origin: str = "recipe") -> Recipe:
    """Return the recipe that `text` holds. Raises UsageError with everything that is wrong with it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{origin} is not TOML: {error}") from error
    problems = [_unknown(key, RECIPE_KEYS, "recipe") for key in data if key not in RECIPE_KEYS]
    name = data.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append(f"name = {name!r}: a recipe needs a name of small letters, digits, '-', '_' and '.'")
    tables = data.get("step")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        problems.append("no steps: write at least one [[step]] table")
        tables = []
    steps: list[Step] = []
    for number, table in enumerate(tables, 1):
        step, faults = _read_step(table, number, steps, directory)
        problems += faults
        if step is not None:
            steps.append(step)
    if problems:
        raise UsageError(listing(f"{origin} cannot be used:", problems))
    return Recipe(str(name), directory, tuple(steps))


def _read_step(table: Mapping[str, Any], number: int, earlier: list[Step], directory: Path) -> tuple[Step | None, list[str]]:
    """Return the step and what is wrong with it; the step also where that leaves its verb known, for later steps."""
    word = table.get("verb")
    if not isinstance(word, str) or word not in BY_NAME:
        given = "no verb" if word is None else _unknown(str(word), tuple(BY_NAME), "verb")
        have = f"; have: {', '.join(BY_NAME)}" if word is None else ""
        return None, [f"step {number}: {given}{have}"]
    verb = BY_NAME[word]
    name = table.get("name", word)
    place = f"step {number} ({name})"
    problems = []
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append(f"{place}: name {name!r} is not made of small letters, digits, '-', '_' and '.'")
    elif any(step.name == name for step in earlier):
        problems.append(f"{place}: there is an earlier step of that name; give this one a name of its own")
    source, faults = _read_source(table, verb, earlier, directory)
    options, more = _read_options(table, verb, earlier, directory)
    problems += [f"{place}: {problem}" for problem in [*faults, *more]]
    return Step(str(name), verb, source, options), problems


def _read_source(table: Mapping[str, Any], verb: Verb, earlier: list[Step], directory: Path) -> tuple[str | None, list[str]]:
    given = table.get("source")
    if not verb.reads:
        return None, [] if given is None else [f"{verb.name} reads nothing, but source = {given!r}"]
    if given is None:
        makers = [step for step in earlier if step.verb.makes == verb.reads]
        if not makers:
            return None, [f'missing source: no earlier step makes: {verb.reads}; add one that does, or source = "PATH"']
        return f"@{makers[-1].name}", []
    if not isinstance(given, str):
        return None, [f'source = {given!r} is not a path or an earlier step ("@name")']
    problem = _missing(given, earlier, directory)
    named = reference(given)
    if problem is None and named and not named[1]:
        maker = next(step for step in earlier if step.name == named[0])
        if maker.verb.makes != verb.reads:
            problem = f"{verb.name} reads a {verb.reads}, but {maker.name} makes a {maker.verb.makes}"
    return given, [] if problem is None else [f"source = {given!r}: {problem}"]


def _read_options(table: Mapping[str, Any], verb: Verb, earlier: list[Step], directory: Path) -> tuple[Any, list[str]]:
    options_type = verb.load().Options
    known = {field.name: field for field in fields.read(options_type) if field.name not in DELIVERY}
    problems, values = [], {}
    for key, value in table.items():
        if key in STEP_KEYS:
            continue
        if key not in known:
            problems.append(_unknown(key, (*known, *STEP_KEYS), "key"))
            continue
        try:
            values[key] = known[key].convert(value)
        except ValueError as error:
            problems.append(f"{key} = {error}")
            continue
        if known[key].base is Path:
            items = values[key] if known[key].several else (values[key],)
            faults = (_missing(str(item), earlier, directory) for item in items)
            problems += [f"{key} = {value!r}: {fault}" for fault in faults if fault]
    try:
        return options_type(**values), problems
    except ACCEPTED_ERRORS as error:
        return options_type(), [*problems, str(error)]


def _missing(path: str, earlier: list[Step], directory: Path) -> str | None:
    """Return what is wrong with a path that must exist, None if nothing is."""
    named = reference(path)
    if named is None:
        return None if (directory / path).exists() else f"no such file or directory from {directory}"
    have = [step.name for step in earlier]
    return None if named[0] in have else f"no earlier step {named[0]!r}; have: {', '.join(have) or 'none'}"


def _unknown(word: str, known: Collection[str], what: str) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"have: {', '.join(known)}"
    return f"unknown {what} {word!r}; {hint}"
