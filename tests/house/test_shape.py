"""Stages and judges have one shape, and the command line is what their options say."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner
from imports import PACKAGE, module_name, sources

from ovconvert import fields
from ovconvert.cli import TOOLS, cli
from ovconvert.commands import Commands
from ovconvert.report import Report
from ovconvert.verbs import ARTIFACTS, VERBS, Verb

STAGE = ["source", "dest", "options", "progress"]
JUDGE = ["package_dir", "options", "progress"]


def modules(directory: str) -> list[str]:
    """Return the modules of a directory of stages or judges, wherever below it they lie."""
    return [module_name(path, PACKAGE) for path in sources(PACKAGE / directory) if not path.name.startswith("_")]


def faults(module: ModuleType, judges: bool) -> list[str]:
    """Return what is wrong with the shape of a stage or judge."""
    found = [] if (module.__doc__ or "").strip() else ["no docstring"]
    for name in ("Options", "requires", "run"):
        if not hasattr(module, name):
            return [*found, f"no {name}"]
    options = module.Options
    if not dataclasses.is_dataclass(options) or not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return [*found, "Options is not a frozen dataclass"]
    try:
        found += [f"option {field.name} has no help" for field in fields.read(options) if not field.help]
    except (TypeError, KeyError) as error:
        found.append(str(error))
    asked = list(inspect.signature(module.requires).parameters)
    if asked != [(JUDGE if judges else STAGE)[0], "options"]:
        found.append(f"requires({', '.join(asked)})")
    taken = list(inspect.signature(module.run).parameters)
    if taken != (JUDGE if judges else STAGE):
        found.append(f"run({', '.join(taken)})")
    returned = typing.get_type_hints(module.run).get("return")
    if returned is not (Report if judges else Path):
        found.append(f"run returns {returned}")
    return found


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_the_shape(verb: Verb) -> None:
    assert faults(verb.load(), verb.judges) == []
    assert verb.makes in ARTIFACTS
    assert not verb.reads or verb.reads in ARTIFACTS
    assert bool(verb.reads) == bool(verb.source)


def test_every_stage_and_judge_is_a_verb() -> None:
    judges = {verb.module for verb in VERBS if verb.judges}
    assert set(modules("judges")) == judges
    assert set(modules("stages")) == {verb.module for verb in VERBS if ".stages." in verb.module}


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_flags_are_the_fields_of_options(verb: Verb) -> None:
    command = cli.get_command(click.Context(cli), verb.name)
    assert command is not None
    made = {parameter.name for parameter in command.params}
    own = {"reports"} if verb.judges else {verb.dest[-1]}
    own |= {verb.source[-1]} if verb.source else set()
    assert made - own == {field.name for field in fields.read(verb.load().Options)}
    assert not own & {field.name for field in fields.read(verb.load().Options)}


@pytest.mark.parametrize("name", [verb.name for verb in VERBS] + [function.__name__ for function, _ in TOOLS])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert name in CliRunner().invoke(cli, ["--help"]).output


def test_the_guard_can_fail() -> None:
    @dataclasses.dataclass
    class Melted:
        pass

    bad = ModuleType("bad", "")
    assert faults(bad, judges=False) == ["no docstring", "no Options"]
    bad.Options = Melted  # type: ignore[attr-defined]
    bad.requires = lambda options: []  # type: ignore[attr-defined]
    bad.run = lambda source, dest: None  # type: ignore[attr-defined]
    assert "Options is not a frozen dataclass" in faults(bad, judges=False)
    bad.Options = dataclasses.dataclass(frozen=True)(type("Options", (), {}))  # type: ignore[attr-defined]
    assert faults(bad, judges=True) == ["no docstring", "requires(options)", "run(source, dest)", "run returns None"]


def test_a_command_is_made_only_when_it_is_used() -> None:
    def explode() -> click.Command:
        raise AssertionError("made")

    group = Commands("lazy", {"x": ("Text.", explode)})
    assert "Text." in CliRunner().invoke(group, ["--help"]).output
