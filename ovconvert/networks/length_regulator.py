"""Length regulator: content features to conditioning frames of a given number (spec section 13.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class LengthRegulatorConfig:
    inputs: int
    channels: int
    outputs: int
    stages: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> LengthRegulatorConfig:
        """Read every size. `model` holds conv, norm, activation per stage and one last convolution."""
        channels, inputs = shapes["content_in_proj.weight"]
        stages = (count(shapes, "model.") - 1) // 2
        return cls(inputs=inputs, channels=channels, outputs=shapes[f"model.{3 * stages}.weight"][0], stages=stages)


class _Norm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        # nn.GroupNorm first compares sizes in Python, which a tracer cannot follow
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class LengthRegulator(nn.Module):
    """forward(x (1, N, inputs), index (T_out,) int64) -> (1, T_out, channels).

    index is the nearest-neighbour map `ovconvert.runtime.resize.nearest_index(N, T_out)`: it needs a float32 scale,
    which a runtime's resize need not use. The norm spans all channels and the whole time axis, so time must not be
    padded.
    """

    UNUSED: tuple[str, ...] = ("embedding.weight", "mask_token")

    def __init__(self, config: LengthRegulatorConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.content_in_proj = nn.Linear(config.inputs, channels)
        stages: list[nn.Module] = []
        for _ in range(config.stages):
            stages += (nn.Conv1d(channels, channels, 3, padding=1), _Norm(1, channels), nn.Mish())
        self.model = nn.Sequential(*stages, nn.Conv1d(channels, config.outputs, 1))

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        x = self.content_in_proj(x).index_select(1, index)
        return self.model(x.transpose(1, 2)).transpose(1, 2)
