"""What is heard of a candidate beside the reference, as it is written down, and whether it passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovconvert.options import Progress, silent
from ovconvert.quality import mos, rows, words
from ovconvert.quality.forced import Agreement
from ovconvert.quality.judging import Panel, Reference, instruments, judge, prepare
from ovconvert.quality.metric import Metric
from ovconvert.quality.opening import open_program, open_reference
from ovconvert.quality.rows import Floors
from ovconvert.quality.speaking import Prompt
from ovconvert.quality.verdicts import Change
from ovconvert.report import Measurement
from ovconvert.runtime.request import Request

WRITTEN = (mos.MOS, words.WER)


@dataclass(frozen=True)
class Heard:
    """A candidate beside the reference: changes of the MOS proxy and the word error rate, and the decoder's agreement."""

    utterances: int
    failed: int
    changes: tuple[Change, ...]
    agreements: tuple[Agreement, ...]

    def loss(self, metric: Metric = mos.MOS) -> float:
        """Return by how much the mean of a metric became worse; not a number if it was not measured."""
        return next((change.loss + 0.0 for change in self.changes if change.metric == metric), float("nan"))

    def top1(self) -> float:
        """Return in how many % of the choices the likeliest token is the same; not a number if there is no decoder."""
        same = [one for agreement in self.agreements for one in agreement.same]
        return 100 * sum(same) / len(same) if same else float("nan")

    def divergence(self) -> float:
        """Return the mean divergence in nats; not a number if there is no decoder."""
        found = [one for agreement in self.agreements for one in agreement.divergences]
        return sum(found) / len(found) if found else float("nan")

    def gates(self, floors: Floors) -> tuple[Measurement, ...]:
        """Return a row per floor that is asked."""
        return tuple(rows.gates_of(self.changes, self.agreements, self.utterances, floors))

    def passes(self, floors: Floors) -> bool:
        """Tell whether no floor is missed."""
        return all(row.passed for row in self.gates(floors))


def make_up(language_model: Path | None) -> dict[str, str]:
    """Return what the numbers of each metric are made of here."""
    present = (one for one in instruments(language_model) if not one.missing())
    return {metric.name: one.made_of() for one in present for metric in one.metrics}


class Listener:
    """Hears candidates beside one reference, which speaks when it is first needed."""

    def __init__(
        self,
        reference: Path,
        source: Path,
        prompts: Sequence[Prompt],
        request: Request,
        *,
        language_model: Path | None = None,
        teacher_forced: bool = True,
        threads: int | None = None,
    ) -> None:
        self._place, self._source, self._prompts, self._request = reference, source, prompts, request
        self._language_model, self._teacher_forced, self._threads = language_model, teacher_forced, threads
        self._ready: tuple[Panel, Reference] | None = None

    def hear(self, place: Path, request: Request, progress: Progress = silent) -> Heard:
        """Return what is heard of the package at `place` that speaks with `request`. Raises as its program does."""
        if self._ready is None:
            # what is not asked about is not measured: the voice, the pitch
            chosen = [one for one in instruments(self._language_model) if set(one.metrics) & set(WRITTEN)]
            panel = Panel(chosen)
            program = open_reference(self._place, self._source, self._threads)
            reference = prepare(
                program, self._prompts, self._request, panel, teacher_forced=self._teacher_forced, progress=progress
            )
            self._ready = panel, reference
        panel, reference = self._ready
        judged = judge(reference, open_program(place, self._threads), panel, progress, request)
        return Heard(
            len(judged.spoken),
            sum(map(bool, judged.sheet.failures)),
            tuple(change for change in judged.changes if change.metric in WRITTEN),
            judged.agreements,
        )
