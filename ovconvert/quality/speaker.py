"""Whose voice it is: the cosine of resemblyzer's embeddings of a take and of the recording that was asked for.

Embeddings after Wan et al., Generalized End-to-End Loss for Speaker Verification, 2018.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from ovconvert.quality.metric import FREE, Instrument, Listen, Metric, Take, of_package

SIMILARITY = Metric("speaker similarity", "", "higher", 0.0, 0.01)
LEAST = 1600  # samples, 0.1 s: less has no voice
NEEDS = ("resemblyzer", "webrtcvad", "librosa", "torch")


def open_encoder() -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that gives the unit embedding of samples (count,) at 16 kHz, and raises ValueError without speech.

    Raises ImportError if resemblyzer, or what it needs, is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that scipy and librosa have moved
        from resemblyzer import VoiceEncoder, preprocess_wav
    encoder = VoiceEncoder("cpu", verbose=False)

    def embed(samples: np.ndarray) -> np.ndarray:
        speech = preprocess_wav(samples.astype(np.float32)) if np.abs(samples).max(initial=0.0) > 0 else samples[:0]
        if len(speech) < LEAST:
            raise ValueError("no speech to know a voice by")
        vector: np.ndarray = encoder.embed_utterance(speech)
        unit: np.ndarray = vector / np.linalg.norm(vector)
        return unit

    return embed


def _open() -> Listen:
    embed = open_encoder()
    known: dict[bytes, np.ndarray] = {}  # a handful of voices, each asked for by many takes

    def listen(take: Take, against: Take) -> tuple[float, ...]:
        key = take.voice.tobytes()
        if key not in known:
            known[key] = embed(take.voice)
        return (float(embed(take.samples) @ known[key]),)

    return listen


INSTRUMENT = Instrument(
    (SIMILARITY,),
    FREE,
    _open,
    lambda: of_package("resemblyzer"),
    NEEDS,
    "pip install 'ovconvert[quality]' && pip install --no-deps resemblyzer",
)
