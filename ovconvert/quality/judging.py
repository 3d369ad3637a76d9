"""Judges a candidate beside a reference: takes are spoken, every instrument listens, changes get their verdicts."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ovconvert.errors import UsageError, listing
from ovconvert.options import Progress, silent
from ovconvert.quality import (
    cepstral,
    dnsmos,
    duration,
    failures,
    forced,
    mos,
    pesq,
    pitch,
    speaker,
    stoi,
    verdicts,
    visqol,
    words,
)
from ovconvert.quality.failures import Expected, Failure
from ovconvert.quality.forced import Agreement, Trace
from ovconvert.quality.metric import APART, FREE, GIVEN, Instrument, Listen, Metric, Take
from ovconvert.quality.speaking import Program, Prompt, Recorded, Spoken, record, speak
from ovconvert.quality.verdicts import Change
from ovconvert.runtime.request import Request

JUDGED, YARDSTICK, AGAIN = range(3)  # the reference's seeds


def instruments(language_model: Path | None = None) -> tuple[Instrument, ...]:
    """Return all instruments; `language_model` is an ARPA file for the recogniser."""
    return (
        mos.INSTRUMENT,
        mos.INSTRUMENT_APART,
        cepstral.INSTRUMENT,
        pesq.INSTRUMENT,
        stoi.INSTRUMENT,
        visqol.INSTRUMENT,
        pitch.INSTRUMENT,
        words.instrument(language_model),
        dnsmos.INSTRUMENT,
        speaker.INSTRUMENT,
        duration.INSTRUMENT,
    )


@dataclass(frozen=True)
class Sheet:
    """What the panel found of some takes: by metric a value per utterance, and what failed in each utterance.

    `make_up` says by metric what its numbers are made of.
    """

    values: dict[str, tuple[float, ...]]
    failures: tuple[tuple[Failure, ...], ...]
    make_up: dict[str, str]


class Panel:
    """The instruments that are installed, opened once. `missing` says of every other one what it needs.

    With `excuse`, what failed in the reference's own take of an utterance is no failure of anybody's there.
    """

    def __init__(self, chosen: Sequence[Instrument], *, excuse: bool = False) -> None:
        self._excuse = excuse
        present = [one for one in chosen if not one.missing()]
        self._listeners: list[tuple[Instrument, Listen]] = [(one, one.open()) for one in present]
        self.missing = tuple(
            f"{' and '.join(metric.name for metric in one.metrics)}: not measured, needs {', '.join(one.missing())} "
            f"({one.install})"
            for one in chosen
            if one.missing()
        )
        self.make_up = {metric.name: one.made_of() for one in present for metric in one.metrics}

    def metrics(self, held: Sequence[str] = (GIVEN, APART, FREE)) -> tuple[Metric, ...]:
        """Return the metrics that are measured on takes that are held so."""
        return tuple(metric for one, _ in self._listeners for metric in one.metrics if one.held in held)

    def sheet(
        self,
        spoken: Sequence[Spoken],
        recorded: Sequence[Recorded],
        progress: Progress = silent,
        what: str = "listening",
    ) -> Sheet:
        """Return what the panel hears in `spoken`, each beside the reference's takes of the same prompt.

        An utterance with a failure counts as the worst in every metric, and so does what an instrument cannot judge.
        """
        pairs = [
            {
                GIVEN: (one.given, other.takes[JUDGED].given),
                APART: (one.given, other.takes[YARDSTICK].given),
                FREE: (one.free, other.takes[YARDSTICK].free),
            }
            for one, other in zip(spoken, recorded, strict=True)
        ]
        failed = [self._failures(one, other) for one, other in zip(spoken, recorded, strict=True)]
        return self._sheet(pairs, failed, progress, what)

    def _failures(self, spoken: Spoken, recorded: Recorded) -> tuple[Failure, ...]:
        excused = failures_of_reference(recorded) if self._excuse else ()
        known = {failure.name for failure in excused}
        return tuple(failure for failure in _failures(spoken, expected_of(recorded)) if failure.name not in known)

    def sheet_alone(self, spoken: Sequence[Spoken], progress: Progress = silent, what: str = "listening") -> Sheet:
        """Return what the panel hears in utterances that are held against nothing: the single-sided metrics."""
        pairs = [{FREE: (one.free, one.free)} for one in spoken]
        failed = [failures.find(one.free, wanted) for one, wanted in zip(spoken, expected_alone(spoken), strict=True)]
        return self._sheet(pairs, failed, progress, what)

    def _sheet(
        self,
        pairs: Sequence[dict[str, tuple[Take, Take]]],
        failed: Sequence[tuple[Failure, ...]],
        progress: Progress,
        what: str,
    ) -> Sheet:
        present = [(one, listen) for one, listen in self._listeners if all(one.held in pair for pair in pairs)]
        found: dict[str, list[float]] = {metric.name: [] for one, _ in present for metric in one.metrics}
        for number, (pair, failure) in enumerate(zip(pairs, failed, strict=True)):
            progress(what, number, len(pairs))
            for one, listen in present:
                values = _worst(one) if failure else _heard(one, listen, *pair[one.held])
                for metric, value in zip(one.metrics, values, strict=True):
                    found[metric.name].append(value)
        progress(what, len(pairs), len(pairs))
        made_of = {name: text for name, text in self.make_up.items() if name in found}
        return Sheet({name: tuple(values) for name, values in found.items()}, tuple(failed), made_of)


@dataclass(frozen=True, eq=False)
class Reference:
    """What candidates are judged beside, made once: prompts as the reference spoke them, and what the panel heard.

    `base` are its takes that candidates are compared with, `again` those of another seed. `traces` are None if no decoder is
    to be compared.
    """

    recorded: tuple[Recorded, ...]
    request: Request
    base: Sheet
    again: Sheet
    traces: tuple[Trace, ...] | None = None


@dataclass(frozen=True, eq=False)
class Judged:
    """What a candidate did beside the reference. `paired` tells whether both spoke with the same settings, so that the same
    codes and noise should have given the same audio.
    """

    spoken: tuple[Spoken, ...]
    sheet: Sheet
    changes: tuple[Change, ...]
    agreements: tuple[Agreement, ...] = field(default=())
    paired: bool = True

    def change(self, metric: Metric) -> Change | None:
        """Return what became of a metric, None if it was not measured."""
        return next((change for change in self.changes if change.metric == metric), None)


def prepare(
    program: Program,
    prompts: Sequence[Prompt],
    request: Request,
    panel: Panel,
    *,
    teacher_forced: bool = True,
    progress: Progress = silent,
) -> Reference:
    """Return the reference for any number of candidates: it speaks every prompt with three seeds, and the panel listens.

    Raises as the program does for a text or a voice that it cannot take.
    """
    recorded = record(program, prompts, request, progress)
    traces = tuple(forced.trace(program, recorded, request, progress)) if teacher_forced else None
    base, again = (
        panel.sheet([one.takes[seed] for one in recorded], recorded, progress, what)
        for seed, what in ((JUDGED, "listening to the reference"), (AGAIN, "listening to the reference's other seed"))
    )
    return Reference(tuple(recorded), request, base, again, traces)


def judge(
    reference: Reference,
    program: Program,
    panel: Panel,
    progress: Progress = silent,
    request: Request | None = None,
) -> Judged:
    """Return how a candidate compares with the reference; it speaks with the reference's settings, or with `request`.

    The decoders are compared with the reference's settings.

    Raises UsageError if the panel is not the one that heard the reference, or the decoders are not of one model.
    """
    require_same_make_up(reference.base.make_up, panel.make_up, "the reference's figures", "the candidate's")
    spoken = speak(program, reference.recorded, request or reference.request, progress)
    sheet = panel.sheet(spoken, reference.recorded, progress, "listening to the candidate")
    agreements: list[Agreement] = []
    if reference.traces is not None:
        agreements = forced.teacher_forced(
            reference.traces, program, reference.recorded, spoken, reference.request, progress
        )
    paired = request in (None, reference.request)
    return Judged(tuple(spoken), sheet, changes(reference, sheet, panel), tuple(agreements), paired)


def changes(reference: Reference, sheet: Sheet, panel: Panel) -> tuple[Change, ...]:
    """Return what became of every metric."""
    counts = [float(max(len(words.words_of(one.prompt.text)), 1)) for one in reference.recorded]
    exact = panel.metrics((GIVEN,))
    return tuple(
        verdicts.judge(
            metric,
            reference.base.values[metric.name],
            sheet.values[metric.name],
            reference.again.values[metric.name],
            counts if metric.per_word else [1.0] * len(counts),
            exact=metric in exact,
            seed=reference.request.seed,
        )
        for metric in panel.metrics()
    )


def require_same_make_up(first: dict[str, str], second: dict[str, str], one: str, other: str) -> None:
    """Raise UsageError, naming every metric that both have and that is made of different things."""
    problems = [
        f"{name}: {one} of {first[name]!r}, {other} of {second[name]!r}"
        for name in first
        if name in second and first[name] != second[name]
    ]
    if problems:
        raise UsageError(listing("numbers of different make-up cannot be compared; measure both anew:", problems))


def failures_of_reference(recorded: Recorded) -> tuple[Failure, ...]:
    """Return what failed in the take of the reference that candidates are compared with."""
    return _failures(recorded.takes[JUDGED], expected_of(recorded))


def expected_of(recorded: Recorded) -> Expected:
    """Return what the reference's takes let one expect."""
    takes = [spoken.free for spoken in recorded.takes]
    return Expected(
        statistics.median(take.seconds for take in takes),
        statistics.median(failures.longest_pause(take.samples) for take in takes),
    )


def expected_alone(spoken: Sequence[Spoken]) -> list[Expected]:
    """Return what to expect of utterances that no reference spoke: as long per letter as the median of them all."""
    rate = statistics.median(one.free.seconds / max(len(one.free.text), 1) for one in spoken)
    return [Expected(rate * len(one.free.text)) for one in spoken]


def _failures(spoken: Spoken, wanted: Expected) -> tuple[Failure, ...]:
    """Return what failed in free running, and what failed with given codes and not in free running."""
    free = failures.find(spoken.free, wanted)
    known = {failure.name for failure in free}
    # how long given codes last is not the speaker's choice
    given = failures.find(spoken.given, Expected(spoken.given.seconds or wanted.seconds, wanted.pause_seconds))
    return free + tuple(
        dataclasses.replace(failure, evidence=f"{failure.evidence}, with the reference's codes")
        for failure in given
        if failure.name not in known
    )


def _worst(instrument: Instrument) -> list[float]:
    return [metric.worst for metric in instrument.metrics]


def _heard(instrument: Instrument, listen: Listen, take: Take, against: Take) -> list[float]:
    try:
        values = listen(take, against)
    except ValueError:  # there is nothing to judge
        return _worst(instrument)
    return [_bounded(metric, value) for metric, value in zip(instrument.metrics, values, strict=True)]


def _bounded(metric: Metric, value: float) -> float:
    """Return a value no worse than the worst, which a value that is no number is."""
    if not math.isfinite(value):
        return metric.worst
    return max(value, metric.worst) if metric.better == "higher" else min(value, metric.worst)
