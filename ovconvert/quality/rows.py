"""What was judged, as the rows and the exhibits of a report."""

from __future__ import annotations

import io
import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ovconvert.intervals import Estimate
from ovconvert.quality import mos, verdicts, words
from ovconvert.quality.forced import Agreement
from ovconvert.quality.judging import Judged, Panel, Reference, Sheet
from ovconvert.quality.metric import APART, FREE, GIVEN, RATE, Metric, Take
from ovconvert.quality.speaking import Spoken
from ovconvert.quality.verdicts import Change
from ovconvert.report import Exhibit, Measurement, at_least, figure

DECODER, GATE, FAILURES = "decoder", "gate", "failures"


@dataclass(frozen=True)
class Floors:
    """What is asked; None is nothing. Losses of the means in the metrics' units, agreement in %."""

    mos_drop: float | None = None
    wer_rise: float | None = None
    top1: float | None = None


def compared(reference: Reference, judged: Judged, panel: Panel, floors: Floors) -> Iterator[Measurement]:
    """Yield the gates, every metric beside the reference's, the decoder's agreement, the failures, and each utterance."""
    case = _case(len(judged.spoken))
    yield from gates(judged, floors)
    for held in (GIVEN, APART, FREE):
        metrics = panel.metrics((held,))
        yield from (_change(change, held, case) for change in judged.changes if change.metric in metrics)
    yield from _agreement(judged.agreements)
    yield from _failed(judged.sheet, case, reference.base)
    for number in worst_first(judged):
        yield _utterance(reference, judged, number)
    for agreement in sorted(judged.agreements, key=lambda one: one.top1):
        yield from _agreement_of(agreement)


def alone(sheet: Sheet, metrics: Sequence[Metric], weights: Sequence[float]) -> Iterator[Measurement]:
    """Yield every metric of utterances that nothing is compared with, and the failures."""
    case = _case(len(sheet.failures))
    for metric in metrics:
        values = sheet.values[metric.name]
        estimate = verdicts.mean(values, weights if metric.per_word else [1.0] * len(values))
        yield Measurement(
            FREE,
            case,
            metric.name,
            estimate.value,
            metric.unit,
            low=estimate.low,
            high=estimate.high,
            samples=values,
            better=metric.better,
        )
    yield from _failed(sheet, case)


def gates(judged: Judged, floors: Floors) -> Iterator[Measurement]:
    """Yield a row per floor that is asked: a loss within it, or within what chance alone does, passes.

    The MOS proxy of the same codes and noise is asked of a candidate with the reference's settings. With others it may sound
    otherwise, and the proxy between seeds is asked alone.
    """
    asked = tuple(change for change in judged.changes if judged.paired or change.metric != mos.MOS)
    yield from gates_of(asked, judged.agreements, len(judged.spoken), floors)


def gates_of(
    changes: Sequence[Change], agreements: Sequence[Agreement], utterances: int, floors: Floors
) -> Iterator[Measurement]:
    """Yield what `gates` does, of what is left of a judgement that was written down."""
    found = {change.metric: change for change in changes}
    for metric, most in ((mos.MOS, floors.mos_drop), (mos.MOS_APART, floors.mos_drop), (words.WER, floors.wer_rise)):
        if most is not None and metric in found:
            yield _gate(found[metric], most, _case(utterances))
    if floors.top1 is not None and agreements:
        yield at_least(GATE, _case(utterances), "top-1 agreement", _top1(agreements).value, "%", floors.top1)


def worst_first(judged: Judged) -> list[int]:
    """Return the numbers of the utterances, the worst first: by failures, then by the change of the MOS proxy."""
    change = judged.change(mos.MOS)
    lost = change.per_utterance if change else (0.0,) * len(judged.spoken)
    return sorted(range(len(judged.spoken)), key=lambda number: (not judged.sheet.failures[number], lost[number]))


def exhibits(reference: Reference, judged: Judged, most: int) -> tuple[Exhibit, ...]:
    """Return the worst utterances to hear, at most so many: both sides with the same codes, and both in free running."""
    found = []
    for number in worst_first(judged)[:most]:
        recorded, spoken = reference.recorded[number], judged.spoken[number]
        mine, row = recorded.takes[0], _utterance(reference, judged, number)
        sounds = (
            ("reference, its codes", mine.given),
            ("candidate, the reference's codes", spoken.given),
            ("reference, free running", mine.free),
            ("candidate, free running", spoken.free),
        )
        found.append(
            Exhibit(
                f"{recorded.prompt.name}: {recorded.prompt.text}",
                f"{row.metric} {figure(row.value)}. {row.detail}",
                tuple((name, _wav(take)) for name, take in sounds),
            )
        )
    return tuple(found)


def exhibits_alone(spoken: Sequence[Spoken], sheet: Sheet, most: int) -> tuple[Exhibit, ...]:
    """Return utterances to hear, at most so many, those that failed first."""
    order = sorted(range(len(spoken)), key=lambda number: not sheet.failures[number])
    return tuple(
        Exhibit(spoken[number].free.text, _named(sheet, number), (("as spoken", _wav(spoken[number].free)),))
        for number in order[:most]
    )


def _case(count: int) -> str:
    return f"{count} utterance{'s' if count != 1 else ''}"


def _gate(change: Change, most: float, case: str) -> Measurement:
    sign = -1 if change.metric.better == "higher" else 1
    low, high = sorted(sign * end for end in (change.change.low, change.change.high))
    inside = change.loss > most and change.in_the_noise
    remark = f"; passes: inside the noise floor of {figure(change.floor)}" if inside else ""
    return Measurement(
        GATE,
        case,
        f"{change.metric.name}, {'drop' if sign < 0 else 'rise'}",
        change.loss,
        change.metric.unit,
        most,
        change.loss <= most or inside,
        f"{change.verdict}: {figure(change.reference)} -> {figure(change.candidate)}{remark}",
        low,
        high,
        better="lower",
    )


def _change(change: Change, subject: str, case: str) -> Measurement:
    metric, delta = change.metric, change.change
    interval = f"({delta.low:+.3g} to {delta.high:+.3g})"
    return Measurement(
        subject,
        case,
        metric.name,
        change.candidate,
        metric.unit,
        detail=f"{change.verdict}: reference {figure(change.reference)}, change {delta.value:+.3g} {interval}, "
        + (
            f"noise floor {figure(change.floor)}"
            if change.floor
            else f"another seed of the reference {figure(change.other_seed)}"
        ),
        better=metric.better,
    )


def _agreement(agreements: Sequence[Agreement]) -> Iterator[Measurement]:
    if not agreements:
        return
    case = _case(len(agreements))
    choices = [len(one.same) for one in agreements]
    top1 = _top1(agreements)
    yield Measurement(
        DECODER,
        case,
        "top-1 agreement",
        top1.value,
        "%",
        detail=f"teacher-forced, {sum(choices)} choices",
        low=top1.low,
        high=top1.high,
        better="higher",
    )
    mean = verdicts.mean([one.divergence for one in agreements], choices)
    largest = max(value for one in agreements for value in one.divergences)
    detail = f"teacher-forced, largest {figure(largest)}"
    yield Measurement(
        DECODER, case, "KL divergence", mean.value, "nats", None, None, detail, mean.low, mean.high, (), "lower"
    )
    whole = sum(one.first_divergence == one.tokens for one in agreements)
    kept = verdicts.mean([100 * one.first_divergence / max(one.tokens, 1) for one in agreements], [1.0] * len(agreements))
    yield Measurement(
        DECODER,
        case,
        "before the first divergence",
        kept.value,
        "% of codes",
        detail=f"free running; {whole} of {len(agreements)} without any",
        low=kept.low,
        high=kept.high,
        better="higher",
    )


def _agreement_of(agreement: Agreement) -> Iterator[Measurement]:
    detail = f"first divergence at code {agreement.first_divergence} of {agreement.tokens}"
    yield Measurement(DECODER, agreement.prompt, "top-1 agreement", agreement.top1, "%", detail=detail, better="higher")
    yield Measurement(DECODER, agreement.prompt, "KL divergence", agreement.divergence, "nats", better="lower")


def _top1(agreements: Sequence[Agreement]) -> Estimate:
    return verdicts.mean([one.top1 for one in agreements], [len(one.same) for one in agreements])


def _failed(sheet: Sheet, case: str, reference: Sheet | None = None) -> Iterator[Measurement]:
    """Yield how many utterances failed, and each failure by name."""
    count = sum(map(bool, sheet.failures))
    beside = f"the reference: {sum(map(bool, reference.failures))}" if reference else ""
    yield Measurement(FAILURES, case, "utterances", count, "", detail=beside, better="lower")
    for name, number in Counter(failure.name for found in sheet.failures for failure in found).items():
        yield Measurement(FAILURES, case, name, number, "", better="lower")


def _utterance(reference: Reference, judged: Judged, number: int) -> Measurement:
    recorded = reference.recorded[number]
    value = judged.sheet.values[mos.MOS.name][number]
    before = reference.base.values[mos.MOS.name][number]
    texts = [f"reference {figure(before)}", _named(judged.sheet, number), f"{recorded.prompt.text!r}"]
    detail = "; ".join(text for text in texts if text)
    return Measurement("utterance", recorded.prompt.name, mos.MOS.name, value, mos.MOS.unit, detail=detail, better="higher")


def _named(sheet: Sheet, number: int) -> str:
    return ", ".join(f"{failure.name} ({failure.evidence})" for failure in sheet.failures[number])


def _wav(take: Take) -> bytes:
    """Return a take as a WAV file of int16."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.nan_to_num(take.samples).clip(-1, 1) * 32767).astype("<i2").tobytes())
    return data.getvalue()
