"""What two recordings of one text differ in, drawn: both spectrograms, and their difference."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence

import numpy as np

WINDOW, HOP = 512, 128  # samples
DEPTH_DB = 80.0  # shown below the peak
SPAN_DB = 30.0  # of the difference, to either side


def difference(sounds: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a PNG of the spectrograms of two WAV files of int16, by the names they are given, and of their difference.

    The second is as it is in time; of unequal lengths the shorter decides. Nothing (b"") where there is no audio to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    (rate, first), (_, second) = (_samples(data) for _, data in sounds)
    levels = [_levels(samples[: min(len(first), len(second))]) for samples in (first, second)]
    if not levels[0].shape[1]:
        return b""
    peak = max(level.max() for level in levels)
    figure = Figure(figsize=(8, 5), layout="constrained")
    extent = (0.0, levels[0].shape[1] * HOP / rate, 0.0, rate / 2000)
    drawn = [
        *((name, level, "magma", (peak - DEPTH_DB, peak)) for (name, _), level in zip(sounds, levels, strict=True)),
        (f"{sounds[1][0]} - {sounds[0][0]}", _difference(levels, peak), "RdBu_r", (-SPAN_DB, SPAN_DB)),
    ]
    for axes, (name, level, colours, (low, high)) in zip(figure.subplots(3, 1, sharex=True), drawn, strict=True):
        image = axes.imshow(level, origin="lower", aspect="auto", extent=extent, cmap=colours, vmin=low, vmax=high)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylabel("kHz")
        figure.colorbar(image, ax=axes, label="dB")
    figure.supxlabel("s", fontsize=9)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def _samples(data: bytes) -> tuple[int, np.ndarray]:
    with wave.open(io.BytesIO(data)) as file:
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def _levels(samples: np.ndarray) -> np.ndarray:
    """Return the levels (bins, frames) in dB."""
    starts = np.arange(0, len(samples) - WINDOW + 1, HOP)
    frames = samples[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    found: np.ndarray = 20 * np.log10(np.abs(np.fft.rfft(frames, axis=1)).T + 1e-6)
    return found


def _difference(levels: Sequence[np.ndarray], peak: float) -> np.ndarray:
    """Return second - first, where what is too low to be drawn counts as the lowest that is."""
    first, second = (np.maximum(level, peak - DEPTH_DB) for level in levels)
    found: np.ndarray = second - first
    return found
