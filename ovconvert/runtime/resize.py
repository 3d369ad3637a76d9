"""Stretching along time, as indices that a graph takes as inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def nearest_index(source_length: int, target_length: int) -> np.ndarray:
    """Return int64 (target_length,): which of `source_length` frames each target frame repeats.

    j(i) = min(floor(float32(i) * float32(source / target)), source - 1). The float32 scale is part of the rule: the
    exact integer formula gives other frames for about a tenth of all lengths.
    """
    if source_length < 1 or target_length < 1:
        raise ValueError(f"lengths must be at least 1, got source {source_length} and target {target_length}")
    scale = np.float32(source_length) / np.float32(target_length)
    index: np.ndarray = np.floor(np.arange(target_length, dtype=np.float32) * scale).astype(np.int64)
    return index.clip(max=source_length - 1)


def linear_index(source_length: int, target_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each target frame lies between source frames: (index int64, fraction float32), each (target_length,).

    Half-pixel centres: src = (i + 0.5) * source / target - 0.5, not below 0; the frame is (1 - fraction) * x[index] +
    fraction * x[index + 1]. At the last source frame the fraction is 0. The float32 arithmetic is part of the rule.
    """
    if source_length < 1 or target_length < 1:
        raise ValueError(f"lengths must be at least 1, got source {source_length} and target {target_length}")
    scale = np.float32(source_length) / np.float32(target_length)
    place = (np.arange(target_length, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    place = place.clip(min=0)
    index = place.astype(np.int64).clip(max=source_length - 1)
    fraction: np.ndarray = np.where(index < source_length - 1, place - index, 0).astype(np.float32)
    return index, fraction


def linear_pieces(pieces: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return `linear_index` of pieces that lie one behind the other and are stretched apart: (source, target) lengths."""
    found = [linear_index(*lengths) for lengths in pieces]
    starts = np.cumsum([0, *(source for source, _ in pieces)])
    index = np.concatenate([index + start for (index, _), start in zip(found, starts[:-1], strict=True)])
    return index, np.concatenate([fraction for _, fraction in found])
