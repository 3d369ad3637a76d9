"""The figures of the model card: what is synthesised, measured and compared, and where it is kept.

WORK/figures/<name>/ holds the audio, WORK/figures/<name>.json its figures. What is there already is not made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from demo_voice import agreement, copies, evaluate, language_model, spoken, synthesise, testset
from demo_voice.durations import Durations
from demo_voice.meter import Instruments
from demo_voice.spoken import Spoken
from ovconvert.runtime.engine import Engine

MEASURED_WHOLE = 48  # utterances of each kind that the slow instruments hear as well
COPIED = 64
FULL = 200  # of the graphs: the bar on truncated, looping and silent ones
ORIGINAL = 128  # of the PyTorch networks, and of the recordings themselves
SMALL = 32  # where the same utterances are compared, or only a trend is wanted
FEW = 16
HEARD = ("corpus", "vocoder", "flow", "flow_100_steps", "original", "graphs")  # by the slow instruments as well
SPEEDS = (0.75, 1.25)
SEEDS = (1000, 2000)

Progress = Callable[[str, int, int], None]


class Figures:
    """Makes and measures; `checkpoint`, `package` and `testset` are directories."""

    def __init__(self, work: Path, checkpoint: Path, package: Path, tests: Path, on_progress: Progress) -> None:
        self._dest = work / "figures"
        self._checkpoint, self._package, self._tests = checkpoint, package, tests
        self._voices = checkpoint / "voices"
        self._progress = on_progress
        self._dest.mkdir(parents=True, exist_ok=True)

    def names(self) -> tuple[str, ...]:
        """Return every kind, the corpus first."""
        return tuple(self._kinds())

    def synthesise(self, names: Sequence[str]) -> None:
        """Make the audio of every kind in `names`."""
        for name in names:
            count, make = self._kinds()[name]
            if not (self._dest / name / spoken.INDEX).is_file():
                spoken.save(self._counted(name, make(), count), self._dest / name)

    def measure(self, names: Sequence[str], processes: int = 2) -> dict[str, dict[str, Any]]:
        """Return the figures of every kind in `names`."""
        references = {path.stem: [spoken.read(path)] for path in sorted(self._voices.glob("*.wav"))}
        whole = Instruments(Durations.load(self._tests / "word_seconds.json"), self._tests / "domain.arpa", references)
        found = {}
        source: dict[str, Any] | None = None
        for name in names:
            rows = spoken.load(self._dest / name)
            report = self._reporter(f"measuring {name}")
            slow = replace(whole, opinions=True, general=True)
            quick = replace(whole, opinions=False, general=False)
            settings = {"source": source, "processes": processes, "on_progress": report}
            found[name] = evaluate.evaluate(rows, quick, self._dest / f"{name}.json", **settings)
            if name not in HEARD:
                continue
            some = evaluate.evaluate(rows[:MEASURED_WHOLE], slow, self._dest / f"{name}.heard.json", **settings)
            found[name]["opinion"] = some["opinion"]
            found[name]["word_error_rate"]["general"] = some["word_error_rate"]["general"]
            if name == "corpus":
                source = found[name]
        return found

    def agreement(self, count: int = SMALL, seed: int = 0) -> dict[str, Any]:
        """Return how often rounded copies of the language model choose as it does, on the codes of unseen utterances."""
        examples, model = language_model.Examples(self._dest.parent), language_model.load(self._dest.parent)
        rng = np.random.default_rng(seed)
        batches = [language_model.inputs(model, examples, number, rng) for number in examples.corpus.testing[:count]]
        found = {name: asdict(value) for name, value in agreement.agreement(model.decoder, batches).items()}
        (self._dest / "agreement.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return found

    def _kinds(self) -> dict[str, tuple[int, Callable[[], Iterable[Spoken]]]]:
        """Return of each kind how many utterances it has, and how they are made."""
        rows = testset.load(self._tests)
        recorded = testset.spoken(self._tests)[:ORIGINAL]
        kinds: dict[str, tuple[int, Callable[[], Iterable[Spoken]]]] = {
            "corpus": (ORIGINAL, lambda: recorded),
            "vocoder": (COPIED, lambda: copies.vocoder(self._engine(), recorded[:COPIED])),
            "flow": (COPIED, lambda: copies.flow(self._engine(), recorded[:COPIED], self._voices)),
            "flow_100_steps": (FEW, lambda: copies.flow(self._engine(), recorded[:FEW], self._voices, steps=100)),
            "original": (ORIGINAL, lambda: self._full(self._original(), rows[:ORIGINAL])),
            "graphs": (FULL, lambda: self._full(self._graphs(), rows[:FULL])),
        }
        for seed in SEEDS:
            kinds[f"seed_{seed}"] = (SMALL, lambda seed=seed: self._full(self._graphs(), rows[:SMALL], seed=seed))
        for speed in SPEEDS:
            kinds[f"speed_{speed}"] = (FEW, lambda speed=speed: self._full(self._graphs(), rows[:FEW], speed=speed))
        return kinds

    def _full(self, program: Any, rows: Sequence[testset.Row], **settings: Any) -> Iterable[Spoken]:
        return synthesise.synthesise(program, rows, self._voices, **settings)

    def _engine(self) -> Engine:
        return Engine(self._package, threads=1)

    def _graphs(self) -> Any:
        return synthesise.open_irs(self._package, threads=1)

    def _original(self) -> Any:
        return synthesise.open_original(self._checkpoint, self._package)

    def _reporter(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._progress(what, done, total)

    def _counted(self, name: str, rows: Iterable[Spoken], count: int) -> Iterable[Spoken]:
        for done, row in enumerate(rows, 1):
            self._progress(name, done, count)
            yield row
