"""Settings that are measured against each other: what an ablation adds step by step, and what scaling varies.

A variant changes what the manifest says (form of the decoder step, options of the engine) and what the request asks. It
is data: a new optimisation is a new row of `ADDITIONS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ovconvert.package import Manifest, PackedComponent
from ovconvert.runtime.cache import FORMS
from ovconvert.runtime.takes import Takes, narrowed

KV_CACHE_PRECISION = "KV_CACHE_PRECISION"


@dataclass(frozen=True)
class Variant:
    """Changes against the package as it is: `form` of its steps ("" leaves the fastest), engine options, request settings.

    `exact` is False where the algorithm itself changes, so that another audio comes out.
    """

    name: str = ""
    form: str = ""
    runtime_options: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    exact: bool = True

    def apply(self, manifest: Manifest) -> Manifest:
        """Return the manifest as this variant has it."""
        return dataclasses.replace(manifest, components=tuple(map(self._changed, manifest.components)))

    def _changed(self, packed: PackedComponent) -> PackedComponent:
        if packed.component.cache is None:
            return packed
        graphs = {self.form: packed.graphs[self.form]} if self.form in packed.graphs else packed.graphs
        options = {**packed.runtime_options, **self.runtime_options}
        return dataclasses.replace(packed, graphs=graphs, runtime_options=options)

    def possible(self, manifest: Manifest, takes: Takes) -> bool:
        """Tell whether the package has the form that the variant asks for, and its model one of the settings."""
        steps = [packed for packed in manifest.components if packed.component.cache is not None]
        formed = not self.form or any(self.form in packed.graphs for packed in steps)
        return formed and bool(steps or not self.runtime_options) and bool(not self.request or self.within(takes).request)

    def within(self, takes: Takes) -> Variant:
        """Return the variant with the settings that a model has."""
        return dataclasses.replace(self, request=narrowed(self.request, takes))


ADDITIONS = (
    Variant("whole sequence in every step", form="full_sequence", runtime_options={KV_CACHE_PRECISION: "f32"}),
    Variant("+ explicit cache", form="with_past"),
    Variant("+ cache in the model", form="stateful"),
    Variant("+ cache in f16", runtime_options={KV_CACHE_PRECISION: "f16"}, exact=False),
    Variant("+ latents of the steps", request={"latents": "step", "positions": "contiguous"}, exact=False),
    Variant("+ one beam", request={"num_beams": 1}, exact=False),
    Variant("+ 5 solver steps, dpm++, sway -1", request={"solver": "dpm++", "steps": 5, "sway": -1.0}, exact=False),
    Variant("+ prompt of 5 s", request={"prompt_seconds": 5.0}, exact=False),
    Variant("+ guidance up to t = 0.6", request={"guidance_interval": (0.0, 0.6)}, exact=False),
)
"""What is added, one after the other, from the plain form to the full set."""


def cumulative(additions: tuple[Variant, ...] = ADDITIONS) -> tuple[Variant, ...]:
    """Return one variant per addition, with all that was added before it."""
    found: list[Variant] = []
    last = Variant()
    for addition in additions:
        last = Variant(
            addition.name,
            addition.form or last.form,
            {**last.runtime_options, **addition.runtime_options},
            {**last.request, **addition.request},
            addition.threads or last.threads,
            addition.exact and last.exact,
        )
        found.append(last)
    return tuple(found)


def form_of(packed: PackedComponent) -> str:
    """Return the form of a component that a program uses: of a step the fastest there is, of others the only one."""
    return next((form for form in FORMS if form in packed.graphs), next(iter(packed.graphs)))
