"""Mixing emotion: a recording's, a vector's or a text's, into the one vector that the language model reads (section 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def blend(speaker: np.ndarray, emotion: np.ndarray, alpha: float) -> np.ndarray:
    """Return speaker + alpha (emotion - speaker), all (1, width)."""
    return np.asarray(speaker + np.float32(alpha) * (emotion - speaker), np.float32)


def scaled(weights: Sequence[float], alpha: float) -> list[float]:
    """Return emotion weights at strength `alpha`, cut to four decimals as the original does."""
    return list(weights) if alpha == 1.0 else [int(weight * alpha * 10000) / 10000 for weight in weights]


class EmotionMatrix:
    """The stored emotion vectors, in groups by emotion, each with the speaker vector that it was recorded with."""

    def __init__(self, settings: Mapping[str, Any], assets: Path) -> None:
        bounds = np.cumsum(settings["emotion_groups"])[:-1]
        self._speakers = np.split(np.load(assets / "speaker_matrix.npy", allow_pickle=False), bounds)
        self._emotions = np.split(np.load(assets / "emotion_matrix.npy", allow_pickle=False), bounds)

    def mix(
        self,
        weights: Sequence[float],
        style: np.ndarray,
        audio_emotion: np.ndarray,
        rng: np.random.Generator | None = None,
    ) -> np.ndarray:
        """Return (1, width): per emotion the stored vector of the speaker nearest to `style` (1, 192), weighted, and the
        rest to a sum of one filled up with `audio_emotion` (1, width). With `rng`, the rows are drawn instead.
        """
        rows = [_nearest(group, style[0]) if rng is None else int(rng.integers(len(group))) for group in self._speakers]
        chosen = np.stack([group[row] for group, row in zip(self._emotions, rows, strict=True)])
        weight = np.asarray(weights, np.float32)
        mixed = (weight[:, None] * chosen).sum(0, keepdims=True) + (1 - weight.sum()) * audio_emotion
        return np.asarray(mixed, np.float32)


def _nearest(rows: np.ndarray, style: np.ndarray) -> int:
    """Return the row of largest cosine to `style`."""
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(style)
    return int(np.argmax(rows @ style / np.maximum(lengths, 1e-8)))
