"""The mel that model and vocoder share."""

from __future__ import annotations

from functools import cache

import numpy as np

FLOOR = 1e-5
BREAK = 700.0  # Hz, of HTK's scale: mel = 2595 log10(1 + f / 700)


def log_mel(samples: np.ndarray, sample_rate: int, bands: int, hop_length: int, n_fft: int) -> np.ndarray:
    """Return float32 (1, bands, count // hop + 1): natural-log mel of `samples` (count,), more than n_fft / 2 of them.

    Centred frames with reflected ends, periodic Hann window, magnitudes, HTK triangles of height 1, floor 1e-5.
    """
    padded = np.pad(np.asarray(samples, np.float32), n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    magnitude = np.abs(np.fft.rfft(frames * window))
    mel = triangles(sample_rate, bands, n_fft) @ magnitude.T
    logarithm: np.ndarray = np.log(np.maximum(mel, FLOOR)).astype(np.float32)
    return logarithm[None]


@cache
def triangles(sample_rate: int, bands: int, n_fft: int) -> np.ndarray:
    """Return (bands, n_fft // 2 + 1): triangles of height 1 between points that are even on HTK's mel scale."""
    top = np.log1p(sample_rate / 2 / BREAK)
    points = BREAK * np.expm1(np.linspace(0.0, top, bands + 2))
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    low, centre, high = points[:-2, None], points[1:-1, None], points[2:, None]
    found: np.ndarray = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0)
    found.flags.writeable = False
    return found
