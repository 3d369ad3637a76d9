"""Solves the ordinary differential equation of flow matching: from noise at time 0 to a spectrum at time 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ovconvert.errors import UsageError

Velocity = Callable[[np.ndarray, float], np.ndarray]  # (x (1, C, T), t) -> dx/dt (1, C, T)
Advance = Callable[[Velocity, np.ndarray, np.float32, np.float32], np.ndarray]  # (velocity, x, t, dt) -> x at t + dt


def uniform_times(steps: int) -> np.ndarray:
    """Return float32 (steps + 1,): k / steps. Raises UsageError for fewer than one step."""
    if steps < 1:
        raise UsageError(f"{steps} solver steps are given; at least 1 is needed; the original takes 25")
    return np.linspace(0.0, 1.0, steps + 1, dtype=np.float32)


def initial_noise(rng: np.random.Generator, shape: tuple[int, ...], temperature: float = 1.0) -> np.ndarray:
    """Return float32 normal noise of `shape`, scaled by `temperature`."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(temperature)


def euler(velocity: Velocity, x: np.ndarray, t: np.float32, dt: np.float32) -> np.ndarray:
    """Advance by one evaluation."""
    return x + dt * velocity(x, float(t))


SOLVERS: dict[str, Advance] = {"euler": euler}


def solve(
    solver: str,
    velocity: Velocity,
    noise: np.ndarray,
    times: np.ndarray,
    prompt_frames: int = 0,
    *,
    on_step: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return float32 (1, C, T): `noise` (1, C, T) carried along `velocity` through `times` (steps + 1,) (section 13.2).

    The first `prompt_frames` frames are zero at the start and after every step. Time advances by t += dt in float32, as
    in the original. `on_step` is called with the number of finished steps. Raises UsageError for an unknown solver and
    for times that do not rise.
    """
    if solver not in SOLVERS:
        raise UsageError(f"no solver {solver!r}; have: {', '.join(SOLVERS)}")
    times = np.asarray(times, np.float32)
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
        raise UsageError(f"solver times must be two or more and rise, got {times.tolist()}")
    if not 0 <= prompt_frames <= noise.shape[-1]:
        raise ValueError(f"prompt_frames is {prompt_frames}; the noise has {noise.shape[-1]} frames")
    advance = SOLVERS[solver]
    x = np.array(noise, np.float32)
    x[..., :prompt_frames] = 0
    t, dt = times[0], times[1] - times[0]
    for step in range(1, len(times)):
        x = np.asarray(advance(velocity, x, t, dt), np.float32)
        x[..., :prompt_frames] = 0
        t = t + dt
        if step + 1 < len(times):
            dt = times[step + 1] - t  # from where we are, so that rounding does not add up
        if on_step:
            on_step(step)
    return x


def solve_euler(
    velocity: Velocity,
    noise: np.ndarray,
    times: np.ndarray,
    prompt_frames: int = 0,
    *,
    on_step: Callable[[int], None] | None = None,
) -> np.ndarray:
    """`solve` by Euler's method."""
    return solve("euler", velocity, noise, times, prompt_frames, on_step=on_step)
