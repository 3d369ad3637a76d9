"""Model families, found by name: each is a module or package in this directory that offers what `Family` below says."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np

from ovconvert import spec
from ovconvert.errors import ConversionError, UsageError

if TYPE_CHECKING:
    import torch

AUTO = "auto"


class Checkpoint(Protocol):
    """An opened checkpoint whose every key has been checked; nothing is loaded before `build`."""

    family: spec.Family
    files: tuple[Path, ...]  # all that was read, for the digest of the source
    unused: tuple[str, ...]  # keys that inference does not need

    def build(self, component: str) -> torch.nn.Module:
        """Return the network of a component with its weights: positional inputs and outputs as its ports say."""

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return valid inputs of a component at the given sizes, its cache not included."""

    def write_assets(self, dest: Path) -> None:
        """Write what the runtime needs besides graphs into `dest`."""


@runtime_checkable
class DropIn(Protocol):
    """A checkpoint whose package other runtimes can open too, given files of their own beside the graphs."""

    def write_beside(self, dest: Path) -> None:
        """Write the files of other runtimes into the package directory `dest`."""


@runtime_checkable
class BringsGraphs(Protocol):
    """A checkpoint some of whose components are ONNX files already."""

    def graph(self, component: str) -> Path | None:
        """Return the ONNX file of a component, None for one that `build` makes."""


class Module(Protocol):
    """What a family module offers."""

    def recognises(self, source: Path) -> bool:
        """Tell whether the directory `source` looks like a checkpoint of this family."""

    def open_checkpoint(self, source: Path, *, split: bool = True, strict: bool = True) -> Checkpoint:
        """Open and check a checkpoint. Raises ConversionError with every problem found.

        Keys that no network explains are a problem if `strict`, else they count as unused.
        """

    def make_checkpoint(self, dest: Path, *, size: str, seed: int, variant: str = "") -> None:
        """Write a checkpoint with seeded random weights in the published layout."""


def names() -> list[str]:
    """Return the names of all families."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def find(name: str) -> Module:
    """Return the family called `name`. Raises UsageError if there is none."""
    if name not in names():
        raise UsageError(f"no family named {name!r}; have: {', '.join(names())}")
    return cast(Module, importlib.import_module(f"{__name__}.{name}"))


def open_checkpoint(source: Path, family: str = AUTO, *, split: bool = True, strict: bool = True) -> Checkpoint:
    """Open the checkpoint directory `source` as `family`, or as the family that recognises it.

    Raises UsageError if there is no such directory, ConversionError if no family recognises it.
    """
    if not source.is_dir():
        raise UsageError(f"no checkpoint at {source}: not a directory")
    if family != AUTO:
        return find(family).open_checkpoint(source, split=split, strict=strict)
    for name in names():
        if find(name).recognises(source):
            return find(name).open_checkpoint(source, split=split, strict=strict)
    raise ConversionError(
        f"{source} is not a checkpoint of a known family ({', '.join(names())}); "
        "name one with --family to see what is missing"
    )
