"""Guidance: its formula, when it acts, and how seldom its second branch need be evaluated."""

from __future__ import annotations

import numpy as np
import pytest

from ovconvert.runtime.guidance import Guided

X = np.zeros((1, 2, 3), np.float32)


class Estimator:
    """Gives 3 + t with condition and 1 without, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, x: np.ndarray, t: float, mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
        self.asked.append(len(mask))
        branches = np.stack([np.full(x.shape[1:], 3.0 + t if kept else 1.0, np.float32) for kept in mask])
        assert weights.shape[1] == len(mask)
        return np.einsum("rg,gct->rct", weights, branches)


def test_the_formula() -> None:
    assert Guided(Estimator(), 0.7)(X, 0.5) == pytest.approx(1.7 * 3.5 - 0.7)


def test_no_strength_is_one_branch() -> None:
    estimator = Estimator()
    assert Guided(estimator, 0.0)(X, 0.5) == pytest.approx(3.5)
    assert estimator.asked == [1]


def test_it_acts_within_its_interval() -> None:
    estimator = Estimator()
    guided = Guided(estimator, 1.0, (0.25, 0.75))
    found = [float(guided(X, t)[0, 0, 0]) for t in (0.0, 0.25, 0.5, 0.75)]
    assert found == pytest.approx([3.0, 2 * 3.25 - 1, 2 * 3.5 - 1, 3.75])
    assert estimator.asked == [1, 2, 2, 1]


def test_what_it_adds_is_used_again() -> None:
    estimator = Estimator()
    guided = Guided(estimator, 1.0, every=2)
    found = [float(guided(X, t)[0, 0, 0]) for t in (0.0, 0.2, 0.4, 0.6)]
    # between two evaluations, what guidance added at the former: 2 + t of then
    assert found == pytest.approx([5.0, 3.2 + 2.0, 3.4 + 2.4, 3.6 + 2.4])
    assert estimator.asked == [2, 1, 2, 1]
    assert found[1] != pytest.approx(Guided(Estimator(), 1.0)(X, 0.2)[0, 0, 0])
