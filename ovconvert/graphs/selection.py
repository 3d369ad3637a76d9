"""Which units of feed-forwards stay: the most important ones of each, or of all together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SCOPES = ("uniform", "global")


def counts(scores: Sequence[np.ndarray], share: float, multiple: int, scope: str) -> list[int]:
    """Return how many units of each feed-forward stay, in multiples of `multiple`; 0 where the share leaves less than one.

    "uniform": the same share of each. "global": the share of all together, after each score is divided by the root mean
    square of its feed-forward's, since the size of activations differs from layer to layer (An et al., "Fluctuation-based
    Adaptive Structured Pruning for Large Language Models", AAAI 2024, arXiv:2312.11983, compare layers by standardised
    scores for that reason); each keeps at least one multiple.
    """
    if scope == "uniform":
        return [_rounded(share * len(score), len(score), multiple) for score in scores]
    relative = [score / max(float(np.sqrt(np.mean(np.square(score)))), np.finfo(float).tiny) for score in scores]
    everything = np.sort(np.concatenate(relative))[::-1]
    kept = round(share * len(everything))
    if kept < multiple * len(scores):
        return [0] * len(scores)
    limit = everything[kept - 1]
    return [max(multiple, _rounded(float(np.sum(score >= limit)), len(score), multiple)) for score in relative]


def most_important(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the `count` highest scores, in their order; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def _rounded(wanted: float, width: int, multiple: int) -> int:
    """Return the multiple nearest to `wanted`, at most the largest one that `width` holds."""
    return min(round(wanted / multiple), width // multiple) * multiple
