"""Excitation of the vocoder: sines at the harmonics of f0, and noise where there is no voice.

CosyVoice, spec section 9.2; a neural source filter (Wang et al. 2019, arXiv 1904.12088).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes


@dataclass(frozen=True)
class HarmonicSourceConfig:
    """Sizes; `hop` samples per frame, `threshold` in Hz: a frame at or below it has no voice."""

    harmonics: int
    hop: int = 256
    sample_rate: int = 22050
    amplitude: float = 0.1
    noise: float = 0.003
    threshold: float = 10.0

    @classmethod
    def from_shapes(cls, shapes: Shapes, **known: Any) -> HarmonicSourceConfig:
        """Read the number of harmonics, the fundamental included; keys as in hift.pt. The rest stands in no shape."""
        return cls(harmonics=shapes["m_source.l_linear.weight"][1], **known)


class _Merge(nn.Module):
    def __init__(self, harmonics: int) -> None:
        super().__init__()
        self.l_linear = nn.Linear(harmonics, 1)


class HarmonicSource(nn.Module):
    """forward(f0 (1, T) in Hz, phase (1, H) in radians, noise (1, H, hop * T)) -> source (1, 1, hop * T) in [-1, 1].

    phase is where each harmonic starts and noise is standard normal: both are drawn outside, for in-graph noise cannot be
    compared. The original starts the fundamental at 0 and the others anywhere.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: HarmonicSourceConfig) -> None:
        super().__init__()
        self.config = config
        self.m_source = _Merge(config.harmonics)

    def forward(self, f0: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        voiced = (f0 > self.config.threshold).to(torch.float32)[:, None, :, None]
        sines = self.config.amplitude * torch.sin(2 * math.pi * self._turns(f0) + phase[:, :, None, None])
        spread = voiced * self.config.noise + (1 - voiced) * (self.config.amplitude / 3)
        excited = sines * voiced + spread * noise.unflatten(2, (-1, self.config.hop))
        return torch.tanh(self.m_source.l_linear(excited.flatten(2).transpose(1, 2))).transpose(1, 2)

    def _turns(self, f0: Tensor) -> Tensor:
        """Return (1, H, T, hop): turns of every harmonic up to each sample, within a frame from 0.

        f0 holds for a frame, so that only what whole frames add is summed, and of it only the fraction: a sum over samples
        would lose the phase to rounding.
        """
        order = torch.arange(1, self.config.harmonics + 1, device=f0.device).to(torch.float32)[None, :, None, None]
        sample = torch.arange(1, self.config.hop + 1, device=f0.device).to(torch.float32)
        step = f0[:, None, :, None] * order / self.config.sample_rate
        frame = _fraction(step * self.config.hop)
        turns = torch.cumsum(frame, dim=2) - frame + step * sample
        return _fraction(turns)


def _fraction(x: Tensor) -> Tensor:
    return x - x.floor()
