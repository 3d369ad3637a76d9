"""WaveNet stack of gated convolutions, conditioned on one vector (spec section 13.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class WaveNetConfig:
    width: int
    layers: int
    kernel: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> WaveNetConfig:
        """Read every size; keys relative to `estimator.wavenet.`. The dilation is 1 in every layer."""
        _, width, kernel = shapes["in_layers.0.conv.conv.weight"]
        return cls(width=width, layers=count(shapes, "in_layers."), kernel=kernel)


class _Nested(nn.Module):
    """A convolution under its published name, `conv.conv`."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({"conv": nn.Conv1d(inputs, outputs, kernel)})

    def forward(self, x: Tensor) -> Tensor:
        return self.conv["conv"](x)


class WaveNet(nn.Module):
    """forward(x (B, width, T), condition (B, width, 1)) -> (B, width, T), T > kernel // 2 (reflect padding)."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: WaveNetConfig) -> None:
        super().__init__()
        self.config = config
        width, last = config.width, config.layers - 1
        self.cond_layer = _Nested(width, 2 * width * config.layers)
        self.in_layers = nn.ModuleList(_Nested(width, 2 * width, config.kernel) for _ in range(config.layers))
        self.res_skip_layers = nn.ModuleList(
            _Nested(width, width if layer == last else 2 * width) for layer in range(config.layers)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        width, padding = self.config.width, self.config.kernel // 2
        conditions = self.cond_layer(condition).chunk(self.config.layers, dim=1)
        skips: list[Tensor] = []
        for into, out, given in zip(self.in_layers, self.res_skip_layers, conditions, strict=True):
            gates = into(F.pad(x, (padding, padding), mode="reflect")) + given
            y = out(torch.tanh(gates[:, :width]) * torch.sigmoid(gates[:, width:]))
            if len(skips) < self.config.layers - 1:
                x, y = x + y[:, :width], y[:, width:]
            skips.append(y)
        return sum(skips[1:], skips[0])
