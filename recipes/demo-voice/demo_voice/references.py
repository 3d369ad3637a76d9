"""References as the trainings draw them: stretches of a speaker's speech, as long as one utterance or more."""

from __future__ import annotations

import numpy as np

from demo_voice.corpus import SPEAKERS, STYLES
from demo_voice.data import Corpus, Frames

CALM = list(STYLES).index("calm")


class References:
    """Draws stretches of frames of a speaker, in one style throughout."""

    def __init__(self, corpus: Corpus) -> None:
        self._by = {
            (speaker, style): [n for n in corpus.training if corpus.speakers[n] == speaker and corpus.styles[n] == style]
            for speaker in range(len(SPEAKERS))
            for style in range(len(STYLES))
        }

    def numbers(self, speaker: int, style: int, lengths: np.ndarray, frames: int, rng: np.random.Generator) -> list[int]:
        """Return utterances of `speaker` in `style` that have `frames` frames together, by their `lengths`."""
        chosen: list[int] = []
        while sum(int(lengths[number]) for number in chosen) < frames:
            chosen.append(int(rng.choice(self._by[speaker, style])))
        return chosen

    def draw(self, speaker: int, style: int, source: Frames, frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return (frames, width) of `source`."""
        lengths = np.diff(source.ends)
        every = np.concatenate([source[n] for n in self.numbers(speaker, style, lengths, frames, rng)])
        start = int(rng.integers(0, len(every) - frames + 1))
        return every[start : start + frames]
