"""Embedding of speech codes at given positions (spec sections 10.1 and 10.3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes


@dataclass(frozen=True)
class SpeechEmbeddingsConfig:
    codes: int
    positions: int
    width: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> SpeechEmbeddingsConfig:
        codes, width = shapes["mel_embedding.weight"]
        return cls(codes=codes, positions=shapes["mel_pos_embedding.emb.weight"][0], width=width)


class Positions(nn.Module):
    """A learned position table under the published name `emb`."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(positions, width)

    def forward(self, position_ids: Tensor) -> Tensor:
        return self.emb(position_ids)


class SpeechEmbeddings(nn.Module):
    """forward(codes (B, S) int64, position_ids (B, S) int64) -> (B, S, D).

    Positions are data: the decoding loop of the original skips position 1, its second pass does not.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: SpeechEmbeddingsConfig) -> None:
        super().__init__()
        self.config = config
        self.mel_embedding = nn.Embedding(config.codes, config.width)
        self.mel_pos_embedding = Positions(config.positions, config.width)

    def forward(self, codes: Tensor, position_ids: Tensor) -> Tensor:
        return self.mel_embedding(codes) + self.mel_pos_embedding(position_ids)
