"""Windows keep every frame once, and see enough around it."""

from __future__ import annotations

import numpy as np
import pytest

from ovconvert.runtime.windows import Window, windows

SIZES = [
    *((0, 5, 2), (1, 5, 2), (7, 5, 2), (8, 5, 2)),
    *((40, 5, 0), (40, 5, 3), (40, 5, 100), (40, 0, 3), (40, 100, 3), (41, 1, 1)),
]


def smoothed(signal: np.ndarray, reach: int) -> np.ndarray:
    """Return a convolution that looks `reach` frames to both sides, zeros beyond the ends, twice as fine as its input."""
    taps = np.arange(1.0, 2 * reach + 2)
    return np.repeat(np.convolve(np.pad(signal, reach), taps, "valid"), 2)


def in_windows(signal: np.ndarray, reach: int, size: int, seen: int) -> np.ndarray:
    parts = [np.zeros(0)]
    for window in windows(len(signal), size, seen):
        whole = smoothed(signal[window.begin : window.end], reach)
        parts.append(whole[2 * window.skip : 2 * (window.skip + window.count)])
    return np.concatenate(parts)


@pytest.mark.parametrize(("frames", "size", "reach"), SIZES)
def test_windows_keep_every_frame_once(frames: int, size: int, reach: int) -> None:
    kept = [
        frame
        for window in windows(frames, size, reach)
        for frame in range(window.begin + window.skip, window.begin + window.skip + window.count)
    ]
    assert kept == list(range(frames))


@pytest.mark.parametrize(("frames", "size", "reach"), SIZES)
def test_computed_in_windows_it_is_the_whole(frames: int, size: int, reach: int) -> None:
    signal = np.random.default_rng(1).standard_normal(frames)
    expected = smoothed(signal, reach) if frames else np.zeros(0)
    np.testing.assert_allclose(in_windows(signal, reach, size, reach), expected, rtol=1e-12, atol=1e-12)


def test_a_part_keeps_its_frames_and_sees_those_around_it() -> None:
    found = list(windows(40, 5, 3, range(10, 21)))
    assert found == [Window(7, 18, 3, 5), Window(12, 24, 3, 6)]
    signal = np.random.default_rng(1).standard_normal(40)
    pieces = [
        smoothed(signal[w.begin : w.end], 3)[2 * w.skip : 2 * (w.skip + w.count)]
        for piece in (range(10), range(10, 21), range(21, 40))
        for w in windows(40, 5, 3, piece)
    ]
    np.testing.assert_allclose(np.concatenate(pieces), smoothed(signal, 3), rtol=1e-12, atol=1e-12)


def test_with_less_around_it_is_not() -> None:
    signal = np.random.default_rng(1).standard_normal(40)
    assert np.abs(in_windows(signal, 3, 5, 2) - smoothed(signal, 3)).max() > 0.1


def test_how_much_is_computed() -> None:
    found = list(windows(21, 5, 2))
    assert found == [Window(0, 7, 0, 5), Window(3, 12, 2, 5), Window(8, 17, 2, 5), Window(13, 21, 2, 6)]
    for frames in range(1, 60):
        last = list(windows(frames, 8, 2))[-1]
        assert frames < 8 or 4 <= last.count <= 12
    with pytest.raises(ValueError, match="at least 0"):
        next(windows(5, -1, 0))
