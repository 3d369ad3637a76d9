"""Speech codes and their latents to content features (spec section 12)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from ovconvert.networks.semantic_codec import CodeEmbedding, Quantizer, SemanticCodecConfig
from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class LatentProjectorConfig:
    """`widths` are those of the chain of linears, input first; `codec` the codebook's sizes."""

    widths: tuple[int, ...]
    codec: SemanticCodecConfig

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> LatentProjectorConfig:
        """Read the sizes from `gpt_layer.*` (s2mel.pth) together with the keys of the codec file."""
        weights = [shapes[f"gpt_layer.{index}.weight"] for index in range(count(shapes, "gpt_layer."))]
        widths = (weights[0][1], *(weight[0] for weight in weights))
        return cls(widths=widths, codec=SemanticCodecConfig.from_shapes(shapes))


class LatentProjector(nn.Module):
    """forward(latent (1, n, D), codes (1, n) int64) -> S (1, n, hidden), vq2emb(codes) + gpt_layer(latent).

    The linears follow each other without activations, as published; kept apart, their narrow middle costs less.
    """

    UNUSED: tuple[str, ...] = CodeEmbedding.UNUSED

    def __init__(self, config: LatentProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = Quantizer(config.codec, quantises=False)
        self.gpt_layer = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(config.widths)))

    def forward(self, latent: Tensor, codes: Tensor) -> Tensor:
        return self.quantizer.quantizers[0].lookup(codes) + self.gpt_layer(latent)
