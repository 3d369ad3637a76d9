"""DNSMOS: what listeners would say, estimated by the networks inside speechmos.

Its word is about differences: clean speech of flite has only 2.9 of 5. It hears noise, buzz and broken phases; it does not
hear a low-pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEGMENT = 144160  # samples that the networks look at; speechmos repeats shorter audio
SILENCE = 1e-4  # below this peak there is nothing to judge


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
        found = self._judge(segment.astype(np.float32), 16000, is_personalized_MOS=False)
        return Opinion(*(float(found[name]) for name in ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")))
