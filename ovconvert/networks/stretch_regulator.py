"""Length regulator that stretches by linear interpolation: content features to conditioning frames.

CosyVoice, spec section 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ovconvert.networks.length_regulator import refiner
from ovconvert.networks.shapes import Shapes, below, count


@dataclass(frozen=True)
class StretchRegulatorConfig:
    channels: int
    outputs: int
    stages: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> StretchRegulatorConfig:
        """Read every size; keys as in flow.pt. `model` holds conv, norm, activation per stage and one last convolution."""
        own = below(shapes, "length_regulator.")
        stages = (count(own, "model.") - 1) // 2
        return cls(channels=own["model.0.weight"][0], outputs=own[f"model.{3 * stages}.weight"][0], stages=stages)


class _Regulator(nn.Module):
    def __init__(self, config: StretchRegulatorConfig) -> None:
        super().__init__()
        self.model = refiner(config.channels, config.outputs, config.stages)


class StretchRegulator(nn.Module):
    """forward(x (1, N, channels), index (T,) int64, fraction (T,) float32) -> (1, outputs, T).

    Frame t lies `fraction` of the way from x[index] to x[index + 1]; where pieces are stretched apart, the caller gives
    fraction 0 at the last frame of a piece (`ovconvert.runtime.resize.linear_index`). The norm spans all channels and the
    whole time axis, so time must not be padded.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: StretchRegulatorConfig) -> None:
        super().__init__()
        self.config = config
        self.length_regulator = _Regulator(config)

    def forward(self, x: Tensor, index: Tensor, fraction: Tensor) -> Tensor:
        here = x.index_select(1, index)
        # behind the last frame stands a copy of it, which only a fraction of 0 meets
        there = torch.cat((x, x[:, -1:]), dim=1).index_select(1, index + 1)
        stretched = here + (there - here) * fraction[None, :, None]
        return self.length_regulator.model(stretched.transpose(1, 2))
