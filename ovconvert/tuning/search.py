"""The search: settings one after the other, then components one after the other, each against the best so far.

Settings come first, since they win most: each is measured by itself, and they are tried in the order of what they win, all
that passed before kept. Then the components, the one that takes most of the time first: of each, the precisions that are
faster by a call alone, or as fast and smaller, are tried from the fastest on, until one passes with all that was chosen
before. A greedy search can miss a pair that only passes together. It cannot choose what is slower than a uniform package
that passes, because all of them race at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ovconvert.bench.variants import ADDITIONS
from ovconvert.intervals import Estimate
from ovconvert.quality.rows import Floors
from ovconvert.report import figure
from ovconvert.runtime.request import PROFILES, Request
from ovconvert.runtime.takes import Takes, narrowed
from ovconvert.tuning.hearing import Heard

WORTH = 1.02  # times as fast: less is nothing

Settings = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """Settings of a request that belong together, and what reports call them."""

    name: str
    changes: Settings


@dataclass(frozen=True)
class Trial:
    """A candidate: how many times as fast it is, what was heard of it if that was asked, and whether it was taken."""

    name: str
    gain: Estimate
    heard: Heard | None
    taken: bool


@dataclass(frozen=True)
class Verdict:
    """What a component gets, in a sentence, and what was tried."""

    component: str
    precision: str
    text: str
    trials: tuple[Trial, ...] = ()


def settings_of(request: Request, takes: Takes) -> tuple[Setting, ...]:
    """Return the settings to try: the profiles, and what an ablation adds, as far as the model takes them.

    What the request gives is not changed.
    """
    named = [(f"profile {name}", changes) for name, changes in PROFILES.items() if changes and name != request.profile]
    named += [(row.name.removeprefix("+ "), dict(row.request)) for row in ADDITIONS if row.request]
    left = [
        Setting(name, {key: value for key, value in narrowed(changes, takes).items() if getattr(request, key) is None})
        for name, changes in named
    ]
    return tuple(setting for setting in left if setting.changes)


def choose_settings(
    candidates: Sequence[Setting],
    gains: Mapping[str, Estimate],
    hear: Callable[[str, Settings], Heard],
    floors: Floors,
) -> tuple[Settings, tuple[Trial, ...]]:
    """Return the settings that pass together, and what was tried, in that order."""
    chosen: Settings = {}
    trials = []
    for setting in sorted(candidates, key=lambda one: -gains[one.name].value):
        gain = gains[setting.name]
        if gain.value < WORTH or all(chosen.get(key) == value for key, value in setting.changes.items()):
            trials.append(Trial(setting.name, gain, None, taken=False))
            continue
        heard = hear(setting.name, chosen | setting.changes)
        taken = heard.passes(floors)
        trials.append(Trial(setting.name, gain, heard, taken))
        if taken:
            chosen |= setting.changes
    return chosen, tuple(trials)


@dataclass(frozen=True)
class Offer:
    """A component in one precision: milliseconds of a call, one per round; how many times as fast as now; bytes."""

    precision: str
    calls: tuple[float, ...]
    gain: Estimate
    size: int

    @property
    def milliseconds(self) -> float:
        """Return the median of a call."""
        return median(self.calls)


def choose_component(
    name: str, now: Offer, others: Iterable[Offer], hear: Callable[[str], Heard], floors: Floors
) -> Verdict:
    """Return the precision of a component: the fastest of those that pass, if faster than `now`, or as fast and smaller."""
    others = sorted(others, key=lambda offer: -offer.gain.value)
    trials = []
    taken: tuple[Offer, Heard] | None = None
    for offer in others:
        faster = offer.gain.value >= WORTH
        smaller = offer.gain.value > 1 / WORTH and offer.size < now.size
        if taken or not (faster or smaller):
            trials.append(Trial(offer.precision, offer.gain, None, taken=False))
            continue
        heard = hear(offer.precision)
        passes = heard.passes(floors)
        trials.append(Trial(offer.precision, offer.gain, heard, passes))
        if passes:
            taken = offer, heard
    refused = [_refusal(trial, floors) for trial in trials if trial.heard and not trial.taken]
    if taken:
        offer, heard = taken
        text = (
            f"{name} becomes {offer.precision}: {_pace(offer.gain)} here ({_figures(offer, now)}), {_heard(heard)}, "
            f"{offer.size / now.size:.2f} of the size of {now.precision}"
        )
    else:
        slower = [f"{trial.name} is {_pace(trial.gain)}" for trial in trials if not trial.heard]
        reasons = [*slower, *refused] or ["no other precision was tried"]
        text, refused = f"{name} stays {now.precision}: {'; '.join(reasons)} ({figure(now.milliseconds)} ms a call)", []
    return Verdict(name, offer.precision if taken else now.precision, "; ".join([text, *refused]), tuple(trials))


def unused(name: str, precision: str) -> Verdict:
    """Return the verdict on a component that the texts and settings do not use: nothing can be said about it."""
    return Verdict(name, precision, f"{name} stays {precision}: these texts and settings do not use it")


def _refusal(trial: Trial, floors: Floors) -> str:
    assert trial.heard is not None
    missed = [f"{row.metric} {figure(row.value)}" for row in trial.heard.gates(floors) if not row.passed]
    return f"{trial.name} is {_pace(trial.gain)}, but fails: {', '.join(missed)}"


def _heard(heard: Heard) -> str:
    return f"MOS proxy drop {heard.drop():.3f} with all before it"


def _figures(offer: Offer, now: Offer) -> str:
    return f"{figure(offer.milliseconds)} against {figure(now.milliseconds)} ms a call"


def _pace(gain: Estimate) -> str:
    if 1 / WORTH < gain.value < WORTH:
        return "as fast"
    return f"{gain.value:.2f}x faster" if gain.value > 1 else f"{1 / gain.value:.2f}x slower"
