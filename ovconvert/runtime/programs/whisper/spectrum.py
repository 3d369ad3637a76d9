"""The front end: samples to the log-mel spectrum that the encoder hears."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ovconvert.runtime.features import mel_basis

FLOOR = 1e-10
BLOCK = 3000  # frames at a time, which bounds the memory
RANGE = 8.0  # decades below the loudest value that are kept


def log_mel(samples: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """Return float32 (bands, count // hop): the spectrum of `samples` (count,), padded to whole windows.

    Centred frames with reflected ends, periodic Hann window, power, Slaney filters, log10, the lowest 8 decades, scaled to
    about -1 to 1 (arXiv 2212.04356, section 2.2).
    """
    size, hop = settings["n_fft"], settings["hop_length"]
    padded = np.pad(np.asarray(samples, np.float32), size // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][: len(samples) // hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    basis = mel_basis(settings["sampling_rate"], size, settings["feature_size"], 0.0, 8000.0)
    blocks = np.array_split(frames, 1 + len(frames) // BLOCK)
    power = np.concatenate([np.abs(np.fft.rfft(block * window)) ** 2 for block in blocks])
    logs = np.log10(np.maximum(basis @ power.T, FLOOR))
    result: np.ndarray = (np.maximum(logs, logs.max() - RANGE) + 4.0) / 4.0
    return result.astype(np.float32)
