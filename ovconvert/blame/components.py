"""The components of a package by what they cost: one at a time takes the reference's place, and the loss is heard."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ovconvert.blame.inputs import Calls
from ovconvert.blame.mixed import mixed_program
from ovconvert.blame.outputs import common_form, decibels, error, replay
from ovconvert.options import Progress, silent
from ovconvert.package import Manifest, PackedComponent
from ovconvert.quality import mos
from ovconvert.quality.failures import Failure
from ovconvert.quality.judging import Judged, Panel, failures_of_reference, judge, prepare
from ovconvert.quality.speaking import Prompt
from ovconvert.quality.verdicts import Change
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.request import Request


@dataclass(frozen=True)
class Share:
    """What one component costs, or all together.

    `change` is what became of the MOS proxy with this component from the package and the rest from the reference,
    `divergence` the mean of the decoder's in nats, both None if speech does not use the component. `error` is that of its
    outputs on calls of the reference's run (`outputs.error`), None where no call alone says it.
    """

    name: str
    change: Change | None
    divergence: float | None
    error: float | None
    calls: Calls | None = None

    @property
    def lost(self) -> float:
        """Return the loss of the MOS proxy, 0 if speech does not use the component."""
        return self.change.loss + 0.0 if self.change else 0.0  # + 0.0: no -0


@dataclass(frozen=True)
class Ranking:
    """Components by what they cost, the costliest first (see `severity`); all of them together; and all but the first.

    `excused` says by utterance what failed in the reference's own speech: it is no failure of a component's.
    """

    shares: tuple[Share, ...]
    together: Share
    without_first: Share | None  # None if there is one component only
    excused: tuple[tuple[Failure, ...], ...] = ()


def differing(reference: Manifest, other: Manifest) -> list[str]:
    """Return the components whose graphs are not the same files, or are compiled otherwise."""
    pairs = ((packed, other.packed(packed.component.name)) for packed in reference.components)
    return [
        one.component.name
        for one, two in pairs
        if _content(one, reference) != _content(two, other) or one.runtime_options != two.runtime_options
    ]


def weigh(
    reference: Engine,
    other: Engine,
    names: Sequence[str],
    calls: Mapping[str, Calls],
    prompts: Sequence[Prompt],
    request: Request,
    odd: Collection[str] = (),
    progress: Progress = silent,
) -> Ranking:
    """Return what each of the components `names` of `other` costs in the place of the reference's.

    `odd` are those with weights that stand out (see `severity`).
    """
    panel = Panel((mos.INSTRUMENT,), excuse=True)
    beside = prepare(mixed_program(reference, other, ()), prompts, request, panel, progress=progress)

    @cache
    def heard(*taken: str) -> Judged:
        return judge(beside, mixed_program(reference, other, taken), panel, progress)

    shares = []
    for number, name in enumerate(names):
        progress("components", number, len(names))
        found = error_of(reference, other, name, calls[name])
        judged = heard(name) if calls[name].heard else None
        shares.append(_share(name, judged, found, calls[name]))
    ranked = tuple(sorted(shares, key=lambda share: severity(share, odd)))
    others = [share.name for share in ranked[1:]]
    without = _share(f"all but {ranked[0].name}", heard(*others), None) if others else None
    excused = tuple(failures_of_reference(one) for one in beside.recorded)
    return Ranking(ranked, _share("all together", heard(*names), None), without, excused)


def error_of(reference: Engine, other: Engine, name: str, calls: Calls) -> float | None:
    """Return the error of a component's outputs, None if the packages have no form in common that a call says all about."""
    first, second = (engine.manifest.packed(name) for engine in (reference, other))
    form = common_form(first, second)
    if form is None:
        return None
    found = [replay(engine.compiled(name, form), first.component, calls.inputs) for engine in (reference, other)]
    return error(*found)


def severity(share: Share, odd: Collection[str] = ()) -> tuple[float, bool, float]:
    """Return what shares are sorted by: MOS that is lost, in steps of what matters; then the SNR of the outputs.

    Between the two, a component whose weights stand out, one of `odd`, comes before those that were only rounded: what is
    broken is to blame, even where this text does not let it be heard.
    """
    steps = math.floor(max(share.lost, 0.0) / mos.MOS.matters)
    return -steps, share.name not in odd, decibels(share.error) if share.error is not None else math.inf


def _share(name: str, judged: Judged | None, error: float | None, calls: Calls | None = None) -> Share:
    if judged is None:
        return Share(name, None, None, error, calls)
    divergence = float(np.mean([one.divergence for one in judged.agreements]))
    return Share(name, judged.change(mos.MOS), divergence, error, calls)


def _content(packed: PackedComponent, manifest: Manifest) -> dict[str, tuple[str, str]]:
    return {form: (manifest.files[graph.xml], manifest.files[graph.bin]) for form, graph in packed.graphs.items()}
