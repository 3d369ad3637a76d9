"""Time alignment: mel levels of a take, their cepstra, and the path on which two takes say the same."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ovconvert.quality.metric import RATE

WINDOW, HOP = 512, 160  # samples: 32 ms, every 10 ms
BANDS = 40
LOWEST_HZ = 50.0
CEPSTRA = 13  # without the zeroth, which is loudness
FLOOR = 1e-10  # of full scale, power


def levels(samples: np.ndarray) -> np.ndarray:
    """Return the mel levels (frames, BANDS) in dB of samples (count,); frames are centred, count // HOP + 1 of them."""
    padded = np.pad(np.asarray(samples, np.float64), WINDOW // 2)
    starts = np.arange(len(samples) // HOP + 1) * HOP
    frames = padded[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 / np.hanning(WINDOW).sum() ** 2
    found: np.ndarray = 10 * np.log10(power @ _filters().T + FLOOR)
    return found


def cepstra(level: np.ndarray) -> np.ndarray:
    """Return the mel-cepstra (frames, CEPSTRA) of levels (frames, BANDS) in dB.

    c_k of ln P = c_0 + 2 sum over k of c_k cos(pi k (n + 1/2) / BANDS), P the power in band n.
    """
    k, n = np.arange(1, CEPSTRA + 1)[:, None], np.arange(BANDS)[None]
    basis = np.cos(np.pi * k * (n + 0.5) / BANDS) / BANDS
    found: np.ndarray = level * (np.log(10) / 10) @ basis.T
    return found


def path(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices, both (length,), at which rows of `first` (m, d) and `second` (n, d) lie beside each other.

    Dynamic time warping with the steps (1, 1), (1, 0) and (0, 1), both ends fixed, over Euclidean distances (Sakoe and
    Chiba, 1978, without their window: m n cells are few here). Raises ValueError if either has no rows.
    """
    if not len(first) or not len(second):
        raise ValueError("nothing to align")
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    distance = np.sqrt(np.maximum(squared, 0))
    total = np.empty_like(distance)
    total[0] = np.cumsum(distance[0])
    for i in range(1, len(distance)):
        # a row from the one above: best entry k <= j from above, then along the row, which costs sums[j] - sums[k - 1]
        above = np.minimum(total[i - 1], np.concatenate([[np.inf], total[i - 1][:-1]]))
        sums = np.cumsum(distance[i])
        total[i] = sums + np.minimum.accumulate(above - np.concatenate([[0.0], sums[:-1]]))
    return _traced(total)


def _traced(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walk back from the last cell of the summed distances (m, n) to the first; of equals the diagonal is taken."""
    i, j = total.shape[0] - 1, total.shape[1] - 1
    cells = [(i, j)]
    while i or j:
        steps = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        i, j = min((step for step in steps if min(step) >= 0), key=lambda step: total[step])
        cells.append((i, j))
    rows, columns = np.array(cells[::-1]).T
    return rows, columns


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Return triangles (BANDS, WINDOW // 2 + 1), evenly spaced in mel = 2595 log10(1 + f / 700) (O'Shaughnessy, 1987)."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_HZ, RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    return triangles
