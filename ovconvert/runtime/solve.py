"""Solves the ordinary differential equation of flow matching: from noise at time 0 to a spectrum at time 1.

The original takes 25 steps of Euler's method (spec section 13.2). The other solvers reach its end in fewer evaluations of
the velocity, which are all that costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ovconvert.errors import UsageError

Velocity = Callable[[np.ndarray, float], np.ndarray]  # (x (1, C, T), t) -> dx/dt (1, C, T)


@dataclass
class Past:
    """Where a solution has been: the times and the velocities that were evaluated, latest last."""

    times: list[float] = field(default_factory=list)
    velocities: list[np.ndarray] = field(default_factory=list)

    def add(self, t: float, velocity: np.ndarray) -> np.ndarray:
        """Remember an evaluation and return it; only the latest three are kept."""
        self.times, self.velocities = [*self.times[-2:], t], [*self.velocities[-2:], velocity]
        return velocity


Advance = Callable[[Velocity, np.ndarray, np.float32, np.float32, Past], np.ndarray]  # (.., x, t, dt, ..) -> x at t + dt


def uniform_times(steps: int) -> np.ndarray:
    """Return float32 (steps + 1,): k / steps. Raises UsageError for fewer than one step."""
    if steps < 1:
        raise UsageError(f"{steps} solver steps are given; at least 1 is needed; the original takes 25")
    return np.linspace(0.0, 1.0, steps + 1, dtype=np.float32)


def sway_times(steps: int, sway: float) -> np.ndarray:
    """Return float32 (steps + 1,) from 0 to 1: u + sway (cos(pi u / 2) - 1 + u) at the uniform times u.

    A negative `sway` puts more steps at the beginning; -1 is 1 - cos(pi u / 2), 0 is uniform (sway sampling of F5-TTS, Chen
    et al. 2024, arXiv 2410.06885, section 3.3). Raises UsageError for fewer than one step.
    """
    times = uniform_times(steps)
    if sway:
        times = (times + sway * (np.cos(np.pi / 2 * times) - 1 + times)).astype(np.float32)
        times[0], times[-1] = 0.0, 1.0
    return times


def initial_noise(rng: np.random.Generator, shape: tuple[int, ...], temperature: float = 1.0) -> np.ndarray:
    """Return float32 normal noise of `shape`, scaled by `temperature`."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(temperature)


def euler(velocity: Velocity, x: np.ndarray, t: np.float32, dt: np.float32, past: Past) -> np.ndarray:
    """Advance by one evaluation."""
    return x + dt * past.add(float(t), velocity(x, float(t)))


def midpoint(velocity: Velocity, x: np.ndarray, t: np.float32, dt: np.float32, past: Past) -> np.ndarray:
    """Advance by two evaluations, second order: the velocity half a step ahead serves the whole step."""
    half = x + np.float32(0.5) * dt * past.add(float(t), velocity(x, float(t)))
    return x + dt * velocity(half, float(t + np.float32(0.5) * dt))


def adams_bashforth(velocity: Velocity, x: np.ndarray, t: np.float32, dt: np.float32, past: Past) -> np.ndarray:
    """Advance by one evaluation, second order: the velocity is continued in a straight line from the step before.

    With uneven steps the line is weighed by them (Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I,
    section III.5). The first step is Euler's.
    """
    now = past.add(float(t), velocity(x, float(t)))
    if len(past.times) < 2:
        return x + dt * now
    ratio = np.float32(0.5 * float(dt) / (past.times[-1] - past.times[-2]))
    line: np.ndarray = now + ratio * (now - past.velocities[-2])
    return x + dt * line


def dpm_solver(velocity: Velocity, x: np.ndarray, t: np.float32, dt: np.float32, past: Past) -> np.ndarray:
    """Advance by one evaluation, second order, exact where the predicted spectrum x + (1 - t) v stays the same.

    DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2) with alpha = t and sigma = 1 - t: the prediction is
    continued in a straight line over the half log signal-to-noise ratio log(t / (1 - t)). The first two steps, before which
    that is infinite, and the last, behind which it is, are of first order, which is Euler's.
    """
    here, there = float(t), min(float(t + dt), 1.0)
    now = past.add(here, x + np.float32(1.0 - here) * velocity(x, here))  # of predictions, not of velocities
    if len(past.times) >= 2 and past.times[-2] > 0.0 and there < 1.0:
        step = _half_log_ratio(there) - _half_log_ratio(here)
        before = _half_log_ratio(here) - _half_log_ratio(past.times[-2])
        now = now + np.float32(0.5 * step / before) * (now - past.velocities[-2])
    sigma = (1.0 - there) / (1.0 - here)
    return np.float32(sigma) * x + np.float32(there - sigma * here) * now


def _half_log_ratio(t: float) -> float:
    return math.log(t / (1.0 - t))


@dataclass(frozen=True)
class Solver:
    """A method, and how many evaluations of the velocity a step takes."""

    advance: Advance
    evaluations: int


SOLVERS: dict[str, Solver] = {
    "euler": Solver(euler, 1),
    "midpoint": Solver(midpoint, 2),
    "ab2": Solver(adams_bashforth, 1),
    "dpm++": Solver(dpm_solver, 1),
}


def solve(
    solver: str,
    velocity: Velocity,
    noise: np.ndarray,
    times: np.ndarray,
    *,
    on_step: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return float32 (1, C, T): `noise` (1, C, T) carried along `velocity` through `times` (steps + 1,) (section 13.2).

    Time advances by t += dt in float32, as in the original. `on_step` is called with the number of finished steps. Raises
    UsageError for an unknown solver and for times that do not rise.
    """
    if solver not in SOLVERS:
        raise UsageError(f"no solver {solver!r}; have: {', '.join(SOLVERS)}")
    times = np.asarray(times, np.float32)
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
        raise UsageError(f"solver times must be two or more and rise, got {times.tolist()}")
    advance, past = SOLVERS[solver].advance, Past()
    x = np.array(noise, np.float32)
    t, dt = times[0], times[1] - times[0]
    for step in range(1, len(times)):
        x = np.asarray(advance(velocity, x, t, dt, past), np.float32)
        t = t + dt
        if step + 1 < len(times):
            dt = times[step + 1] - t  # from where we are, so that rounding does not add up
        if on_step:
            on_step(step)
    return x
