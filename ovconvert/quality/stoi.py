"""Intelligibility of a take beside its reference: STOI (Taal et al., 2011) and ESTOI (Jensen and Taal, 2016), by pystoi.

Both want equal timing to the frame; of takes of the same speech codes that is given.
"""

from __future__ import annotations

import warnings

import numpy as np

from ovconvert.quality.metric import GIVEN, RATE, Instrument, Listen, Metric, Take, of_package

STOI = Metric("STOI", "", "higher", 0.0, 0.005)
ESTOI = Metric("ESTOI", "", "higher", 0.0, 0.01)
SILENCE = 1e-4  # of a peak


def _open() -> Listen:
    from pystoi import stoi

    def listen(take: Take, against: Take) -> tuple[float, ...]:
        length = min(len(take.samples), len(against.samples))
        pair = [one.samples[:length].astype(np.float64) for one in (against, take)]
        if min(np.abs(one).max(initial=0.0) for one in pair) < SILENCE:
            raise ValueError("silence is not intelligible")
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # so pystoi says that there are too few frames with speech
            try:
                return tuple(float(stoi(*pair, RATE, extended=extended)) for extended in (False, True))
            except RuntimeWarning as error:
                raise ValueError(f"STOI finds nothing to judge: {error}") from error

    return listen


INSTRUMENT = Instrument(
    (STOI, ESTOI), GIVEN, _open, lambda: of_package("pystoi"), ("pystoi",), "pip install 'ovconvert[quality]'"
)
