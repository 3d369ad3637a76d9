"""ViSQOL for speech (Hines et al., 2015; version 3, Chinen et al., 2020) by visqol-python, with its lattice network.

The polynomial that stands in for the network judges too mildly (4.1 for noise at 20 dB, where the network says 1.4), so
without ai-edge-litert there is no ViSQOL here. It does not hear broken phases.
"""

from __future__ import annotations

from ovconvert.quality.metric import GIVEN, RATE, Instrument, Listen, Metric, Take, of_package

VISQOL = Metric("ViSQOL", "MOS", "higher", 1.0, 0.05)
NEEDS = ("visqol", "ai_edge_litert")


def _open() -> Listen:
    import numpy as np
    from visqol import VisqolApi

    judge = VisqolApi()
    judge.create(mode="speech", use_lattice_model=True)

    def listen(take: Take, against: Take) -> tuple[float, ...]:
        first, second = (one.samples.astype(np.float64) for one in (against, take))
        return (float(judge.measure_from_arrays(first, second, RATE).moslqo),)

    return listen


INSTRUMENT = Instrument(
    (VISQOL,),
    GIVEN,
    _open,
    lambda: f"{of_package('visqol-python')}, speech, lattice",
    NEEDS,
    "pip install 'ovconvert[quality-visqol]'",
)
