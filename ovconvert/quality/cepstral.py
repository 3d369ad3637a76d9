"""Mel-cepstral distance of two takes, after their alignment."""

from __future__ import annotations

import numpy as np

from ovconvert.quality import alignment
from ovconvert.quality.metric import GIVEN, Instrument, Listen, Metric

MCD = Metric("mel-cepstral distance", "dB", "lower", 20.0, 0.1)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mel-cepstral distance in dB of two takes' samples, (count,) each, along their alignment.

    (10 / ln 10) sqrt(2 sum over k of (c_k - c'_k)^2), mean over the path (Kubichek, 1993), k from 1, so that loudness does
    not count: the root mean square of the difference of the smoothed spectra. The mean is over the path's length, so that a
    longer path does not make it smaller. Raises ValueError for no samples.
    """
    pair = [alignment.cepstra(alignment.levels(samples)) for samples in (first, second)]
    rows, columns = alignment.path(*pair)
    squares = ((pair[0][rows] - pair[1][columns]) ** 2).sum(1)
    return float(10 / np.log(10) * np.sqrt(2 * squares).mean())


def _open() -> Listen:
    return lambda take, against: (min(distance(against.samples, take.samples), MCD.worst),)


INSTRUMENT = Instrument((MCD,), GIVEN, _open, lambda: f"{alignment.CEPSTRA} cepstra of {alignment.BANDS} bands, aligned")
