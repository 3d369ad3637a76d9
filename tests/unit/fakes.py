"""Made-up verbs, so that the command line and the pipeline are tested without any model."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ovconvert import recipe, runtime
from ovconvert.errors import ParityError, UsageError
from ovconvert.machine import describe
from ovconvert.options import Progress, option, silent
from ovconvert.report import Measurement, Report, at_least
from ovconvert.runtime import Request
from ovconvert.runtime.takes import Takes
from ovconvert.verbs import Verb

VERBS = (
    Verb("seedling", "fake_seedling", "Plant.", makes="checkpoint", refusal=UsageError),
    Verb("grow", "fake_grow", "Grow.", reads="checkpoint", makes="package", source=("-m", "--model", "source")),
    Verb(
        "weigh",
        "fake_weigh",
        "Weigh.",
        reads="package",
        makes="report",
        source=("package",),
        refusal=UsageError,
        fault=ParityError,
    ),
)


@dataclass(frozen=True)
class SeedOptions:
    """What to plant."""

    kind: str = option("oak", "Kind.", choices=("oak", "elm"))
    seed: int = option(0, "Seed.")
    force: bool = option(False, "Replace.")


@dataclass(frozen=True)
class GrowOptions:
    """How to grow."""

    water: float = option(1.0, "Litres.", short="w")
    split: bool = option(True, "Split.")
    parts: tuple[str, ...] = option((), "Parts.")
    soil: Path | None = option(None, "Soil.")
    fail: bool = option(False, "Break off half-way.")


@dataclass(frozen=True)
class WeighOptions:
    """How to weigh."""

    floor: float = option(0.0, "Least weight.")


class Garden:
    """The three modules and what they did."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken = False

    def plant(self, source: Path | None, dest: Path, options: SeedOptions, progress: Progress = silent) -> Path:
        self.calls.append("seedling")
        dest.mkdir(parents=True)
        (dest / "seed.txt").write_text(f"{options.kind} {options.seed}")
        return dest

    def grow(self, source: Path, dest: Path, options: GrowOptions, progress: Progress = silent) -> Path:
        self.calls.append("grow")
        progress("grow", 1, 2)
        dest.mkdir(parents=True)
        if self.broken:
            raise KeyboardInterrupt
        (dest / "tree.txt").write_text((source / "seed.txt").read_text() + f" {options.water}")
        return dest

    def weigh(self, package: Path, options: WeighOptions, progress: Progress = silent) -> Report:
        self.calls.append("weigh")
        rows = (
            at_least("trunk", "n=1", "weight", 5.0, "kg", options.floor),
            Measurement("leaf", "n=1", "count", 3.0, ""),
        )
        return Report("weigh", package.name, describe(versions={}), rows)


def install(monkeypatch: pytest.MonkeyPatch) -> Garden:
    """Put the made-up modules where verbs and recipes find them."""
    garden = Garden()

    def thirsty(source: Path, options: GrowOptions) -> list[str]:
        return ["too little water", "no sun"] if options.water <= 0 else []

    members = {
        "fake_seedling": (SeedOptions, lambda source, options: [], garden.plant),
        "fake_grow": (GrowOptions, thirsty, garden.grow),
        "fake_weigh": (WeighOptions, lambda source, options: [], garden.weigh),
    }
    for name, (options, requires, run) in members.items():
        module = ModuleType(name, f"Documentation of {name}.")
        module.Options, module.requires, module.run = options, requires, run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(recipe, "BY_NAME", {verb.name: verb for verb in VERBS})
    return garden


EVERYTHING: Takes = dict.fromkeys((field.name for field in fields(Request)), ())


def speaking(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Let packages of a made-up family have a program that speaks in the voice of a recording, and takes every setting."""
    program = SimpleNamespace(speak=None, taken=lambda manifest: EVERYTHING, NEEDS=("voice",))
    name = f"{runtime.__name__}.programs.{family}"
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.Program = program  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
