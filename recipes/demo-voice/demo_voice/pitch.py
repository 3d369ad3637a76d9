"""Pitch as a training target: a mean error of the mel hardly sees it, so the networks are asked for it by itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ovconvert.quality import pitch
from ovconvert.quality.pitch import STEP

CENTRE, OCTAVE = 7.0, 3.0  # targets are near zero mean and unit variance: (log2 F0 - CENTRE) * OCTAVE


def contour(wave: np.ndarray, rate: int) -> np.ndarray:
    """Return (frames, 1) float32: the target, every STEP of a wave (samples,); not a number where unvoiced."""
    return ((np.log2(pitch.contour(wave, rate)) - CENTRE) * OCTAVE).astype(np.float32)[:, None]


def at(targets: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the values (len(times),) nearest to `times`, in seconds, of a contour (frames, 1) of one value per STEP."""
    return targets[np.clip(np.round(times / STEP).astype(int), 0, len(targets) - 1), 0]


def error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute error of `found` where `wanted`, of the same shape, is a number; zero where none is."""
    voiced = ~wanted.isnan()
    return (found - torch.where(voiced, wanted, found.detach())).abs().sum() / voiced.sum().clamp(min=1)
