"""Language model of speech tokens over relative positions, with explicit key-value cache.

CosyVoice, spec sections 4.1 and 6. The published code projects the sinusoids of all distances anew in every layer of every
step, eighty times the work of the step itself at five hundred positions. The projections depend on the weights alone: they
are made once, when the weights are loaded, and each step reads as many rows as there are positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ovconvert.networks.attention import causal_mask
from ovconvert.networks.relative_encoder import (
    FeedForward,
    InputStage,
    RelativeAttention,
    RelativeEncoderConfig,
    sinusoids,
)
from ovconvert.networks.shapes import Shapes, below

# Longest sequence, prompt and speech together. A sentence of 80 text tokens with its speech stays below; a row costs 4 KB a
# layer at width 1024 (spec section 4.1).
POSITIONS = 2048


@dataclass(frozen=True)
class SpeechLmConfig:
    """Sizes; `vocabulary` counts the end of speech, its last class; `positions` is the longest sequence."""

    trunk: RelativeEncoderConfig
    vocabulary: int
    positions: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, positions: int = POSITIONS) -> SpeechLmConfig:
        """Read the sizes; keys as in llm.pt. The longest sequence is a choice."""
        return cls(
            trunk=RelativeEncoderConfig.from_shapes(below(shapes, "llm.")),
            vocabulary=shapes["llm_decoder.weight"][0],
            positions=positions,
        )


class _Attention(RelativeAttention):
    """Attention that keeps the projected rows of all distances in place of the projection, once it is loaded."""

    positions: Tensor  # (1, H, longest sequence, head_dim), the greatest distance first

    def __init__(self, config: SpeechLmConfig) -> None:
        super().__init__(config.trunk)
        self.longest = config.positions
        self.register_load_state_dict_post_hook(_Attention._tabulate)

    def _tabulate(self, keys: Any) -> None:
        distances = torch.arange(self.longest, device=self.linear_pos.weight.device).flip(0)
        rows = self.rows(sinusoids(distances, self.linear_pos.in_features)).detach()
        self.register_buffer("positions", rows.contiguous())
        del self.linear_pos

    def forward(self, x: Tensor, mask: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.project(x)
        if past:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        return self.mix(query, key, value, self.positions[:, :, -key.shape[2] :], mask), key, value


class _Block(nn.Module):
    def __init__(self, config: SpeechLmConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.feed_forward = FeedForward(config.trunk, rectify=True)
        self.norm1 = nn.LayerNorm(config.trunk.width, eps=1e-12)
        self.norm2 = nn.LayerNorm(config.trunk.width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        mixed, key, value = self.self_attn(self.norm1(x), mask, past)
        x = x + mixed
        return x + self.feed_forward(self.norm2(x)), key, value


class _Trunk(nn.Module):
    def __init__(self, config: SpeechLmConfig) -> None:
        super().__init__()
        self.embed = InputStage(config.trunk, rectify=True)
        self.after_norm = nn.LayerNorm(config.trunk.width)
        self.encoders = nn.ModuleList(_Block(config) for _ in range(config.trunk.blocks))

    def forward(self, x: Tensor, mask: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        x = self.embed(x)
        present: list[Tensor] = []
        for index, block in enumerate(self.encoders):
            x, key, value = block(x, mask, past[2 * index : 2 * index + 2])
            present += (key, value)
        return self.after_norm(x), present


class _SpeechLm(nn.Module):
    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: SpeechLmConfig) -> None:
        super().__init__()
        self.config = config
        self.llm = _Trunk(config)
        self.llm_decoder = nn.Linear(config.trunk.width, config.vocabulary)

    def _hidden(self, embeds: Tensor, attention_mask: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        return self.llm(embeds, causal_mask(attention_mask, embeds.shape[1], embeds.dtype), past)


class SpeechLmStep(_SpeechLm):
    """forward(inputs_embeds (B, S, D), attention_mask (B, P + S) int64, *past) -> (logits (B, V), last_hidden_state
    (B, S, D), *present).

    past is key0, value0, key1, value1, ..., each (B, H, P, head_dim), P = 0 for a prefill; present has P + S positions, at
    most `positions`. logits are those of the last position.
    """

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        hidden, present = self._hidden(inputs_embeds, attention_mask, past)
        return (self.llm_decoder(hidden[:, -1]), hidden, *present)


class SpeechLmSequence(_SpeechLm):
    """The same weights over a whole sequence, without a cache.

    forward(inputs_embeds (B, S, D), attention_mask (B, S) int64) -> (logits (B, S, V) of all positions, last_hidden_state
    (B, S, D)).
    """

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden, _ = self._hidden(inputs_embeds, attention_mask, ())
        return self.llm_decoder(hidden), hidden
