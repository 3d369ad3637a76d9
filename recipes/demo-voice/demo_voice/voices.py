"""Whose voice it is: the cosine of resemblyzer's embeddings between an utterance and each speaker's reference recordings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

LEAST = 1600  # samples, 0.1 s: less has no voice


class Voices:
    """The speakers that an utterance is compared with, each the mean embedding of recordings (count,) at 16 kHz."""

    def __init__(self, references: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Open the encoder and embed the references. Raises ImportError if resemblyzer, or what it needs, is missing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that scipy and librosa have moved
            from resemblyzer import VoiceEncoder

        self._encoder = VoiceEncoder("cpu", verbose=False)
        self._centroids = {name: _unit(sum(self._embed(wave) for wave in waves)) for name, waves in references.items()}

    def cosines(self, samples: np.ndarray) -> dict[str, float]:
        """Return the cosine to every speaker. Raises ValueError if there is no speech in the samples (count,)."""
        embedding = self._embed(samples)
        return {name: float(embedding @ centroid) for name, centroid in self._centroids.items()}

    def _embed(self, samples: np.ndarray) -> np.ndarray:
        from resemblyzer import preprocess_wav

        speech = preprocess_wav(samples.astype(np.float32)) if np.abs(samples).max(initial=0.0) > 0 else samples[:0]
        if len(speech) < LEAST:
            raise ValueError("no speech to know a voice by")
        return _unit(self._encoder.embed_utterance(speech))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
