"""Speech tokens to content features of the flow, one frame a token.

CosyVoice, spec section 7.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ovconvert.networks.relative_encoder import RelativeEncoder, RelativeEncoderConfig
from ovconvert.networks.shapes import Shapes, below


@dataclass(frozen=True)
class TokenEncoderConfig:
    codes: int
    mel: int
    encoder: RelativeEncoderConfig

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> TokenEncoderConfig:
        """Read every size; keys as in flow.pt."""
        return cls(
            codes=shapes["input_embedding.weight"][0],
            mel=shapes["encoder_proj.weight"][0],
            encoder=RelativeEncoderConfig.from_shapes(below(shapes, "encoder.")),
        )


class TokenEncoder(nn.Module):
    """forward(codes (1, N) int64) -> (1, N, 80): the prompt's codes and those to be spoken, in one sequence."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: TokenEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.input_embedding = nn.Embedding(config.codes, config.encoder.inputs)
        self.encoder = RelativeEncoder(config.encoder)
        self.encoder_proj = nn.Linear(config.encoder.width, config.mel)

    def forward(self, codes: Tensor) -> Tensor:
        return self.encoder_proj(self.encoder(self.input_embedding(codes)))
