"""Nearest-neighbour stretch along time, as an index that a graph takes as input."""

from __future__ import annotations

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
