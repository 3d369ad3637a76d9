"""The solver of flow matching."""

from __future__ import annotations

import numpy as np
import pytest

from ovconvert.errors import UsageError
from ovconvert.runtime.solve import SOLVERS, initial_noise, solve, sway_times, uniform_times


def test_a_linear_field_is_followed() -> None:
    # dx/dt = -x: Euler's answer is (1 - 1/n)^n, and tends to 1/e
    noise = np.ones((1, 2, 3), np.float32)
    for steps in (1, 4, 25):
        got = solve("euler", lambda x, t: -x, noise, uniform_times(steps))
        assert np.allclose(got, (1 - 1 / steps) ** steps, atol=1e-6)
    assert np.abs(solve("euler", lambda x, t: -x, noise, uniform_times(4)) - np.exp(-1)).max() > 0.01


def test_time_advances() -> None:
    seen: list[float] = []
    steps: list[int] = []

    def velocity(x: np.ndarray, t: float) -> np.ndarray:
        seen.append(t)
        return np.ones_like(x)

    noise = np.full((1, 2, 5), 3.0, np.float32)
    got = solve("euler", velocity, noise, uniform_times(25), on_step=steps.append)
    assert got.dtype == np.float32
    assert np.allclose(seen, np.arange(25) / 25, atol=1e-6)
    assert steps == list(range(1, 26))
    assert np.allclose(got, 4.0, atol=1e-5)
    assert (noise == 3).all()


def test_uneven_times() -> None:
    got = solve("euler", np.full_like, np.zeros((1, 1, 1), np.float32), np.array([0, 0.1, 0.5, 1]))
    assert got.item() == pytest.approx(0.1 * 0.4 + 0.5 * 0.5, abs=1e-6)


def curved(x: np.ndarray, t: float) -> np.ndarray:
    """A field whose solution from 1 is exp(sin(3 t))."""
    return x * np.float32(3 * np.cos(3 * t))


def miss(solver: str, steps: int, sway: float = 0.0) -> float:
    found = solve(solver, curved, np.ones((1, 1, 2), np.float32), sway_times(steps, sway))
    return float(np.abs(found - np.exp(np.sin(3.0))).max())


@pytest.mark.parametrize("sway", [0.0, -0.5])
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("ab2", 2), ("dpm++", 2)])
def test_solvers_have_their_order(solver: str, order: int, sway: float) -> None:
    # steps of a sixteenth of the length divide the error by 16 ** order
    assert 0.8 < np.log2(miss(solver, 16, sway) / miss(solver, 256, sway)) / (4 * order) < 1.4


def test_methods_of_second_order_are_nearer_and_know_uneven_steps() -> None:
    for solver in ("midpoint", "ab2"):
        assert miss(solver, 24, -0.5) < 0.3 * miss("euler", 24, -0.5)


def test_dpm_solver_is_exact_where_the_prediction_stays() -> None:
    # a field that points straight at a spectrum of ones: any number of steps arrives there
    noise = np.full((1, 1, 3), 7.0, np.float32)

    def straight(x: np.ndarray, t: float) -> np.ndarray:
        return (1 - x) / np.float32(1 - t)

    for steps in (1, 2, 5):
        assert np.allclose(solve("dpm++", straight, noise, sway_times(steps, -0.3)), 1.0, atol=1e-5)


def test_solvers_evaluate_as_often_as_they_say() -> None:
    for name, solver in SOLVERS.items():
        calls: list[float] = []

        def velocity(x: np.ndarray, t: float, calls: list[float] = calls) -> np.ndarray:
            calls.append(t)
            return x

        solve(name, velocity, np.ones((1, 1, 1), np.float32), uniform_times(6))
        assert len(calls) == 6 * solver.evaluations


def test_sway_puts_steps_early_or_late() -> None:
    for sway in (-1.0, -0.4, 0.4, 1.0):
        times = sway_times(10, sway)
        assert times[0] == 0 and times[-1] == 1 and (np.diff(times) > 0).all()
        assert (times[5] < 0.5) == (sway < 0)
    assert np.allclose(sway_times(10, -1.0), 1 - np.cos(np.pi / 2 * np.linspace(0, 1, 11)), atol=1e-6)
    assert np.array_equal(sway_times(10, 0.0), uniform_times(10))


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
    with pytest.raises(UsageError, match="no solver 'rk4'; have: euler, midpoint, ab2"):
        solve("rk4", lambda x, t: x, noise, uniform_times(2))
    for times in ([0.0], [0.0, 0.5, 0.5], [1.0, 0.0]):
        with pytest.raises(UsageError, match="rise"):
            solve("euler", lambda x, t: x, noise, np.array(times))
