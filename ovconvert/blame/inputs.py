"""What enters the components of a package while it speaks, in memory; golden inputs for those that were not used."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ovconvert import calibration, golden
from ovconvert.capture import EXPLICIT, Captured, Collector, with_explicit_cache
from ovconvert.options import Progress, silent
from ovconvert.package import PackedComponent
from ovconvert.quality.speaking import Prompt
from ovconvert.runtime import find_program
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.request import Request

BUDGET_BYTES = 500 * 10**6  # of samples, all components together
TRACE = "trace"  # a golden case that is no single call


@dataclass(frozen=True, eq=False)
class Calls:
    """Inputs of some calls of a component, by port. `heard` tells whether they come from speech, or are golden ones."""

    inputs: tuple[dict[str, np.ndarray], ...]
    heard: bool


def capture(
    package_dir: Path,
    prompts: Sequence[Prompt],
    request: Request,
    most: int,
    threads: int | None = None,
    progress: Progress = silent,
) -> dict[str, Calls]:
    """Return at most `most` calls of each component of the package at `package_dir`, spread over kinds of calls and prompts.

    Raises as the program does for a text or a voice that it cannot take.
    """
    engine = Engine(package_dir, threads=threads)
    described = engine.manifest
    engine.manifest = with_explicit_cache(described)
    with tempfile.TemporaryDirectory(prefix="ovconvert-blame-") as room:
        place = Path(room)
        collector = Collector(place, [packed.component for packed in described.components], request.seed)
        program = find_program(described.family)(Captured(engine, collector))
        for number, prompt in enumerate(prompts):
            progress("capturing", number, len(prompts))
            collector.begin(number, number)
            program.speak(prompt.text, replace(request, voice=prompt.voice))
        progress("capturing", len(prompts), len(prompts))
        kept = collector.samples(most, BUDGET_BYTES)
        return {packed.component.name: _calls(package_dir, place, packed, kept, most) for packed in described.components}


def _calls(package_dir: Path, place: Path, packed: PackedComponent, kept: Sequence[calibration.Sample], most: int) -> Calls:
    component = packed.component
    own = [sample for sample in kept if sample.component == component.name]
    if own and (component.cache is None or EXPLICIT in packed.graphs):  # a cache inside the model was not seen
        return Calls(tuple(calibration.read(place, own, component)), True)
    cases = golden.Cases.load(package_dir / packed.golden)
    names = [name for name in cases.names() if name != TRACE]
    return Calls(tuple(cases.inputs(name) for name in names[:most]), bool(own))
