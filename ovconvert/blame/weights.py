"""Layers whose weights are further from the reference's than others that are stored alike: what is broken, not rounded."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovconvert.blame.outputs import common_form, decibels, error
from ovconvert.graphs.layers import find_layers
from ovconvert.graphs.transplant import Weights, read_weights
from ovconvert.options import Progress, silent
from ovconvert.runtime.engine import Engine

if TYPE_CHECKING:
    import openvino as ov

ODD = 0.5  # of the median SNR in dB of the layers that are stored alike
BEST_DB = 130.0  # of a median: where most are the same to the bit, those that were rounded to f16 do not stand out


@dataclass(frozen=True)
class Distance:
    """How far the weights of a layer are from the reference's. `kind` is how they are stored."""

    component: str
    layer: str
    error: float
    kind: str


@dataclass(frozen=True)
class Odd:
    """A layer whose weights stand out, and the median SNR in dB of all that are stored alike."""

    distance: Distance
    median_db: float


def distances(reference: Engine, other: Engine, names: Sequence[str], progress: Progress = silent) -> list[Distance]:
    """Return how far the weights of all layers of the components `names` are from the reference's, where both have them."""
    found = []
    for number, name in enumerate(names):
        progress("weights", number, len(names))
        form = common_form(reference.manifest.packed(name), other.manifest.packed(name))
        if form is None:
            continue
        model = read_graph(other, name, form)
        mine, given = read_weights(read_graph(reference, name, form)), read_weights(model)
        kinds = {layer.name: layer.precision.type for layer in find_layers(model)}
        found += [
            Distance(name, layer, error_of_weights(mine, given, [layer]), kinds[layer]) for layer in comparable(mine, given)
        ]
    return found


def odd_ones(found: Sequence[Distance]) -> list[Odd]:
    """Return the layers whose SNR in dB is below ODD of their kind's median, the worst first."""
    kinds: dict[str, list[float]] = {}
    for one in found:
        kinds.setdefault(one.kind, []).append(decibels(one.error))
    medians = {kind: statistics.median(values) for kind, values in kinds.items()}
    odd = [Odd(one, medians[one.kind]) for one in found if decibels(one.error) < ODD * min(medians[one.kind], BEST_DB)]
    return sorted(odd, key=lambda one: -one.distance.error)


def read_graph(engine: Engine, name: str, form: str) -> ov.Model:
    """Return the graph of a component, not compiled."""
    import openvino as ov

    graph = engine.manifest.packed(name).graphs[form]
    return ov.Core().read_model(engine.directory / graph.xml, engine.directory / graph.bin)


def comparable(mine: Weights, given: Weights) -> list[str]:
    """Return the layers that both have, in one shape."""
    return [layer for layer in mine if layer in given and _shapes(mine[layer]) == _shapes(given[layer])]


def error_of_weights(mine: Weights, given: Weights, names: Sequence[str]) -> float:
    """Return the error of the weights of some layers, all of them together."""
    pairs = [pair for name in names for pair in zip(mine[name], given[name], strict=True)]
    joined = [np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1)]
    return error([{"weights": joined[0]}], [{"weights": joined[1]}])


def _shapes(values: Sequence[np.ndarray]) -> list[tuple[int, ...]]:
    return [value.shape for value in values]
