"""Utterances that went wrong as a whole, each failure by name and with its evidence: found in the samples alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ovconvert.quality.metric import RATE, Take

FRAME = 320  # samples, 20 ms
SILENT_LEVEL = 0.005  # root mean square, of full scale: soft speech has ten times as much
SPEECH_SHARE = 0.3  # of the expected time must be above that level
PAUSE_SECONDS = 0.8  # the longest pause inside, beyond the longest that was expected
SHORT, LONG = 0.6, 1.6  # times the expected duration; seeds of one voice differ by a tenth
CUT_LEVEL = 0.5  # of the utterance's level, in its last 20 ms
CLIPPED = 0.999  # of full scale
CLIPPED_RUN = 3  # samples in a row at one limit: a peak that merely touches it has one or two
CLIPPED_SHARE = 1e-3  # of the samples in such runs
CEILING = 0.7  # the lowest peak whose flat tops are taken for clipping

SILENCE, CLIPPING, EARLY_STOP, TRUNCATION, LOOPING = "silence", "clipping", "early stop", "truncation", "looping"
BROKEN = "samples that are no numbers"
NAMES = (BROKEN, SILENCE, CLIPPING, EARLY_STOP, TRUNCATION, LOOPING)


@dataclass(frozen=True)
class Expected:
    """What the reference says to expect of a text: seconds in all, and the longest pause inside."""

    seconds: float
    pause_seconds: float = 0.0


@dataclass(frozen=True)
class Failure:
    """What went wrong, one of NAMES, and what shows it."""

    name: str
    evidence: str


def find(take: Take, expected: Expected) -> tuple[Failure, ...]:
    """Return what went wrong in a take, beside what was expected of it; nothing if it is whole."""
    if not np.isfinite(take.samples).all():
        return (Failure(BROKEN, f"{int((~np.isfinite(take.samples)).sum())} of {len(take.samples)}"),)
    if evidence := _silence(take, expected):
        return (Failure(SILENCE, evidence),)
    evidences = {
        SILENCE: _pause(take, expected),
        CLIPPING: _clipping(take),
        EARLY_STOP: _early(take, expected),
        TRUNCATION: _cut(take),
        LOOPING: _loop(take, expected),
    }
    return tuple(Failure(name, evidence) for name, evidence in evidences.items() if evidence)


def loudness(samples: np.ndarray) -> np.ndarray:
    """Return the root mean square of every frame of 20 ms; the samples after the last whole frame are left out."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    found: np.ndarray = np.sqrt(np.mean(frames**2, axis=1))
    return found


def longest_pause(samples: np.ndarray) -> float:
    """Return the seconds of the longest pause between sounds."""
    loud = np.flatnonzero(loudness(samples) > SILENT_LEVEL)
    return float((np.diff(loud).max(initial=1) - 1) * FRAME / RATE)


def _silence(take: Take, expected: Expected) -> str:
    seconds = float((loudness(take.samples) > SILENT_LEVEL).sum()) * FRAME / RATE
    if seconds < SPEECH_SHARE * expected.seconds:
        return f"{seconds:.2f} s of sound, {expected.seconds:.2f} s of speech expected"
    return ""


def _pause(take: Take, expected: Expected) -> str:
    pause = longest_pause(take.samples)
    return f"a pause of {pause:.2f} s" if pause > expected.pause_seconds + PAUSE_SECONDS else ""


def _clipping(take: Take) -> str:
    """Flat tops: runs of equal samples at the peak, be it full scale or below."""
    peak = float(np.abs(take.samples).max())
    if peak < CEILING:
        return ""
    flat = np.abs(take.samples) >= CLIPPED * peak
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    share = float(lengths[lengths >= CLIPPED_RUN].sum()) / len(flat)
    return f"{100 * share:.2f} % of the samples lie flat at the peak" if share > CLIPPED_SHARE else ""


def _early(take: Take, expected: Expected) -> str:
    if take.seconds < SHORT * expected.seconds:
        return f"{take.seconds:.2f} s, {expected.seconds:.2f} s expected"
    return ""


def _cut(take: Take) -> str:
    level = loudness(take.samples[-FRAME:])[-1] / np.sqrt(np.mean(take.samples.astype(np.float64) ** 2))
    return f"ends at {level:.0%} of its level" if level > CUT_LEVEL else ""


def _loop(take: Take, expected: Expected) -> str:
    if not take.finished:
        return "the tokens ran into their limit"
    if take.seconds > LONG * expected.seconds:
        return f"{take.seconds:.2f} s, {expected.seconds:.2f} s expected"
    return ""
