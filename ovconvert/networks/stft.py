"""Short-time Fourier transform and its inverse as convolutions, with a frame axis of any length.

CosyVoice, spec section 9.3. The forms with complex numbers do not convert: of OpenVINO 2026.4 the inverse is wrong or
missing (section 12).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Stft:
    """The transform of `size` samples every `hop`, under a periodic Hann window, centred. hop divides size evenly."""

    def __init__(self, size: int, hop: int) -> None:
        self.size, self.hop, self.bins = size, hop, size // 2 + 1
        sample = np.arange(size)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * sample / size)
        angle = 2 * np.pi * np.outer(np.arange(self.bins), sample) / size
        rows = np.concatenate((np.cos(angle), -np.sin(angle))) * window
        # every bin but the first and the last stands for itself and its mirror image
        share = np.full(self.bins, 2.0)
        share[[0, -1]] = 1.0
        self._rows, self._back, self._power = (
            torch.from_numpy(part.astype(np.float32)[:, None])
            for part in (rows, rows * np.tile(share, 2)[:, None] / size, (window**2)[None])
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2 * bins, T / hop + 1) of x (B, 1, T): the real parts, then the imaginary ones."""
        padded = F.pad(x, (self.size // 2, self.size // 2), mode="reflect")
        return F.conv1d(padded, self._rows, stride=self.hop)

    def inverse(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Return (B, 1, hop * (frames - 1)) of magnitude and phase in radians, each (B, bins, frames)."""
        spectrum = torch.cat((magnitude * phase.cos(), magnitude * phase.sin()), dim=1)
        edge = self.size // 2
        signal = F.conv_transpose1d(spectrum, self._back, stride=self.hop)[:, :, edge:-edge]
        # the windows overlap less at the two ends
        envelope = F.conv_transpose1d(torch.ones_like(spectrum[:, :1]), self._power, stride=self.hop)[:, :, edge:-edge]
        return signal / envelope
