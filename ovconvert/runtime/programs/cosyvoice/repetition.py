"""Repetition-aware sampling: a token that has just been said is drawn again from all the others (spec section 6.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ovconvert.runtime.decode import softmax

WINDOW = 10  # the last tokens, among which a drawn one may not be


def nucleus(scores: np.ndarray, top_p: float, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (n,) and probabilities (n,) of the likeliest tokens of `scores` (V,), not renormalised.

    A token is added while those before it hold less than `top_p` of the mass and are fewer than `top_k`; 0 is no limit.
    """
    probabilities = softmax(scores[None])[0]
    order = np.argsort(-probabilities, kind="stable")[: top_k or None]
    before = np.cumsum(probabilities[order]) - probabilities[order]
    order = order[before < top_p] if top_p < 1.0 else order
    return order, probabilities[order]


def others(scores: np.ndarray, excluded: int) -> np.ndarray:
    """Return the probabilities (V,) of all tokens of `scores` (V,) without `excluded`."""
    left = np.array(scores, np.float32)
    left[excluded] = -np.inf
    shares: np.ndarray = softmax(left[None])[0]
    return shares


def draw(scores: np.ndarray, drawn: Sequence[int], rng: np.random.Generator, top_p: float, top_k: int) -> int:
    """Return a token of `scores` (V,), after the tokens `drawn` so far."""
    ids, weights = nucleus(scores, top_p, top_k)
    first = int(_pick(ids, weights, rng))
    if first not in drawn[-WINDOW:]:
        return first
    return int(_pick(np.arange(len(scores)), others(scores, first), rng))


def _pick(ids: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.int64:
    shares = weights.astype(np.float64)
    chosen: np.int64 = ids[rng.choice(len(ids), p=shares / shares.sum())]
    return chosen
