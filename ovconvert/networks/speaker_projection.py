"""A speaker vector to what the language model and the flow read of it.

CosyVoice, spec sections 6.1 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes


@dataclass(frozen=True)
class SpeakerProjectionConfig:
    speaker: int
    width: int
    mel: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> SpeakerProjectionConfig:
        """Read the sizes; keys of llm.pt below `llm.`, those of flow.pt below `flow.`."""
        width, speaker = shapes["llm.spk_embed_affine_layer.weight"]
        return cls(speaker=speaker, width=width, mel=shapes["flow.spk_embed_affine_layer.weight"][0])


class _Projection(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.spk_embed_affine_layer = nn.Linear(inputs, outputs)


class SpeakerProjection(nn.Module):
    """forward(speaker (1, 192)) -> (row of the language model (1, 1, D), vector of the flow (1, 80))."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: SpeakerProjectionConfig) -> None:
        super().__init__()
        self.config = config
        self.llm = _Projection(config.speaker, config.width)
        self.flow = _Projection(config.speaker, config.mel)

    def forward(self, speaker: Tensor) -> tuple[Tensor, Tensor]:
        direction = F.normalize(speaker, dim=1)
        return self.llm.spk_embed_affine_layer(direction)[:, None], self.flow.spk_embed_affine_layer(direction)
