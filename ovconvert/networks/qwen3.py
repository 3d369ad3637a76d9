"""Qwen3 causal language model with explicit key-value cache (the emotion classifier, spec section 9.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, causal_mask, merge_heads, split_heads
from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class Qwen3Config:
    """Sizes; `tied` when the file has no head of its own and the embedding serves as one."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocabulary: int
    tied: bool
    rope_theta: float
    eps: float

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, rope_theta: float = 1e6, eps: float = 1e-6) -> Qwen3Config:
        """Read the sizes; keys as in the model.safetensors of Hugging Face."""
        vocabulary, width = shapes["model.embed_tokens.weight"]
        layer = "model.layers.0."
        head_dim = shapes[layer + "self_attn.q_norm.weight"][0]
        return cls(
            layers=count(shapes, "model.layers."),
            width=width,
            heads=shapes[layer + "self_attn.q_proj.weight"][0] // head_dim,
            kv_heads=shapes[layer + "self_attn.k_proj.weight"][0] // head_dim,
            head_dim=head_dim,
            inner=shapes[layer + "mlp.gate_proj.weight"][0],
            vocabulary=vocabulary,
            tied="lm_head.weight" not in shapes,
            rope_theta=rope_theta,
            eps=eps,
        )


def rotate_half(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + D/2}) of x (B, H, S, D) by angles given as cosine and sine (B, 1, S, D)."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class _RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))


class _Attention(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.width = config.heads * config.head_dim
        kv_width = config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.width, self.width, bias=False)
        self.k_proj = nn.Linear(config.width, kv_width, bias=False)
        self.v_proj = nn.Linear(config.width, kv_width, bias=False)
        self.o_proj = nn.Linear(self.width, config.width, bias=False)
        self.q_norm = _RmsNorm(config.head_dim, config.eps)
        self.k_norm = _RmsNorm(config.head_dim, config.eps)

    def _shared(self, x: Tensor) -> Tensor:
        """(B, kv_heads, T, D) -> (B, heads, T, D): each stored head serves a group of query heads."""
        groups = self.heads // self.kv_heads
        return x[:, :, None].expand(-1, -1, groups, -1, -1).flatten(1, 2)

    def forward(
        self, x: Tensor, cosine: Tensor, sine: Tensor, mask: Tensor, past: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        query = rotate_half(self.q_norm(split_heads(self.q_proj(x), self.heads, self.head_dim)), cosine, sine)
        key = rotate_half(self.k_norm(split_heads(self.k_proj(x), self.kv_heads, self.head_dim)), cosine, sine)
        value = split_heads(self.v_proj(x), self.kv_heads, self.head_dim)
        key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        mixed = attention(query, self._shared(key), self._shared(value), mask, self.head_dim**-0.5)
        return self.o_proj(merge_heads(mixed, self.width)), key, value


class _FeedForward(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.inner, bias=False)
        self.up_proj = nn.Linear(config.width, config.inner, bias=False)
        self.down_proj = nn.Linear(config.inner, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class _Layer(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.mlp = _FeedForward(config)
        self.input_layernorm = _RmsNorm(config.width, config.eps)
        self.post_attention_layernorm = _RmsNorm(config.width, config.eps)

    def forward(
        self, x: Tensor, cosine: Tensor, sine: Tensor, mask: Tensor, past: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, key, value = self.self_attn(self.input_layernorm(x), cosine, sine, mask, past)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), key, value


class _Model(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = _RmsNorm(config.width, config.eps)


class Qwen3Step(nn.Module):
    """forward(input_ids (B, S) int64, attention_mask (B, P + S) int64, position_ids (B, S) int64, *past) -> (logits
    (B, V) of the last position, *present).

    past is key0, value0, ..., each (B, kv_heads, P, head_dim), keys already rotated; P = 0 for a prefill.
    """

    UNUSED: tuple[str, ...] = ("model.layers.*.self_attn.rotary_emb.inv_freq",)

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.config = config
        self.model = _Model(config)
        if not config.tied:
            self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        config, model = self.config, self.model
        x = model.embed_tokens(input_ids)
        mask = causal_mask(attention_mask, input_ids.shape[1], x.dtype)
        exponent = torch.arange(0, config.head_dim, 2, device=x.device).to(torch.float32) / config.head_dim
        angle = position_ids[:, None, :, None].to(torch.float32) * config.rope_theta**-exponent
        angle = torch.cat((angle, angle), dim=-1)
        cosine, sine = angle.cos(), angle.sin()
        present: list[Tensor] = []
        for index, layer in enumerate(model.layers):
            x, key, value = layer(x, cosine, sine, mask, past[2 * index : 2 * index + 2])
            present += (key, value)
        x = model.norm(x[:, -1])
        logits = F.linear(x, model.embed_tokens.weight) if config.tied else self.lm_head(x)
        return (logits, *present)
