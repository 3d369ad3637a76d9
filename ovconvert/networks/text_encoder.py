"""Text tokens to the states that the speech language model reads.

CosyVoice, spec section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ovconvert.networks.attention import causal_mask
from ovconvert.networks.relative_encoder import RelativeEncoder, RelativeEncoderConfig
from ovconvert.networks.shapes import Shapes, below


@dataclass(frozen=True)
class TextEncoderConfig:
    tokens: int
    width: int
    encoder: RelativeEncoderConfig

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> TextEncoderConfig:
        """Read every size; keys as in llm.pt."""
        return cls(
            tokens=shapes["text_embedding.weight"][0],
            width=shapes["text_encoder_affine_layer.weight"][0],
            encoder=RelativeEncoderConfig.from_shapes(below(shapes, "text_encoder.")),
        )


class TextEncoder(nn.Module):
    """forward(text_ids (1, L) int64) -> (1, L, width). Causal: no state depends on later text."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.text_embedding = nn.Embedding(config.tokens, config.encoder.inputs)
        self.text_encoder = RelativeEncoder(config.encoder)
        self.text_encoder_affine_layer = nn.Linear(config.encoder.width, config.width)

    def forward(self, text_ids: Tensor) -> Tensor:
        mask = causal_mask(torch.ones_like(text_ids), text_ids.shape[1], torch.float32)
        return self.text_encoder_affine_layer(self.text_encoder(self.text_embedding(text_ids), mask))
