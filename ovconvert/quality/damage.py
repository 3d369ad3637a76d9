"""Known damage, in rungs of rising severity, that a measure of quality has to put in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Damage = Callable[[np.ndarray, float], np.ndarray]  # (samples (count,), severity) -> samples

FRAME, HOP = 512, 128  # samples, of the two that work on frames
SEARCH = 200  # samples that a stretched frame may be moved to fit the one before


def noise(samples: np.ndarray, snr_db: float) -> np.ndarray:
    """Add white noise at a signal-to-noise ratio in dB."""
    drawn = np.random.default_rng(0).standard_normal(len(samples))
    scale = float(np.sqrt((samples.astype(np.float64) ** 2).mean()) * 10 ** (-snr_db / 20))
    noisy: np.ndarray = samples + scale * drawn
    return noisy


def bit_crush(samples: np.ndarray, bits: float) -> np.ndarray:
    """Round to so many bits, of which the peak takes all."""
    peak = float(np.abs(samples).max())
    top = float(2 ** (bits - 1))
    crushed: np.ndarray = np.round(samples / peak * top) / top * peak
    return crushed


def low_pass(samples: np.ndarray, hertz: float, rate: int = 16000) -> np.ndarray:
    """Cut everything above a frequency, over a tenth of it."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / rate)
    return np.fft.irfft(spectrum * np.clip((1.1 * hertz - frequency) / (0.1 * hertz), 0, 1), len(samples))


def clipping(samples: np.ndarray, share: float) -> np.ndarray:
    """Cut everything above a share of the peak."""
    limit = share * np.abs(samples).max()
    return samples.clip(-limit, limit)


def phase(samples: np.ndarray, spread: float) -> np.ndarray:
    """Turn the phase of every bin of the short-time spectrum at random, by at most `spread` half turns."""
    padded = np.pad(samples.astype(np.float64), FRAME)
    starts = np.arange(0, len(padded) - FRAME + 1, HOP)
    window = np.hanning(FRAME + 1)[:-1]
    spectra = np.fft.rfft(padded[starts[:, None] + np.arange(FRAME)] * window, axis=1)
    turn = np.random.default_rng(0).uniform(-1, 1, spectra.shape) * spread * np.pi
    frames = np.fft.irfft(spectra * np.exp(1j * turn), FRAME, axis=1) * window
    return _added(frames, starts, window**2, len(padded))[FRAME : FRAME + len(samples)]


def stretch(samples: np.ndarray, factor: float) -> np.ndarray:
    """Change the duration by a factor and keep the pitch: overlapping frames, each moved to where it fits the one before
    best (WSOLA, Verhelst and Roelands, 1993)."""
    padded = np.pad(samples.astype(np.float64), FRAME + SEARCH)
    window = np.hanning(FRAME + 1)[:-1]
    count = int(len(samples) * factor / (FRAME // 2)) + 1
    frames, expected = [], padded[SEARCH : SEARCH + FRAME]
    for number in range(count):
        centre = SEARCH + int(number * (FRAME // 2) / factor)
        near = padded[centre - SEARCH : centre + SEARCH + FRAME]
        place = centre - SEARCH + int(np.argmax(np.correlate(near, expected, "valid")))
        frames.append(padded[place : place + FRAME] * window)
        expected = padded[place + FRAME // 2 : place + FRAME // 2 + FRAME]
        expected = np.pad(expected, (0, FRAME - len(expected)))
    starts = np.arange(count) * (FRAME // 2)
    whole = _added(np.array(frames), starts, window, starts[-1] + FRAME)
    return whole[FRAME // 2 :][: round(len(samples) * factor)]


def _added(frames: np.ndarray, starts: np.ndarray, window: np.ndarray, length: int) -> np.ndarray:
    """Add frames (n, FRAME) where they start, over the sum of their windows."""
    total, weight = np.zeros(length), np.zeros(length)
    for start, frame in zip(starts, frames, strict=True):
        total[start : start + FRAME] += frame
        weight[start : start + FRAME] += window
    return total / np.maximum(weight, 1e-3)


LADDERS: Mapping[str, tuple[Damage, str, tuple[float, ...]]] = {
    "noise": (noise, "dB", (40, 30, 20, 10, 0)),
    "bit crush": (bit_crush, "bits", (10, 8, 6, 5, 4)),
    "low-pass": (low_pass, "Hz", (6000, 4000, 3000, 2000, 1000)),
    "clipping": (clipping, "of the peak", (0.6, 0.4, 0.25, 0.15, 0.08)),
    "phase": (phase, "half turns", (0.1, 0.2, 0.4, 0.7, 1.0)),
    "time stretch": (stretch, "times", (1.06, 1.12, 1.2, 1.35, 1.5)),
}
"""By kind: the damage, the unit of its severity, and severities from slight to severe."""
