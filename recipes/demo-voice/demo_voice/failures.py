"""Utterances that went wrong as a whole: silent, truncated or looping, each with its evidence.

The bounds are calibrated on the corpus's own test audio; `damage.py` breaks that audio on purpose and counts what is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo_voice.recognise import words_of
from demo_voice.spoken import Spoken

FRAME = 320  # samples, 20 ms
SILENT_LEVEL = 0.005  # root mean square, of full scale: the softest style is spoken at 0.045
SPEECH_SHARE = 0.3  # of the expected time must be above that level
PAUSE_SECONDS = 0.7  # the longest pause inside
SHORT, LONG = 0.75, 1.4  # times the expected duration
CUT_LEVEL = 0.5  # of the utterance's level, in its last 20 ms
LONGEST_LOOP = 6  # words


@dataclass(frozen=True)
class Failure:
    """`name` is silent, truncated or looping."""

    name: str
    evidence: str


def find(spoken: Spoken, heard: str, expected_seconds: float) -> list[Failure]:
    """Return what went wrong; `heard` is what the recogniser with the domain's language model made of it."""
    if not np.isfinite(spoken.samples).all():
        return [Failure("silent", "samples that are not finite")]
    silence = _silence(spoken.samples, expected_seconds)
    if silence:
        return [Failure("silent", silence)]
    evidence = {
        "truncated": _truncation(spoken, heard, expected_seconds),
        "looping": _loop(spoken, heard, expected_seconds),
    }
    return [Failure(name, text) for name, text in evidence.items() if text]


def _silence(samples: np.ndarray, expected_seconds: float) -> str:
    loud = np.flatnonzero(levels(samples) > SILENT_LEVEL)
    seconds = len(loud) * FRAME / 16000
    if seconds < SPEECH_SHARE * expected_seconds:
        return f"{seconds:.2f} s of sound, {expected_seconds:.2f} s of speech expected"
    pause = (np.diff(loud).max(initial=1) - 1) * FRAME / 16000
    return f"a pause of {pause:.2f} s" if pause > PAUSE_SECONDS else ""


def _truncation(spoken: Spoken, heard: str, expected_seconds: float) -> str:
    if spoken.seconds < SHORT * expected_seconds:
        return f"{spoken.seconds:.2f} s, {expected_seconds:.2f} s expected"
    missing = _missing_at_end(spoken.text, heard)
    if missing:
        return f"not heard: {' '.join(missing)}"
    level = levels(spoken.samples[-FRAME:])[-1] / np.sqrt(np.mean(spoken.samples**2))
    return f"ends at {level:.0%} of its level" if level > CUT_LEVEL else ""


def _loop(spoken: Spoken, heard: str, expected_seconds: float) -> str:
    if not spoken.finished:
        return "the tokens ran into their limit"
    if spoken.seconds > LONG * expected_seconds:
        return f"{spoken.seconds:.2f} s, {expected_seconds:.2f} s expected"
    again = repeats(words_of(heard)) - repeats(words_of(spoken.text))
    return f"heard once more: {' '.join(max(again, key=len))}" if again else ""


def levels(samples: np.ndarray) -> np.ndarray:
    """Return the root mean square of every frame of 20 ms; the samples after the last whole frame are left out."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return np.sqrt(np.mean(frames**2, axis=1))


def repeats(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """Count the runs of words that are followed by themselves."""
    return Counter(
        tuple(words[start : start + length])
        for length in range(1, LONGEST_LOOP + 1)
        for start in range(len(words) - 2 * length + 1)
        if words[start : start + length] == words[start + length : start + 2 * length]
    )


def _missing_at_end(text: str, heard: str) -> list[str]:
    import jiwer

    words = words_of(text)
    last = jiwer.process_words(" ".join(words), heard).alignments[0][-1]
    return words[last.ref_start_idx :] if last.type == "delete" else []
