"""An engine of two packages: some components run from one, the rest from the other. No file is copied."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ovconvert.quality.speaking import Program
from ovconvert.runtime import find_program
from ovconvert.runtime.engine import Engine


class Mixed:
    """Takes the place of `engine` in a program; the components named in `taken` run from `other`.

    Both packages must be of one architecture. The assets are those of `engine`. Raises UsageError if `other` lacks one.
    """

    def __init__(self, engine: Engine, other: Engine, taken: Collection[str]) -> None:
        self.directory = engine.directory
        self.seconds = engine.seconds
        components = (
            other.manifest.packed(packed.component.name) if packed.component.name in taken else packed
            for packed in engine.manifest.components
        )
        self.manifest = replace(engine.manifest, components=tuple(components))
        self._engine, self._other, self._taken = engine, other, frozenset(taken)

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run component `name` once, as the engine does that it comes from."""
        return self._owner(name).run(name, **inputs)

    def compiled(self, name: str, form: str = "plain") -> Any:
        """Return component `name`, compiled by the engine that it comes from."""
        return self._owner(name).compiled(name, form)

    def release(self, *names: str) -> None:
        """Give back the memory of components."""
        for name in names:
            self._owner(name).release(name)

    def _owner(self, name: str) -> Engine:
        return self._other if name in self._taken else self._engine


def mixed_program(engine: Engine, other: Engine, taken: Collection[str]) -> Program:
    """Return the program of `engine` with the components named in `taken` from `other`."""
    return cast(Program, find_program(engine.manifest.family)(Mixed(engine, other, taken)))
