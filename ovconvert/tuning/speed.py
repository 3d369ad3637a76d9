"""How fast candidates are: measured in turns in one run, end to end, and component by component on captured inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ovconvert import intervals, package
from ovconvert.bench.alone import called
from ovconvert.bench.measure import Findings, Plan, measure
from ovconvert.bench.reading import Table
from ovconvert.bench.spoken import WHOLE
from ovconvert.bench.subject import Subject
from ovconvert.bench.texts import Text
from ovconvert.bench.variants import Variant
from ovconvert.intervals import Estimate
from ovconvert.options import Progress, silent
from ovconvert.runtime.request import Request

ONE_CALL = "one call"  # ms
Samples = tuple[float, ...]  # one per round


@dataclass(frozen=True)
class Runner:
    """What takes part in a race: the package at `place`, speaking with `request`."""

    name: str
    place: Path
    request: Request


@dataclass(frozen=True)
class Race:
    """What one run measured, in turns; every sample is of one round.

    `rtf` are seconds of work per second of audio by runner. With components: `calls` are milliseconds of one call by
    component and runner, at the sizes `sizes` at which the first runner spent most; `shares` are the % of its time.
    """

    rtf: dict[str, Samples]
    calls: dict[str, dict[str, Samples]] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    disturbances: tuple[str, ...] = ()

    def gain(self, name: str, base: str) -> Estimate:
        """Return how many times as fast a runner is as `base`, end to end."""
        return intervals.ratio(self.rtf[name], self.rtf[base], paired=True)

    def gain_alone(self, component: str, name: str, base: str) -> Estimate:
        """Return how many times as fast a component is in one runner as in `base`."""
        return intervals.ratio(self.calls[component][name], self.calls[component][base], paired=True)


def race(
    runners: Sequence[Runner],
    texts: Sequence[Text],
    rounds: int,
    *,
    components: bool = False,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Race:
    """Return what the runners take, in turns. Those of one package share a process. Raises as `bench.measure` does."""
    subjects = tuple(_subject(runner, threads) for runner in runners)
    names = [runner.name for runner in runners]
    plan = Plan(
        subjects,
        tuple(texts),
        rounds,
        components=components,
        seed=seed,
        whole=frozenset(names) if components else frozenset(),
        limits=False,
    )
    found = measure(plan, progress)
    rtf = {name: _rtf(found.speech[name], rounds) for name in names}
    if not components:
        return Race(rtf, disturbances=found.disturbances)
    sizes = _sizes(found.alone[names[0]], [one.component.name for one in package.load(runners[0].place).components])
    calls = {component: _calls(found, component, case, names) for component, case in sizes.items()}
    return Race(rtf, calls, sizes, _shares(found.speech[names[0]], sizes), found.disturbances)


def _subject(runner: Runner, threads: int | None) -> Subject:
    return Subject(runner.name, runner.place, runner.request, threads=threads, variant=Variant(runner.name))


def _rtf(table: Table, rounds: int) -> Samples:
    """Return the seconds of work per second of audio of all texts together, round by round."""

    def total(metric: str) -> list[float]:
        keys = [key for key in table.order() if key[0] == WHOLE and key[2] == metric]
        return [sum(table.readings[key][number].value for key in keys) for number in range(rounds)]

    return tuple(spent / max(made, 1e-3) for spent, made in zip(total("seconds in all"), total("audio"), strict=True))


def _sizes(table: Table, components: Sequence[str]) -> dict[str, str]:
    """Return the case of each component that came first: the one at which it spent most. What was not used has none."""
    found = {}
    for component in components:
        cases = [case for subject, case, _ in table.order() if subject == called(component)]
        if cases:
            found[component] = cases[0]
    return found


def _calls(found: Findings, component: str, case: str, names: Sequence[str]) -> dict[str, Samples]:
    key = called(component), case, ONE_CALL
    samples = {name: found.alone[name].samples(key, found.rounds) for name in names}
    return {name: one for name, one in samples.items() if one is not None}


def _shares(table: Table, components: Mapping[str, str]) -> dict[str, float]:
    """Return the % of the time of all utterances that each component takes; that of a new voice counts like the others."""

    def seconds(subject: str, metric: str) -> float:
        found = (row for key, row in table.readings.items() if key[0] == subject and key[2] == metric)
        return sum(one.value for row in found for one in row.values())

    whole = seconds(WHOLE, "seconds in all")
    return {name: 100 * seconds(name, "seconds") / max(whole, 1e-9) for name in components}
