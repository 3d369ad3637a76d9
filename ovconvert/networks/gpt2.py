"""GPT-2 trunk with explicit key-value cache, its two final norms and the speech head (spec section 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, causal_mask, merge_heads, split_heads
from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class Gpt2Config:
    layers: int
    width: int
    heads: int
    head_dim: int
    inner: int
    vocabulary: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, heads: int) -> Gpt2Config:
        """Read the sizes; keys as in gpt.pth. The number of heads leaves no trace in a shape."""
        vocabulary, width = shapes["mel_head.weight"]
        return cls(
            layers=count(shapes, "gpt.h."),
            width=width,
            heads=heads,
            head_dim=width // heads,
            inner=shapes["gpt.h.0.mlp.c_fc.weight"][1],
            vocabulary=vocabulary,
        )


class _Conv1D(nn.Module):
    """y = x @ weight + bias, the weight stored (in, out)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight) + self.bias


class _Attention(nn.Module):
    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = config.heads, config.head_dim, config.width
        self.c_attn = _Conv1D(config.width, 3 * config.width)
        self.c_proj = _Conv1D(config.width, config.width)

    def forward(self, x: Tensor, mask: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (split_heads(part, self.heads, self.head_dim) for part in self.c_attn(x).chunk(3, dim=-1))
        if past:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        mixed = attention(query, key, value, mask, self.head_dim**-0.5)
        return self.c_proj(merge_heads(mixed, self.width)), key, value


class _FeedForward(nn.Module):
    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.c_fc = _Conv1D(config.width, config.inner)
        self.c_proj = _Conv1D(config.inner, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class _Block(nn.Module):
    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = _Attention(config)
        self.ln_2 = nn.LayerNorm(config.width)
        self.mlp = _FeedForward(config)

    def forward(self, x: Tensor, mask: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        mixed, key, value = self.attn(self.ln_1(x), mask, past)
        x = x + mixed
        return x + self.mlp(self.ln_2(x)), key, value


class _Trunk(nn.Module):
    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.h = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        present: list[Tensor] = []
        for index, block in enumerate(self.h):
            x, key, value = block(x, mask, past[2 * index : 2 * index + 2])
            present += (key, value)
        return self.ln_f(x), present


class _Gpt2(nn.Module):
    UNUSED: tuple[str, ...] = (
        "text_head.*",
        "gpt.wte.*",
        "gpt.wpe.*",
        "gpt.h.*.attn.bias",
        "gpt.h.*.attn.masked_bias",
    )

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.config = config
        self.gpt = _Trunk(config)
        self.final_norm = nn.LayerNorm(config.width)
        self.mel_head = nn.Linear(config.width, config.vocabulary)

    def _hidden(self, embeds: Tensor, attention_mask: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        mask = causal_mask(attention_mask, embeds.shape[1], embeds.dtype)
        # both norms, one after the other: each has weights of its own, neither may be dropped
        x, present = self.gpt(embeds, mask, past)
        return self.final_norm(x), present


class Gpt2Step(_Gpt2):
    """forward(inputs_embeds (B, S, D), attention_mask (B, P + S) int64, *past) -> (logits (B, V), last_hidden_state
    (B, S, D), *present).

    past is key0, value0, key1, value1, ..., each (B, H, P, head_dim), P = 0 for a prefill; present has P + S positions.
    logits are those of the last position; last_hidden_state = final_norm(ln_f(trunk)), the "latent" of the spec.
    """

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        hidden, present = self._hidden(inputs_embeds, attention_mask, past)
        return (self.mel_head(hidden[:, -1]), hidden, *present)


class Gpt2Sequence(_Gpt2):
    """The same weights over a whole sequence, without a cache (the second pass, spec 10.4).

    forward(inputs_embeds (B, S, D), attention_mask (B, S) int64 or None for all ones) -> (logits (B, S, V) of all
    positions, last_hidden_state (B, S, D)).
    """

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if attention_mask is None:
            attention_mask = torch.ones_like(inputs_embeds[:, :, 0], dtype=torch.int64)
        hidden, _ = self._hidden(inputs_embeds, attention_mask, ())
        return self.mel_head(hidden), hidden
