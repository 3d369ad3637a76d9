"""Teacher-forced measures of a decoder: what it would choose on the token trace of another, so that nothing runs away.

A decoder that draws other tokens speaks another utterance, good or bad. Given the reference's own tokens one by one through
its cache, its logits can be compared with the reference's at every step: damage is seen before it is heard. The two must be
of one model and differ in precision only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.options import Progress, silent
from ovconvert.quality.speaking import Program, Recorded, Spoken
from ovconvert.runtime.decode import log_softmax
from ovconvert.runtime.request import Request


@dataclass(frozen=True, eq=False)
class Trace:
    """The reference's logits (tokens + 1, vocabulary) on its own codes, one array per segment of a prompt."""

    logits: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Agreement:
    """A decoder beside the reference on one prompt.

    `divergences` are the Kullback-Leibler divergences in nats of its distribution from the reference's, one per choice, and
    `same` tells for each whether its likeliest token is the reference's. `first_divergence` is the number of codes in free
    running before the first that differs, out of `tokens`; equal to it if none does.
    """

    prompt: str
    divergences: tuple[float, ...]
    same: tuple[bool, ...]
    first_divergence: int
    tokens: int

    @property
    def divergence(self) -> float:
        """Return the mean divergence in nats."""
        return float(np.mean(self.divergences))

    @property
    def top1(self) -> float:
        """Return in how many % of the choices the likeliest token is the same."""
        return 100 * float(np.mean(self.same))


def trace(program: Program, recorded: Sequence[Recorded], request: Request, progress: Progress = silent) -> list[Trace]:
    """Return the reference's logits on the codes that it chose with its first seed."""
    found = []
    for number, one in enumerate(recorded):
        progress("the reference's logits", number, len(recorded))
        found.append(Trace(_logits(program, one, request)))
    progress("the reference's logits", len(recorded), len(recorded))
    return found


def teacher_forced(
    traces: Sequence[Trace],
    program: Program,
    recorded: Sequence[Recorded],
    spoken: Sequence[Spoken],
    request: Request,
    progress: Progress = silent,
) -> list[Agreement]:
    """Return how a candidate's decoder agrees with the reference's on each prompt; `spoken` is its free running.

    Raises UsageError if the two have different vocabularies: then they are not one model.
    """
    found = []
    for number, (reference, one, free) in enumerate(zip(traces, recorded, spoken, strict=True)):
        progress("teacher forcing", number, len(recorded))
        found.append(_agreement(reference.logits, _logits(program, one, request), one, free))
    progress("teacher forcing", len(recorded), len(recorded))
    return found


def divergences(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Return sum p (ln p - ln q) (rows,) in nats of logits (rows, vocabulary): p the reference's distribution, q the other.

    Kullback and Leibler, 1951. Logits that are no numbers give infinity.
    """
    log_p, log_q = (log_softmax(logits).astype(np.float64) for logits in (reference, candidate))
    found: np.ndarray = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    return np.where(np.isfinite(found), np.maximum(found, 0.0), np.inf)


def first_difference(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> int:
    """Return how many codes of `first`, segment after segment, come before the first that `second` has not."""
    count = 0
    for number, codes in enumerate(first):
        other = second[number] if number < len(second) else codes[:0]
        shorter = min(len(codes), len(other))
        unequal = np.flatnonzero(codes[:shorter] != other[:shorter])
        if len(unequal):
            return count + int(unequal[0])
        count += shorter
        if len(codes) != len(other):
            return count
    return count


def _logits(program: Program, recorded: Recorded, request: Request) -> tuple[np.ndarray, ...]:
    asked = replace(request, voice=recorded.prompt.voice)
    return tuple(program.logits(segment.text, segment.codes, asked) for segment in recorded.segments)


def _agreement(
    reference: Sequence[np.ndarray], candidate: Sequence[np.ndarray], recorded: Recorded, spoken: Spoken
) -> Agreement:
    first, second = np.concatenate(list(reference)), np.concatenate(list(candidate))
    if first.shape != second.shape:
        raise UsageError(
            f"the decoder has {second.shape[1]} tokens, the reference's has {first.shape[1]}: teacher forcing compares "
            "packages of one model that differ in precision only; leave it out with --no-teacher-forced"
        )
    codes = [segment.codes for segment in recorded.segments]
    return Agreement(
        recorded.prompt.name,
        tuple(divergences(first, second).tolist()),
        tuple((first.argmax(-1) == second.argmax(-1)).tolist()),
        first_difference(codes, [segment.codes for segment in spoken.segments]),
        sum(map(len, codes)),
    )
