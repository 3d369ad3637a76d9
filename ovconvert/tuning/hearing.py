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

PROXIES = (mos.MOS, mos.MOS_APART)
WRITTEN = (*PROXIES, words.WER)


@dataclass(frozen=True)
class Heard:
    """A candidate beside the reference: changes of the MOS proxy and the word error rate, and the decoder's agreement."""

    utterances: int
    failed: int
    changes: tuple[Change, ...]
    agreements: tuple[Agreement, ...]

    def loss(self, metric: Metric) -> float:
        """Return by how much the mean of a metric became worse; not a number if it was not measured."""
        return next((change.loss + 0.0 for change in self.changes if change.metric == metric), float("nan"))

    def drop(self) -> float:
        """Return the larger loss of the MOS proxy, paired or between seeds; not a number if neither was measured."""
        losses = [change.loss + 0.0 for change in self.changes if change.metric in PROXIES]
        return max(losses, default=float("nan"))

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
    """Hears candidates beside one reference, which speaks when it is first needed.

    A candidate with the reference's settings has to sound as the reference does. One with other settings is held against the
    reference's other seeds; and where its package is another too, the reference also speaks with those settings, so that
    what the package does to them is heard as closely as without them.
    """

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
        self._ready: dict[Request, tuple[Panel, Reference]] = {}

    def hear(self, place: Path, request: Request, progress: Progress = silent) -> Heard:
        """Return what is heard of the package at `place` that speaks with `request`. Raises as its program does."""
        panel, reference = self._reference(self._request, progress)
        program = open_program(place, self._threads)
        judged = judge(reference, program, panel, progress, request)
        changes = {change.metric: change for change in judged.changes if change.metric in WRITTEN}
        if not judged.paired:
            changes.pop(mos.MOS, None)
            if place != self._place:
                panel, reference = self._reference(request, progress)
                paired = judge(reference, program, panel, progress).change(mos.MOS)
                changes |= {paired.metric: paired} if paired else {}
        failed = sum(map(bool, judged.sheet.failures))
        return Heard(len(judged.spoken), failed, tuple(changes.values()), judged.agreements)

    def _reference(self, request: Request, progress: Progress) -> tuple[Panel, Reference]:
        """Return the reference that speaks with `request`; with other settings than its own, for the paired proxy alone."""
        if request not in self._ready:
            own = request == self._request
            # what is not asked about is not measured: the voice, the pitch
            wanted = set(WRITTEN) if own else {mos.MOS}
            panel = Panel([one for one in instruments(self._language_model) if set(one.metrics) & wanted])
            program = open_reference(self._place, self._source, self._threads)
            forced = own and self._teacher_forced
            reference = prepare(program, self._prompts, request, panel, teacher_forced=forced, progress=progress)
            self._ready[request] = panel, reference
        return self._ready[request]
