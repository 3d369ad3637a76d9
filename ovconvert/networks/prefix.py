"""What the language model reads before the first speech token: conditioning rows, then text (spec 10.1 and 17)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes
from ovconvert.networks.speech_embeddings import Positions


@dataclass(frozen=True)
class PrefixConfig:
    """Sizes of version 2.0; `start_text` and `stop_text` are the ids put around the text."""

    text_tokens: int
    text_positions: int
    speeds: int
    width: int
    start_text: int
    stop_text: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, start_text: int = 0, stop_text: int = 1) -> PrefixConfig:
        text_tokens, width = shapes["text_embedding.weight"]
        return cls(
            text_tokens=text_tokens,
            text_positions=shapes["text_pos_embedding.emb.weight"][0],
            speeds=shapes["speed_emb.weight"][0],
            width=width,
            start_text=start_text,
            stop_text=stop_text,
        )


@dataclass(frozen=True)
class StylePrefixConfig:
    """Sizes of version 2.5; `start_text` and `stop_text` are the ids put around the text."""

    text_tokens: int
    text_positions: int
    languages: int
    style: int
    width: int
    start_text: int
    stop_text: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, start_text: int = 0, stop_text: int = 1) -> StylePrefixConfig:
        text_tokens, width = shapes["text_embedding.weight"]
        return cls(
            text_tokens=text_tokens,
            text_positions=shapes["text_pos_embedding.emb.weight"][0],
            languages=shapes["lang_embedding.weight"][0],
            style=shapes["spk_emb_proj.weight"][1],
            width=width,
            start_text=start_text,
            stop_text=stop_text,
        )


class _TextPrefix(nn.Module):
    def __init__(self, config: PrefixConfig | StylePrefixConfig) -> None:
        super().__init__()
        self.config = config
        self.text_embedding = nn.Embedding(config.text_tokens, config.width)
        self.text_pos_embedding = Positions(config.text_positions, config.width)

    def _text(self, text_ids: Tensor) -> Tensor:
        """(1, L) -> (1, L + 2, D), start and stop added, positions 0 .. L + 1."""
        ids = F.pad(F.pad(text_ids, (1, 0), value=self.config.start_text), (0, 1), value=self.config.stop_text)
        return self.text_embedding(ids) + self.text_pos_embedding(torch.arange(ids.shape[1], device=ids.device))


class Prefix(_TextPrefix):
    """Version 2.0: forward(conditioning (1, 32, D), emotion (1, D), text_ids (1, L) int64) -> (1, 34 + L + 2, D).

    Rows: conditioning + emotion, speed row 1, speed row 0 (in this order), the text between its start and stop ids.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: PrefixConfig) -> None:
        super().__init__(config)
        self.speed_emb = nn.Embedding(config.speeds, config.width)

    def forward(self, conditioning: Tensor, emotion: Tensor, text_ids: Tensor) -> Tensor:
        speed = self.speed_emb.weight[:2].flip(0)[None]
        return torch.cat((conditioning + emotion[:, None], speed, self._text(text_ids)), dim=1)


class StylePrefix(_TextPrefix):
    """Version 2.5: forward(style (1, 192), emotion (1, D), text_ids (1, L) int64, language (1,) int64) -> (1, 3 + L +
    2, D).

    Rows: spk_emb_proj(style) + emotion, two rows of zeros, the text with the language's row added to every token.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: StylePrefixConfig) -> None:
        super().__init__(config)
        self.spk_emb_proj = nn.Linear(config.style, config.width)
        self.lang_embedding = nn.Embedding(config.languages, config.width)

    def forward(self, style: Tensor, emotion: Tensor, text_ids: Tensor, language: Tensor) -> Tensor:
        speaker = F.pad((self.spk_emb_proj(style) + emotion)[:, None], (0, 0, 0, 2))
        return torch.cat((speaker, self._text(text_ids) + self.lang_embedding(language)[:, None]), dim=1)
