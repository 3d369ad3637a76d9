"""The MOS proxy: how much worse than its reference a take sounds, on the scale of a mean opinion score, 5 to 1.

    MOS = 1 + 4 exp(-X^2 / (X + 0.3)),    X = (sum over parts of x^4)^(1/4)

Each part hears one kind of damage and gives x >= 0, which is 0 for the reference itself. The fourth power lets the worst
part decide, so that damage that two parts hear is not counted twice, and none is forgotten (Minkowski's sum, as PESQ pools
over time). Damage well below X = 0.3 is hardly heard and costs little: 0.1 MOS is X = 0.1, a mean difference of 0.4 dB.
Parts:

- `spectrum`: mean difference of the mel levels in dB along the alignment, of what is above the reference's peak - 60 dB;
- `envelope`: 1 - the correlation of the band envelopes over 0.39 s, so aligned (after ESTOI, Jensen and Taal, 2016);
- `tempo`: the logarithm of the ratio of the durations, edges of silence left out;
- `naturalness`: by how much DNSMOS falls, the mean of its overall and P.808 scores. Only where speechmos is installed.

The scales of the parts are set on known damage (reports/quality-ladders). The proxy says how far a take is from a given
reference, not how natural the reference is. Words, voice and the choices of the decoder have measures of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec

import numpy as np

from ovconvert.quality import alignment, dnsmos
from ovconvert.quality.metric import APART, GIVEN, RATE, Instrument, Listen, Metric, of_package

VERSION = 1  # of the formula: another one gives other numbers
MOS = Metric("MOS proxy", "MOS", "higher", 1.0, 0.05)
MOS_APART = Metric("MOS proxy, seeds apart", "MOS", "higher", 1.0, 0.05)
EXPONENT = 4.0
HEARD = 0.3  # of the pooled damage: below, it costs little

AUDIBLE_DB = 60.0  # below the reference's peak
SPECTRUM_DB = 4.0  # of mean difference: x is 1
SEGMENT = 39  # frames of an envelope, 0.39 s
ENVELOPE = 0.17  # of correlation lost: x is 1
TEMPO = 0.35  # of the logarithm of the ratio of durations: x is 1
NATURALNESS = 0.9  # of the logarithm of what DNSMOS leaves: x is 1
EDGE_DB = 40.0  # below the loudest frame: silence at the edges
LEAST = 1e-4  # of a peak: there is nothing to hear below

Parts = Mapping[str, float]
Naturalness = Callable[[np.ndarray], float]


def pooled(parts: Parts) -> float:
    """Return the MOS of the damage that the parts heard."""
    total = sum(value**EXPONENT for value in parts.values()) ** (1 / EXPONENT)
    return float(1 + 4 * np.exp(-(total**2) / (total + HEARD)))


def parts(reference: np.ndarray, samples: np.ndarray, naturalness: Naturalness | None = None) -> dict[str, float]:
    """Return what each part hears in `samples` (count,) beside `reference` (count,). Level does not count.

    Raises ValueError if either is silence.
    """
    pair = [_levelled(one) for one in (reference, samples)]
    first, second = (alignment.levels(one) for one in pair)
    rows, columns = alignment.path(alignment.cepstra(first), alignment.cepstra(second))
    floor = first.max() - AUDIBLE_DB
    heard = np.maximum(first, floor)[rows], np.maximum(second, floor)[columns]
    found = {
        "spectrum": float(np.abs(heard[0] - heard[1]).mean()) / SPECTRUM_DB,
        "envelope": (1 - _correlation(*heard)) / ENVELOPE,
        "tempo": abs(float(np.log(_spoken(second) / _spoken(first)))) / TEMPO,
    }
    if naturalness is not None:
        before, after = (max(naturalness(one) - 1, 0.05) for one in pair)
        found["naturalness"] = max(float(np.log(before / after)), 0.0) / NATURALNESS
    return found


def _levelled(samples: np.ndarray) -> np.ndarray:
    """Return samples at one root mean square of the frames that hold speech. Raises ValueError for silence."""
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak > LEAST:
        raise ValueError("silence has no quality")
    frames = np.resize(samples, (max(len(samples) // 320, 1), 320)).astype(np.float64)
    power = (frames**2).mean(1)
    active = power[power > power.max() * 10 ** (-EDGE_DB / 10)]
    scaled: np.ndarray = samples * (0.05 / np.sqrt(active.mean()))
    return scaled


def _spoken(levels: np.ndarray) -> float:
    """Return the seconds from the first to the last frame that is not silence."""
    loud = np.flatnonzero(levels.max(1) > levels.max() - EDGE_DB)
    return float(loud[-1] - loud[0] + 1) * alignment.HOP / RATE


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean correlation of two sets of levels (frames, bands) in dB over segments of time.

    As in ESTOI, amplitudes are normalised along time in each band, then over the bands in each frame.
    """
    length = min(SEGMENT, len(first))
    starts = range(0, len(first) - length + 1, max(length // 2, 1))
    scores = []
    for start in starts:
        one, other = (_normalised(10 ** (level[start : start + length] / 20)) for level in (first, second))
        scores.append(float((one * other).sum(1).mean()))
    return float(np.mean(scores))


def _normalised(amplitudes: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        amplitudes = amplitudes - amplitudes.mean(axis, keepdims=True)
        amplitudes = amplitudes / np.maximum(np.linalg.norm(amplitudes, axis=axis, keepdims=True), 1e-12)
    return amplitudes


def open_proxy() -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the proxy: (reference (count,), samples (count,)) -> MOS, of all parts that the installation has."""
    naturalness = _naturalness() if _natural() else None
    return lambda reference, samples: pooled(parts(reference, samples, naturalness))


def made_of() -> str:
    """Return what the proxy is made of here."""
    names = "spectrum, envelope, tempo" + (f", naturalness by {of_package('speechmos')}" if _natural() else "")
    return f"version {VERSION}: {names}"


@cache
def _naturalness() -> Naturalness:
    """Return the one listener that remembers what it has judged."""
    return dnsmos.open_naturalness()


def _natural() -> bool:
    return all(find_spec(name) is not None for name in dnsmos.NEEDS)


def _open() -> Listen:
    proxy = open_proxy()
    return lambda take, against: (proxy(against.samples, take.samples),)


INSTRUMENT = Instrument((MOS,), GIVEN, _open, made_of)
INSTRUMENT_APART = Instrument((MOS_APART,), APART, _open, made_of)
