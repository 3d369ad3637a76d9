"""Pitch: its contour by autocorrelation, and how far that of one take lies from that of another."""

from __future__ import annotations

import numpy as np

from ovconvert.quality import alignment
from ovconvert.quality.metric import GIVEN, RATE, Instrument, Listen, Metric

STEP = 0.01  # seconds, of a contour
LOWEST, HIGHEST = 50.0, 400.0  # Hz
WINDOW = 1024  # samples: three periods of the lowest voice at 16 kHz
VOICED = 0.5  # normalised autocorrelation: less is no voice
FIRST = 0.85  # of the best peak: the shortest period that reaches it is taken, its multiples fit as well
ENERGY = 1e-3  # of the utterance's loudest frame
OCTAVE = 1200.0  # cents

F0 = Metric("F0 error", "cents", "lower", OCTAVE, 5.0)
VOICING = Metric("voicing error", "%", "lower", 100.0, 0.5)


def contour(wave: np.ndarray, rate: int = RATE) -> np.ndarray:
    """Return F0 (frames,) in Hz every STEP of a wave (samples,); not a number where unvoiced.

    The period is the lag with the highest autocorrelation, each lag's divided by the energy of the two stretches that it
    compares (the normalised cross-correlation of Atal, 1968, and Talkin's RAPT, 1995, without its tracking over time).
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
    return np.where(voiced, rate / period, np.nan)


def errors(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return (mean absolute F0 error in cents where both are voiced, % of frames where one alone is voiced).

    Along the alignment of the samples, (count,) each. Without a frame where both are voiced the first is OCTAVE. Raises
    ValueError for no samples.
    """
    levels = [alignment.levels(samples) for samples in (first, second)]
    rows, columns = alignment.path(*(alignment.cepstra(level) for level in levels))
    # a frame of levels is centred on its time, one of a contour too: both have one every 10 ms from 0 on
    one, other = contour(first)[rows], contour(second)[columns]
    both = ~np.isnan(one) & ~np.isnan(other)
    alone = np.isnan(one) != np.isnan(other)
    cents = OCTAVE * np.log2(other[both] / one[both])
    found = float(np.abs(cents).mean()) if both.any() else OCTAVE
    return min(found, OCTAVE), 100 * float(alone.mean())


def _open() -> Listen:
    return lambda take, against: errors(against.samples, take.samples)


INSTRUMENT = Instrument((F0, VOICING), GIVEN, _open, lambda: "normalised autocorrelation, aligned")
