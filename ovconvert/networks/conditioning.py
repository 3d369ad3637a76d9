"""Semantic features to the speaker rows and the emotion vector of the language model (spec section 8.3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ovconvert.networks.conformer import Conformer, ConformerConfig
from ovconvert.networks.perceiver import Perceiver, PerceiverConfig
from ovconvert.networks.shapes import Shapes, below


@dataclass(frozen=True)
class SpeakerConditionerConfig:
    conformer: ConformerConfig
    perceiver: PerceiverConfig

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, head_dim: int = 64) -> SpeakerConditionerConfig:
        """Read the sizes from the whole of gpt.pth; `head_dim` is the perceiver's."""
        return cls(
            ConformerConfig.from_shapes(below(shapes, "conditioning_encoder.")),
            PerceiverConfig.from_shapes(below(shapes, "perceiver_encoder."), head_dim=head_dim),
        )


class SpeakerConditioner(nn.Module):
    """forward(features (B, T, 1024)) -> conditioning (B, 32, D), perceiver(conformer(features))."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: SpeakerConditionerConfig) -> None:
        super().__init__()
        self.config = config
        self.conditioning_encoder = Conformer(config.conformer)
        self.perceiver_encoder = Perceiver(config.perceiver)

    def forward(self, features: Tensor) -> Tensor:
        return self.perceiver_encoder(self.conditioning_encoder(features))


@dataclass(frozen=True)
class EmotionConditionerConfig:
    conformer: ConformerConfig
    perceiver: PerceiverConfig
    width: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, head_dim: int = 64) -> EmotionConditionerConfig:
        """Read the sizes from the whole of gpt.pth; `head_dim` is the perceiver's."""
        return cls(
            ConformerConfig.from_shapes(below(shapes, "emo_conditioning_encoder.")),
            PerceiverConfig.from_shapes(below(shapes, "emo_perceiver_encoder."), head_dim=head_dim),
            width=shapes["emovec_layer.weight"][0],
        )


class EmotionConditioner(nn.Module):
    """forward(features (B, T, 1024)) -> emotion (B, D).

    emo_layer(emovec_layer(perceiver(conformer(features))[:, 0])), with nothing between the two linears.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: EmotionConditionerConfig) -> None:
        super().__init__()
        self.config = config
        self.emo_conditioning_encoder = Conformer(config.conformer)
        self.emo_perceiver_encoder = Perceiver(config.perceiver)
        self.emovec_layer = nn.Linear(config.perceiver.width, config.width)
        self.emo_layer = nn.Linear(config.width, config.width)

    def forward(self, features: Tensor) -> Tensor:
        latent = self.emo_perceiver_encoder(self.emo_conditioning_encoder(features))[:, 0]
        return self.emo_layer(self.emovec_layer(latent))
