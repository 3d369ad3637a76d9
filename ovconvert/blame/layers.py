"""The layers of one component by what they cost: their weights are put into the reference's graph, group by group."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovconvert.blame.inputs import Calls
from ovconvert.blame.outputs import common_form, decibels, error, replay
from ovconvert.blame.search import Found, worst_first
from ovconvert.blame.weights import comparable, error_of_weights, read_graph
from ovconvert.graphs.transplant import read_weights, transplant
from ovconvert.options import Progress, silent
from ovconvert.package import PackedComponent
from ovconvert.runtime.engine import ONE_STREAM, Engine

if TYPE_CHECKING:
    import openvino as ov

FACTOR = 4.0  # of an error, 6 dB: errors that differ by less are taken to be one


@dataclass(frozen=True)
class Suspect:
    """A layer, or several that were not worth telling apart.

    `error` is that of the component's outputs when the reference has these weights from the package, `share` its part of
    the error of all layers' weights together; `weights_error` is that of the weights themselves.
    """

    names: tuple[str, ...]
    error: float
    share: float
    weights_error: float
    precision: str


@dataclass(frozen=True)
class Inquiry:
    """What was found out about the layers of a component.

    `whole` is the error of the component as the package has it, `weights` that of the reference with all weights of the
    package. `notes` say what the ranking cannot tell.
    """

    whole: float
    weights: float
    suspects: tuple[Suspect, ...]
    trials: int
    notes: tuple[str, ...]


def inquire(
    reference: Engine,
    other: Engine,
    name: str,
    calls: Calls,
    most: int,
    odd: Collection[str] = (),
    progress: Progress = silent,
) -> Inquiry:
    """Return at most `most` layers of component `name`, the costliest first, and the rest together.

    Those whose weights stand out, `odd`, come before those that were only rounded, and all of them are named. Raises
    KeyError if the packages have no form of it in common (see `common_form`).
    """
    first, second = (engine.manifest.packed(name) for engine in (reference, other))
    form = common_form(first, second)
    if form is None:
        raise KeyError(f"{name}: no common form")
    model = read_graph(reference, name, form)
    mine, given = read_weights(model), read_weights(read_graph(other, name, form))
    shared = comparable(mine, given)
    changed = [layer for layer in shared if not all(map(np.array_equal, mine[layer], given[layer]))]
    expected = replay(reference.compiled(name, form), first.component, calls.inputs)
    whole = error(expected, replay(other.compiled(name, form), first.component, calls.inputs))
    costs: dict[tuple[str, ...], float] = {}

    def cost(group: Sequence[str]) -> float:
        if tuple(group) not in costs:
            progress(f"layers of {name}", len(costs), len(costs) + 1)
            compiled = _compiled(reference, first, transplant(model, {layer: given[layer] for layer in group}))
            costs[tuple(group)] = error(expected, replay(compiled, first.component, calls.inputs))
        return costs[tuple(group)]

    together = cost(changed) if changed else 0.0
    broken = [Found((layer,), cost([layer])) for layer in changed if layer in odd]
    rounded = [layer for layer in changed if layer not in odd]
    found = sorted(broken, key=lambda one: -one.cost)
    found += worst_first(rounded, cost, max(most - len(broken), 1))
    suspects = tuple(
        Suspect(
            one.names,
            one.cost,
            one.cost / together if 0 < together < np.inf else float("nan"),
            error_of_weights(mine, given, one.names),
            ", ".join(sorted({second.layers[layer].words() for layer in one.names if layer in second.layers})),
        )
        for one in found
    )
    unmatched = sorted({*mine, *given} - set(shared))
    return Inquiry(whole, together, suspects, len(costs), tuple(_notes(whole, together, unmatched)))


def _notes(whole: float, weights: float, unmatched: Sequence[str]) -> list[str]:
    """Return what the ranking of layers cannot tell."""
    notes = []
    if unmatched:
        notes.append(
            f"{len(unmatched)} layers are in one of the two only and were not exchanged: {', '.join(unmatched[:5])}"
        )
    if weights > FACTOR * whole:
        notes.append(
            f"its weights alone give {decibels(weights):.1f} dB, worse than the component itself: they were scaled against "
            "its activations (SmoothQuant, AWQ), and the ranking of its layers means little"
        )
    elif whole > FACTOR * weights:
        notes.append(
            f"all its layers' weights together give {decibels(weights):.1f} dB, better than the component itself: most "
            "of the loss is in no layer's weight: biases, other constants, or the precision of activations"
        )
    return notes


def _compiled(engine: Engine, packed: PackedComponent, model: ov.Model) -> ov.CompiledModel:
    import openvino as ov

    return ov.Core().compile_model(model, "CPU", {**ONE_STREAM, **packed.runtime_options})
