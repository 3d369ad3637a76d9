"""What the runtime's loops ask of a compiled graph, for engines that have none: requests, and outputs with a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.package import PackedComponent


@dataclass(frozen=True)
class Output:
    """An output as the runtime asks for its name."""

    name: str

    def get_names(self) -> set[str]:
        """Return the name."""
        return {self.name}


class Request(Protocol):
    """One run after another of one component, with a state between them where the form has one."""

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool = False) -> dict[Output, np.ndarray]:
        """Run the component on its named inputs."""

    def reset_state(self) -> None:
        """Forget what was read."""


@dataclass(frozen=True)
class Compiled:
    """What stands where the runtime expects a compiled graph."""

    create: Callable[[], Request]

    def create_infer_request(self) -> Request:
        """Return a request with a state of its own."""
        return self.create()


def require_form(packed: PackedComponent, form: str) -> None:
    """Raise UsageError unless the package has the component in `form`."""
    if form not in packed.graphs:
        name = packed.component.name
        raise UsageError(f"component {name!r} has no form {form!r}; have: {', '.join(packed.graphs)}")
