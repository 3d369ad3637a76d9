"""One tuning: measures settings, precisions and points, hears what may be chosen, and chooses; every figure is kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

from ovconvert import intervals
from ovconvert.bench.texts import Text
from ovconvert.intervals import Estimate
from ovconvert.options import Progress
from ovconvert.quality.rows import Floors
from ovconvert.runtime import takes_of
from ovconvert.runtime.request import Request
from ovconvert.tuning.hearing import Heard, Listener
from ovconvert.tuning.packages import Shelf
from ovconvert.tuning.search import (
    Offer,
    Setting,
    Settings,
    Trial,
    Verdict,
    choose_component,
    choose_settings,
    settings_of,
    unused,
)
from ovconvert.tuning.speed import Race, Runner, race
from ovconvert.tuning.store import Store

AS_IT_IS, MIXED = "as it is", "each component its own"


@dataclass(frozen=True)
class Point:
    """Precisions and settings, what they take (seconds of work per second of audio, one per round), and what is heard.

    `gain` is how many times as fast as the source as it is. `uniform` tells whether all components were asked for alike.
    """

    name: str
    formats: dict[str, str]
    settings: Settings
    rtf: tuple[float, ...]
    gain: Estimate
    heard: Heard
    passes: bool
    size: int
    uniform: bool

    @property
    def pace(self) -> float:
        """Return the median of the seconds of work per second of audio."""
        return median(self.rtf)

    def against(self, other: Point) -> Estimate:
        """Return how many times as fast the point is as another of its race, round by round."""
        return intervals.ratio(self.rtf, other.rtf, paired=True)


@dataclass(frozen=True)
class Outcome:
    """What a tuning found; `chosen` is the point that passes and won the last race, None if nothing passes."""

    points: tuple[Point, ...]
    chosen: Point | None
    verdicts: tuple[Verdict, ...]
    settings: tuple[Trial, ...]
    race: Race  # of the precisions, with components
    disturbances: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def fastest_uniform(self) -> Point | None:
        """Return the fastest point that passes and gives all components one precision, None if there is none."""
        return fastest([one for one in self.points if one.uniform])

    def not_told_apart(self) -> tuple[Point, ...]:
        """Return the points that pass and that noise may have kept from being chosen."""
        rest = [one for one in self.points if one.passes and one is not self.chosen]
        return tuple(one for one in rest if self.chosen is not None and self.chosen.against(one).low <= 1)


def fastest(points: Sequence[Point]) -> Point | None:
    """Return the point that passes and gained most over the source, each round by itself; of equals one that is mixed.

    The rounds of a race share their noise, so that the medians of two points say less than their ratios do.
    """
    passing = [one for one in points if one.passes]
    return max(passing, key=lambda one: (one.gain.value, not one.uniform), default=None)


@dataclass
class Tuning:
    """What is tuned and how. Raises, wherever it runs, as `quantize`, the benchmark and the programs of packages do."""

    shelf: Shelf
    store: Store
    listener: Listener
    texts: Sequence[Text]  # for speed
    voice: Path | None
    request: Request
    floors: Floors
    progress: Progress
    rounds: int = 5
    threads: int | None = None
    with_settings: bool = True
    heard_key: Mapping[str, object] = field(default_factory=dict)  # texts, voices, make-up
    _spent: list[float] = field(default_factory=list)  # seconds of each judgement
    _left: int = 0  # judgements, at most
    _disturbances: list[str] = field(default_factory=list)

    def run(self) -> Outcome:
        """Measure, hear and choose."""
        source = self.shelf.formats
        uniform = {name: self.shelf.uniform_formats(name) or {} for name in self.shelf.precisions}
        for name in uniform:
            self._say(f"package in {name}")
            self.shelf.uniform(name, self.progress)
        candidates = settings_of(self.request, takes_of(self.shelf.manifest)) if self.with_settings else ()
        self._left = len(candidates) + len(source) * max(len(uniform) - 1, 0) + len(uniform) + 3
        settings, trials = self._settings(candidates)
        self._left = len(source) * max(len(uniform) - 1, 0) + len(uniform) + 3
        found = self._race("precisions", [(name, formats, settings) for name, formats in self._first(uniform)], True)
        formats, verdicts = self._components(found, uniform, settings)
        points = self._points(uniform, settings, formats, candidates)
        self._left = len(points)
        last = self._race("points", points, False)
        scored = tuple(self._score(name, formats, settings, last, uniform) for name, formats, settings in points)
        notes = (f"{self.store.reused} figures were reused, {self.store.made} measured",)
        return Outcome(scored, fastest(scored), verdicts, trials, found, tuple(self._disturbances), notes)

    def _first(self, uniform: Mapping[str, dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
        """Return the precisions with the source's in front: at its sizes the components run alone."""
        own = self.shelf.formats
        rest = [(name, formats) for name, formats in uniform.items() if formats != own]
        return [(AS_IT_IS, own), *rest]

    def _settings(self, candidates: Sequence[Setting]) -> tuple[Settings, tuple[Trial, ...]]:
        if not candidates:
            return {}, ()
        own = self.shelf.formats
        runners = [(AS_IT_IS, own, {}), *((one.name, own, one.changes) for one in candidates)]
        found = self._race("settings", runners, False)
        gains = {one.name: found.gain(one.name, AS_IT_IS) for one in candidates}
        return choose_settings(candidates, gains, lambda name, changes: self._hear(name, own, changes), self.floors)

    def _components(
        self, found: Race, uniform: Mapping[str, dict[str, str]], settings: Settings
    ) -> tuple[dict[str, str], tuple[Verdict, ...]]:
        formats = self.shelf.formats
        verdicts = {}
        for name in sorted(formats, key=lambda name: -found.shares.get(name, 0.0)):
            if name not in found.calls:
                verdicts[name] = unused(name, formats[name])
                continue
            now, others = self._offers(name, found, uniform)
            self._left -= len(uniform) - 1

            def hear(precision: str, name: str = name) -> Heard:
                return self._hear(f"{name} {precision}", formats | {name: precision}, settings)

            verdicts[name] = choose_component(name, now, others, hear, self.floors)
            formats[name] = verdicts[name].precision
        return formats, tuple(verdicts.values())

    def _offers(self, name: str, found: Race, uniform: Mapping[str, dict[str, str]]) -> tuple[Offer, list[Offer]]:
        """Return a component as it is, and in every other precision that it can have, each once."""
        calls, own = found.calls[name], self.shelf.formats[name]
        offers: dict[str, Offer] = {}
        for runner, formats in self._first(uniform):
            precision = formats[name]
            if precision not in offers and runner in calls:
                gain = found.gain_alone(name, runner, AS_IT_IS)
                offers[precision] = Offer(precision, calls[runner], gain, self.shelf.bytes_of(name, precision))
        return offers.pop(own), list(offers.values())

    def _points(
        self,
        uniform: Mapping[str, dict[str, str]],
        settings: Settings,
        formats: dict[str, str],
        candidates: Sequence[Setting],
    ) -> list[tuple[str, dict[str, str], Settings]]:
        """Return what races at the end, each point once."""
        own = self.shelf.formats
        points: list[tuple[str, dict[str, str], Settings]] = [(AS_IT_IS, own, {})]
        points += [(f"all {name}", one, settings) for name, one in uniform.items()]
        points += [(one.name, own, one.changes) for one in candidates if one.name.startswith("profile")]
        points += [(MIXED, formats, settings)]
        kept: list[tuple[str, dict[str, str], Settings]] = []
        for point in points:
            if all(point[1:] != other[1:] for other in kept):
                kept.append(point)
        return kept

    def _score(
        self,
        name: str,
        formats: dict[str, str],
        settings: Settings,
        found: Race,
        uniform: Mapping[str, dict[str, str]],
    ) -> Point:
        heard = self._hear(name, formats, settings)
        size = sum(self.shelf.bytes_of(component, precision) for component, precision in formats.items())
        return Point(
            name,
            formats,
            settings,
            found.rtf[name],
            found.gain(name, AS_IT_IS),
            heard,
            heard.passes(self.floors),
            size,
            name == AS_IT_IS or formats in uniform.values(),
        )

    def _race(self, what: str, runners: Sequence[tuple[str, dict[str, str], Settings]], components: bool) -> Race:
        key = {
            "runners": [list(runner) for runner in runners],
            "texts": [text.text for text in self.texts],
            "rounds": self.rounds,
            "components": components,
        }

        def make() -> Race:
            self._say(f"speed of {what}: {len(runners)} in turns, {self.rounds} rounds")
            return race(
                [Runner(name, self.shelf.mixed(formats), self._asked(changes)) for name, formats, changes in runners],
                self.texts,
                self.rounds,
                components=components,
                threads=self.threads,
                seed=self.request.seed,
                progress=self.progress,
            )

        found = self.store.recall("race", key, Race, make)
        self._disturbances += [f"{what}: {text}" for text in found.disturbances]
        return found

    def _hear(self, name: str, formats: dict[str, str], settings: Settings) -> Heard:
        def make() -> Heard:
            self._say(f"hear {name}")
            begun = time.perf_counter()
            heard = self.listener.hear(
                self.shelf.mixed(formats), dataclasses.replace(self.request, **settings), self.progress
            )
            self._spent.append(time.perf_counter() - begun)
            return heard

        heard = self.store.recall("heard", {"formats": formats, "settings": settings, **self.heard_key}, Heard, make)
        self._left = max(self._left - 1, 0)
        return heard

    def _asked(self, settings: Settings) -> Request:
        return dataclasses.replace(self.request, voice=self.voice, **settings)

    def _say(self, what: str) -> None:
        """Show what begins, and how long the judgements that are left take at most."""
        left = f" (about {self._left * fmean(self._spent) / 60:.0f} min left at most)" if self._spent else ""
        self.progress(f"{what}{left}", 0, 1)
