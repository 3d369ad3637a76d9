"""Length regulator: content features to conditioning frames of a given number (spec section 13.1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ovconvert.networks.group_norm import GroupNorm
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


def refiner(channels: int, outputs: int, stages: int) -> nn.Sequential:
    """Return what smooths stretched frames (1, channels, T) -> (1, outputs, T): conv, norm, Mish per stage, a last conv."""
    layers: list[nn.Module] = []
    for _ in range(stages):
        layers += (nn.Conv1d(channels, channels, 3, padding=1), GroupNorm(1, channels), nn.Mish())
    return nn.Sequential(*layers, nn.Conv1d(channels, outputs, 1))


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
        self.content_in_proj = nn.Linear(config.inputs, config.channels)
        self.model = refiner(config.channels, config.outputs, config.stages)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        x = self.content_in_proj(x).index_select(1, index)
        return self.model(x.transpose(1, 2)).transpose(1, 2)
