"""The solver of flow matching."""

from __future__ import annotations

import numpy as np
import pytest

from ovconvert.errors import UsageError
from ovconvert.runtime.solve import initial_noise, solve, solve_euler, uniform_times


def test_a_linear_field_is_followed() -> None:
    # dx/dt = -x: Euler's answer is (1 - 1/n)^n, and tends to 1/e
    noise = np.ones((1, 2, 3), np.float32)
    for steps in (1, 4, 25):
        got = solve_euler(lambda x, t: -x, noise, uniform_times(steps))
        assert np.allclose(got, (1 - 1 / steps) ** steps, atol=1e-6)
    assert np.abs(solve_euler(lambda x, t: -x, noise, uniform_times(4)) - np.exp(-1)).max() > 0.01


def test_time_advances_and_the_prompt_stays_zero() -> None:
    seen: list[float] = []
    steps: list[int] = []

    def velocity(x: np.ndarray, t: float) -> np.ndarray:
        assert not x[..., :2].any()
        assert x[..., 2:].all()
        seen.append(t)
        return np.ones_like(x)

    noise = np.full((1, 2, 5), 3.0, np.float32)
    got = solve_euler(velocity, noise, uniform_times(25), 2, on_step=steps.append)
    assert got.dtype == np.float32
    assert np.allclose(seen, np.arange(25) / 25, atol=1e-6)
    assert steps == list(range(1, 26))
    assert not got[..., :2].any() and np.allclose(got[..., 2:], 4.0, atol=1e-5)
    assert (noise == 3).all()


def test_uneven_times() -> None:
    got = solve_euler(np.full_like, np.zeros((1, 1, 1), np.float32), np.array([0, 0.1, 0.5, 1]))
    assert got.item() == pytest.approx(0.1 * 0.4 + 0.5 * 0.5, abs=1e-6)


def test_noise_is_seeded_and_scaled() -> None:
    one = initial_noise(np.random.default_rng(3), (1, 80, 50))
    assert one.dtype == np.float32 and one.shape == (1, 80, 50)
    assert np.array_equal(one, initial_noise(np.random.default_rng(3), (1, 80, 50)))
    assert not np.array_equal(one, initial_noise(np.random.default_rng(4), (1, 80, 50)))
    assert np.allclose(initial_noise(np.random.default_rng(3), (1, 80, 50), 0.5), one / 2)


def test_what_cannot_be_solved_is_refused() -> None:
    noise = np.zeros((1, 1, 4), np.float32)
    with pytest.raises(UsageError, match="0 solver steps"):
        uniform_times(0)
    with pytest.raises(UsageError, match="no solver 'heun'; have: euler"):
        solve("heun", lambda x, t: x, noise, uniform_times(2))
    for times in ([0.0], [0.0, 0.5, 0.5], [1.0, 0.0]):
        with pytest.raises(UsageError, match="rise"):
            solve_euler(lambda x, t: x, noise, np.array(times))
    with pytest.raises(ValueError, match="prompt_frames is 5"):
        solve_euler(lambda x, t: x, noise, uniform_times(2), 5)
