"""Proof of the failure detectors: the corpus's own test audio, broken on purpose, and how much of it is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from demo_voice import failures
from demo_voice.corpus import Utterance
from demo_voice.durations import Durations
from demo_voice.recognise import Recogniser
from demo_voice.spoken import Spoken

RATE = 16000
Break = Callable[[np.ndarray, Utterance, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Found:
    """Of `utterances` broken in one way, how many were `flagged` with any failure, and how many with the right one."""

    damage: str
    failure: str
    utterances: int
    flagged: int
    right: int


def _sample(seconds: float) -> int:
    return int(seconds * RATE)


def _nothing(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    return samples


def _zeros(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(samples)


def _hum(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    return (rng.standard_normal(len(samples)) * 1e-3).astype(np.float32)


def _gap(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    place = _sample(utterance.words[len(utterance.words) // 2][1])
    return np.concatenate([samples[:place], np.zeros(RATE, np.float32), samples[place:]])


def _half(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    return samples[: len(samples) // 2]


def _without_last_word(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    """Cut where the last word begins, and end in silence as a whole utterance would."""
    return np.concatenate([samples[: _sample(utterance.words[-1][1])], np.zeros(_sample(0.1), np.float32)])


def _within_last_word(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    """Cut somewhere in the middle half of the last word."""
    _, start, end = utterance.words[-1]
    return samples[: _sample(start + (end - start) * rng.uniform(0.25, 0.75))]


def _twice(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([samples, samples])


def _repeat(samples: np.ndarray, first: float, last: float, times: int) -> np.ndarray:
    piece = samples[_sample(first) : _sample(last)]
    return np.concatenate([samples[: _sample(last)], *[piece] * times, samples[_sample(last) :]])


def _word_again(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    """Say a word of at least 0.2 s once more."""
    spans = [(start, end) for _, start, end in utterance.words if end - start >= 0.2]
    return _repeat(samples, *spans[int(rng.integers(len(spans)))], times=1)


def _words_again(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    """Say three words running once more."""
    first = int(rng.integers(max(1, len(utterance.words) - 2)))
    return _repeat(samples, utterance.words[first][1], utterance.words[min(first + 2, len(utterance.words) - 1)][2], times=1)


def _end_again(samples: np.ndarray, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    """Say the last word three times more."""
    return _repeat(samples, utterance.words[-1][1], utterance.words[-1][2], times=3)


BREAKS: tuple[tuple[str, str, Break], ...] = (
    ("none", "", _nothing),
    ("zeros", "silent", _zeros),
    ("noise at -60 dB", "silent", _hum),
    ("a second of silence inside", "silent", _gap),
    ("second half missing", "truncated", _half),
    ("last word missing", "truncated", _without_last_word),
    ("cut within the last word", "truncated", _within_last_word),
    ("said twice", "looping", _twice),
    ("last word four times", "looping", _end_again),
    ("three words twice", "looping", _words_again),
    ("one word twice", "looping", _word_again),
)


def prove(
    rows: Sequence[tuple[Utterance, np.ndarray]], durations: Durations, recogniser: Recogniser, seed: int = 0
) -> Iterator[Found]:
    """Break every utterance (what was spoken, samples (count,)) in every way and yield what the detectors find of each."""
    for damage, failure, break_ in BREAKS:
        rng = np.random.default_rng(seed)
        names = [_detect(utterance, break_(samples, utterance, rng), durations, recogniser) for utterance, samples in rows]
        flagged = sum(bool(one) for one in names)
        yield Found(damage, failure, len(rows), flagged, sum(failure in one for one in names))


def _detect(utterance: Utterance, samples: np.ndarray, durations: Durations, recogniser: Recogniser) -> set[str]:
    spoken = Spoken(utterance.text, utterance.speaker, utterance.style, samples)
    expected = durations.expected(spoken.text, spoken.speaker, spoken.style)
    return {failure.name for failure in failures.find(spoken, recogniser.hear(samples), expected)}
