"""Pitch as a training target: a mean error of the mel hardly sees it, so the networks are asked for it by itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

STEP = 0.01  # seconds, of a contour
LOWEST, HIGHEST = 50.0, 400.0  # Hz
WINDOW = 1024  # samples: three periods of the lowest voice
VOICED = 0.5  # normalised autocorrelation: less is no voice
FIRST = 0.85  # of the best peak: the shortest period that reaches it is taken, its multiples fit as well
ENERGY = 1e-3  # of the utterance's loudest frame
CENTRE, OCTAVE = 7.0, 3.0  # targets are near zero mean and unit variance: (log2 F0 - CENTRE) * OCTAVE


def contour(wave: np.ndarray, rate: int) -> np.ndarray:
    """Return (frames, 1) float32: the target, every STEP of a wave (samples,); not a number where unvoiced.

    The period is the lag with the highest autocorrelation, each lag's divided by the energy of the two stretches that it
    compares.
    """
    shortest, longest = int(rate / HIGHEST), int(rate / LOWEST)
    padded = np.pad(wave.astype(np.float64), WINDOW)
    starts = np.arange(0, len(wave) + 1, int(STEP * rate)) + WINDOW // 2
    frames = padded[starts[:, None] + np.arange(WINDOW)]
    frames -= frames.mean(1, keepdims=True)
    spectra = np.fft.rfft(frames, 2 * WINDOW)
    lags = np.fft.irfft(np.abs(spectra) ** 2)[:, : longest + 1]
    energy = np.concatenate([np.zeros((len(frames), 1)), np.cumsum(frames**2, 1)], 1)
    span = np.arange(longest + 1)
    pairs = np.sqrt(energy[:, WINDOW - span] * (energy[:, -1:] - energy[:, span]))
    fit = lags / np.maximum(pairs, 1e-9)
    inside = fit[:, shortest : longest + 1]
    peak = np.zeros_like(inside, bool)
    peak[:, 1:-1] = (inside[:, 1:-1] >= inside[:, :-2]) & (inside[:, 1:-1] >= inside[:, 2:])
    best = np.where(peak, inside, 0).max(1)
    period = shortest + np.argmax(peak & (inside >= FIRST * best[:, None]), 1)
    loud = energy[:, -1] > ENERGY * max(energy[:, -1].max(), 1e-9)
    voiced = (best >= VOICED) & loud
    return np.where(voiced, (np.log2(rate / period) - CENTRE) * OCTAVE, np.nan).astype(np.float32)[:, None]


def at(pitch: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the values (len(times),) nearest to `times`, in seconds, of a contour (frames, 1) of one value per STEP."""
    return pitch[np.clip(np.round(times / STEP).astype(int), 0, len(pitch) - 1), 0]


def error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute error of `found` where `wanted`, of the same shape, is a number; zero where none is."""
    voiced = ~wanted.isnan()
    return (found - torch.where(voiced, wanted, found.detach())).abs().sum() / voiced.sum().clamp(min=1)
