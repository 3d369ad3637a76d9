"""DNSMOS: what listeners would say, estimated by the networks inside speechmos (Reddy, Gopal and Cutler, 2022).

Its word is about differences: clean synthetic speech has about 3 of 5. It hears noise, buzz and broken phases; it hears
neither a low-pass nor clipping.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovconvert.quality.metric import FREE, RATE, Instrument, Listen, Metric, Take, of_package

SEGMENT = 144160  # samples that the networks look at; shorter audio is repeated
SILENCE = 1e-4  # below this peak there is nothing to judge
NEEDS = ("speechmos", "librosa", "onnxruntime")
REMEMBERED = 256  # opinions

OVERALL = Metric("DNSMOS overall", "MOS", "higher", 1.0, 0.05)
P808 = Metric("DNSMOS P.808", "MOS", "higher", 1.0, 0.05)


@dataclass(frozen=True)
class Opinion:
    """Mean opinion scores, 1 to 5."""

    overall: float
    signal: float
    background: float
    p808: float


class Listener:
    """DNSMOS on one thread."""

    def __init__(self) -> None:
        """Open the networks. Raises ImportError if speechmos, or what it needs, is not installed."""
        import onnxruntime
        from speechmos import dnsmos

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        directory = Path(dnsmos.__file__).parent / "dnsmos_models"
        primary, p808 = str(directory / "sig_bak_ovr.onnx"), str(directory / "model_v8.onnx")
        self._judge = dnsmos.DNSMOS(primary, p808)
        self._judge.onnx_sess = onnxruntime.InferenceSession(primary, options)  # its own take every core
        self._judge.p808_onnx_sess = onnxruntime.InferenceSession(p808, options)

    def judge(self, samples: np.ndarray) -> Opinion:
        """Return the opinion of samples (count,) at 16 kHz; shorter ones are repeated to exactly one segment of 9 s, so that
        every utterance is looked at once. Raises ValueError if there is nothing to hear."""
        if np.abs(samples).max(initial=0.0) < SILENCE:
            raise ValueError("silence has no opinion score")
        segment = np.resize(samples, max(SEGMENT, len(samples))).clip(-1, 1)
        found = self._judge(segment.astype(np.float32), RATE, is_personalized_MOS=False)
        return Opinion(*(float(found[name]) for name in ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")))


def open_naturalness() -> Callable[[np.ndarray], float]:
    """Return a function that gives the mean of the overall and the P.808 score of samples (count,), remembering some."""
    listener = Listener()
    known: OrderedDict[bytes, float] = OrderedDict()

    def naturalness(samples: np.ndarray) -> float:
        key = np.asarray(samples, np.float32).tobytes()
        if key not in known:
            opinion = listener.judge(samples)
            known[key] = (opinion.overall + opinion.p808) / 2
            while len(known) > REMEMBERED:
                known.popitem(last=False)
        return known[key]

    return naturalness


def _open() -> Listen:
    listener = Listener()

    def listen(take: Take, against: Take) -> tuple[float, ...]:
        opinion = listener.judge(take.samples)
        return opinion.overall, opinion.p808

    return listen


INSTRUMENT = Instrument(
    (OVERALL, P808), FREE, _open, lambda: of_package("speechmos"), NEEDS, "pip install 'ovconvert[quality]'"
)
