"""Symbols of a text to states, one a frame: the text stands at the beginning of the frames, filler behind it.

The text embedding of F5-TTS (Chen et al. 2024, arXiv 2410.06885, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ovconvert.networks.convnext import ConvNeXt
from ovconvert.networks.shapes import Shapes, count

POSITIONS = 4096  # frames behind the last of these have its position
BASE = 10000.0


@dataclass(frozen=True)
class CharacterEmbeddingConfig:
    """Sizes; `symbols` counts the filler, which is symbol 0."""

    symbols: int
    width: int
    inner: int
    blocks: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> CharacterEmbeddingConfig:
        """Read every size; keys as in the network."""
        symbols, width = shapes["text_embed.weight"]
        return cls(symbols, width, shapes["text_blocks.0.pwconv1.weight"][0], count(shapes, "text_blocks."))


def positions(frames: int, width: int, device: torch.device) -> Tensor:
    """Return (frames, width): cosines of position * base^(-2i / width), then sines."""
    place = torch.arange(frames, device=device).clamp(max=POSITIONS - 1).to(torch.float32)
    exponent = torch.arange(0, width, 2, device=device).to(torch.float32) / width
    angle = place[:, None] * (BASE**-exponent)[None, :]
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


class CharacterEmbedding(nn.Module):
    """forward(text_ids (B, T) int64, text_mask (B, T) int64) -> (B, T, width).

    States are zero where the mask is, before and after every block. A model that was trained without such a mask gets ones.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: CharacterEmbeddingConfig) -> None:
        super().__init__()
        self.width = config.width
        self.text_embed = nn.Embedding(config.symbols, config.width)
        self.text_blocks = nn.ModuleList(
            ConvNeXt(config.width, config.inner, response_norm=True) for _ in range(config.blocks)
        )

    def forward(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        seen = text_mask[:, :, None].to(torch.float32)
        h = (self.text_embed(text_ids) + positions(text_ids.shape[1], self.width, text_ids.device)) * seen
        for block in self.text_blocks:
            h = block(h) * seen
        return h
