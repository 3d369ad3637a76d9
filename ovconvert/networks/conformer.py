"""Conformer over semantic features, WeNet style without macaron halves (spec section 8.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, merge_heads, split_heads
from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class ConformerConfig:
    """Sizes; `flattened` is what the strided convolution leaves of one frame, `positions` the stored sinusoid rows."""

    width: int
    heads: int
    head_dim: int
    inner: int
    blocks: int
    kernel: int
    flattened: int
    positions: int

    @property
    def features(self) -> int:
        """Width of the input: the even one of the two that the strided convolution reduces to `flattened`."""
        return 2 * (self.flattened // self.width) + 2

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> ConformerConfig:
        """Read every size; keys relative to `conditioning_encoder.` or `emo_conditioning_encoder.`."""
        heads, head_dim = shapes["encoders.0.self_attn.pos_bias_u"]
        return cls(
            width=shapes["after_norm.weight"][0],
            heads=heads,
            head_dim=head_dim,
            inner=shapes["encoders.0.feed_forward.w_1.weight"][0],
            blocks=count(shapes, "encoders."),
            kernel=shapes["encoders.0.conv_module.depthwise_conv.weight"][2],
            flattened=shapes["embed.out.0.weight"][1],
            positions=shapes["embed.pos_enc.pe"][1],
        )


class _Positions(nn.Module):
    """The stored sinusoid. It is loaded, not computed: released files hold rounded values."""

    pe: Tensor

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.register_buffer("pe", torch.empty(1, config.positions, config.width))


class _Embed(nn.Module):
    """(B, T, F) -> (B, T', width) and the sinusoid rows (1, T', width), T' = floor((T - 3) / 2) + 1."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.scale = math.sqrt(config.width)
        self.conv = nn.Sequential(nn.Conv2d(1, config.width, 3, stride=2), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(config.flattened, config.width))
        self.pos_enc = _Positions(config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x[:, None]).transpose(1, 2).flatten(2)
        return self.out(x) * self.scale, self.pos_enc.pe[:, : x.shape[1]]


class _Attention(nn.Module):
    """Scores ((q + u) . k + (q + v) . r) / sqrt(head_dim), r from the absolute position of the key, not shifted."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = config.heads, config.head_dim, config.width
        self.pos_bias_u = nn.Parameter(torch.empty(config.heads, config.head_dim))
        self.pos_bias_v = nn.Parameter(torch.empty(config.heads, config.head_dim))
        self.linear_q = nn.Linear(config.width, config.width)
        self.linear_k = nn.Linear(config.width, config.width)
        self.linear_v = nn.Linear(config.width, config.width)
        self.linear_out = nn.Linear(config.width, config.width)
        self.linear_pos = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        scale = self.head_dim**-0.5
        query = split_heads(self.linear_q(x), self.heads, self.head_dim)
        key = split_heads(self.linear_k(x), self.heads, self.head_dim)
        value = split_heads(self.linear_v(x), self.heads, self.head_dim)
        place = split_heads(self.linear_pos(positions), self.heads, self.head_dim)
        # equal to the scores above, written as q . (k + r) plus a term of the key alone: one product instead of two
        bias = (key * self.pos_bias_u[:, None]).sum(-1) + (place * self.pos_bias_v[:, None]).sum(-1)
        mixed = attention(query, key + place, value, bias[:, :, None, :] * scale, scale)
        return self.linear_out(merge_heads(mixed, self.width))


class _Convolution(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        width = config.width
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise_conv(F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1))
        x = F.silu(self.norm(x.transpose(1, 2)))
        return self.pointwise_conv2(x.transpose(1, 2)).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.w_1 = nn.Linear(config.width, config.inner)
        self.w_2 = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(F.silu(self.w_1(x)))


class _Block(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.feed_forward = _FeedForward(config)
        self.conv_module = _Convolution(config)
        self.norm_ff = nn.LayerNorm(config.width)
        self.norm_mha = nn.LayerNorm(config.width)
        self.norm_conv = nn.LayerNorm(config.width)
        self.norm_final = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm_mha(x), positions)
        x = x + self.conv_module(self.norm_conv(x))
        x = x + self.feed_forward(self.norm_ff(x))
        return self.norm_final(x)


class Conformer(nn.Module):
    """forward(features (B, T, F)) -> (B, T', width), T' = floor((T - 3) / 2) + 1. No mask: all frames are valid."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = _Embed(config)
        self.after_norm = nn.LayerNorm(config.width)
        self.encoders = nn.ModuleList(_Block(config) for _ in range(config.blocks))

    def forward(self, features: Tensor) -> Tensor:
        x, positions = self.embed(features)
        for block in self.encoders:
            x = block(x, positions)
        return self.after_norm(x)
