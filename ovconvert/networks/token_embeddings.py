"""Embedding of speech tokens and of the two marks around the text.

CosyVoice, spec section 6.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes


@dataclass(frozen=True)
class TokenEmbeddingsConfig:
    """Sizes; the id `codes` is the mark that opens a sequence, `codes` + 1 the one between text and speech."""

    codes: int
    marks: int
    width: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> TokenEmbeddingsConfig:
        codes, width = shapes["speech_embedding.weight"]
        return cls(codes=codes, marks=shapes["llm_embedding.weight"][0], width=width)


class TokenEmbeddings(nn.Module):
    """forward(codes (B, S) int64) -> (B, S, D). The end of speech, which the model gives as id `codes`, has no row here."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: TokenEmbeddingsConfig) -> None:
        super().__init__()
        self.config = config
        self.speech_embedding = nn.Embedding(config.codes, config.width)
        self.llm_embedding = nn.Embedding(config.marks, config.width)

    def forward(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, torch.cat((self.speech_embedding.weight, self.llm_embedding.weight)))
