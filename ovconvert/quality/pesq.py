"""PESQ, wide band (ITU-T P.862.2), by the package pesq. It tolerates a delay, but no change of tempo.

The package contains the reference code of the ITU, whose notice forbids commercial use other than evaluating the algorithm
itself. So it is in no extra but its own, and nothing else here needs it.
"""

from __future__ import annotations

from ovconvert.quality.metric import GIVEN, RATE, Instrument, Listen, Metric, Take, of_package

PESQ = Metric("PESQ", "MOS", "higher", 1.0, 0.05)


def _open() -> Listen:
    from pesq import PesqError, pesq

    def listen(take: Take, against: Take) -> tuple[float, ...]:
        try:
            return (float(pesq(RATE, against.samples, take.samples, "wb")),)
        except PesqError as error:
            raise ValueError(f"PESQ finds nothing to judge: {error}") from error

    return listen


INSTRUMENT = Instrument(
    (PESQ,), GIVEN, _open, lambda: f"{of_package('pesq')}, wide band", ("pesq",), "pip install 'ovconvert[quality-pesq]'"
)
