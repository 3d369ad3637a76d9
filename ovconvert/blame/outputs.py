"""How far the outputs of one graph are from another's on the same inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ovconvert.package import PackedComponent
from ovconvert.runtime.engine import named
from ovconvert.spec import Component

FORMS = ("plain", "with_past", "full_sequence")  # those that a single call says all about

Outputs = Sequence[Mapping[str, np.ndarray]]


def common_form(first: PackedComponent, second: PackedComponent) -> str | None:
    """Return a form that both have and whose calls do not depend on calls before, None if there is none."""
    return next((form for form in FORMS if form in first.graphs and form in second.graphs), None)


def replay(compiled: Any, component: Component, calls: Sequence[Mapping[str, np.ndarray]]) -> Outputs:
    """Return the component's outputs by port, of every call, from a compiled graph of any of `FORMS`."""
    wanted = {port.get_any_name() for port in compiled.inputs}
    request = compiled.create_infer_request()
    found = []
    for inputs in calls:
        result = request.infer({name: value for name, value in inputs.items() if name in wanted})
        by_name = named(component, result)
        found.append({port.name: np.array(by_name[port.name]) for port in component.outputs})
    return found


def error(expected: Outputs, found: Outputs) -> float:
    """Return the error of outputs: the mean over calls and ports of |expected - found|^2 / |expected|^2.

    Of integers it is the share that differs. Infinite for another shape or a value that is not finite.
    """
    return float(
        np.mean([_error(one[name], other[name]) for one, other in zip(expected, found, strict=True) for name in one])
    )


def decibels(error: float) -> float:
    """Return an error as a signal-to-noise ratio in dB."""
    if error == 0.0:
        return math.inf
    return -10.0 * math.log10(error) if error < math.inf else -math.inf


def _error(expected: np.ndarray, found: np.ndarray) -> float:
    if expected.shape != found.shape or not np.isfinite(found).all():
        return math.inf
    if expected.dtype.kind in "iu":
        return float(np.mean(expected != found))
    noise = float(np.linalg.norm(expected.astype(np.float64) - found))
    signal = float(np.linalg.norm(expected.astype(np.float64)))
    if noise == 0.0:
        return 0.0
    return (noise / signal) ** 2 if signal else math.inf
