"""Classifier-free guidance around a velocity: when it acts, and how often its branch without condition is evaluated.

A guided velocity is (1 + strength) c - strength u, c with and u without condition (spec section 13.2); u costs as much as c.
What guidance adds, c - u, changes slowly along the solution, so that it may be evaluated at some of the steps only, and
used again at those between.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# (x (1, C, T), t, mask (G,), weights (R, G)) -> (R, C, T): row r weighs the branches, g is conditioned if mask[g] is 1
Branches = Callable[[np.ndarray, float, np.ndarray, np.ndarray], np.ndarray]

BOTH = np.array([1.0, 0.0], np.float32)
ALONE = np.ones(1, np.float32)


class Guided:
    """A velocity (x (1, C, T), t) -> (1, C, T) for a solver, guided with `strength`.

    Guidance acts at times t with start <= t < end of `interval`, and is evaluated anew at every `every`-th of those calls.
    """

    def __init__(
        self, branches: Branches, strength: float, interval: tuple[float, float] = (0.0, 1.0), every: int = 1
    ) -> None:
        self._branches = branches
        self._strength = np.float32(strength)
        self._interval = interval
        self._every = every
        self._calls = 0
        self._added = np.zeros(0, np.float32)

    def __call__(self, x: np.ndarray, t: float) -> np.ndarray:
        """Return the velocity at x and t."""
        start, end = self._interval
        if not self._strength or not start <= t < end:
            return self._branches(x, t, ALONE, ALONE[None])
        calls, self._calls = self._calls, self._calls + 1
        if self._every == 1:
            return self._branches(x, t, BOTH, np.array([[1.0 + self._strength, -self._strength]], np.float32))
        if calls % self._every:
            again: np.ndarray = self._branches(x, t, ALONE, ALONE[None]) + self._strength * self._added
            return again
        weights = np.array([[1.0 + self._strength, -self._strength], [1.0, -1.0]], np.float32)
        found = self._branches(x, t, BOTH, weights)
        self._added = found[1:]
        return found[:1]
