"""Batches of utterances of like length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

POOL = 12  # batches' worth of utterances among which those of like length are found


def bucket(numbers: Sequence[int], lengths: np.ndarray, size: int, rng: np.random.Generator) -> list[int]:
    """Return `size` of `numbers`, drawn so that their `lengths` are alike."""
    pool = rng.choice(np.asarray(numbers), min(size * POOL, len(numbers)), replace=False)
    pool = pool[np.argsort(lengths[pool], kind="stable")]
    start = int(rng.integers(0, max(1, len(pool) - size + 1)))
    return [int(number) for number in pool[start : start + size]]


def pad(rows: Sequence[np.ndarray], value: float = 0.0) -> Tensor:
    """Stack arrays (time, ...) to (batch, longest, ...), filled up with `value`."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(np.ascontiguousarray(row)) for row in rows], True, value)


def present(lengths: Sequence[int], longest: int) -> Tensor:
    """Return (batch, longest) bool: which positions are no padding."""
    return torch.arange(longest)[None] < torch.tensor(lengths)[:, None]


def crop(row: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return `length` consecutive rows of `row`, from a random place; all of it if it is shorter."""
    start = int(rng.integers(0, max(1, len(row) - length + 1)))
    return row[start : start + length]
