"""Pre-norm transformer whose attention knows how far apart two positions are.

CosyVoice, spec section 4. The published code makes the score of query i and key j from a row for the distance r = i - j, by
padding and reshaping a table of all distances. Here the same entry is gathered: with X[i, c] the score against the row for
r = S - 1 - c, it is X[i, j + T - 1 - i] for the last T of S positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, merge_heads, split_heads
from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class RelativeEncoderConfig:
    inputs: int
    width: int
    heads: int
    head_dim: int
    inner: int
    blocks: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> RelativeEncoderConfig:
        """Read every size; keys relative to the encoder."""
        heads, head_dim = shapes["encoders.0.self_attn.pos_bias_u"]
        width, inputs = shapes["embed.out.0.weight"]
        return cls(
            inputs=inputs,
            width=width,
            heads=heads,
            head_dim=head_dim,
            inner=shapes["encoders.0.feed_forward.w_1.weight"][0],
            blocks=count(shapes, "encoders."),
        )


def sinusoids(distances: Tensor, width: int) -> Tensor:
    """Return (R, width): sine and cosine of distance * 10000^(-2k / width), interleaved; distances (R,) may be negative."""
    exponent = torch.arange(0, width, 2, device=distances.device).to(torch.float32) / width
    angle = distances.to(torch.float32)[:, None] * (10000.0**-exponent)[None, :]
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


def shifted(scores: Tensor, queries: int, keys: int) -> Tensor:
    """Return (B, H, T, S): for query i and key j column j + T - 1 - i of `scores` (B, H, T, C), T = `queries`, S = `keys`.

    The last column stands in where there is none, which is in the future of a causal query.
    """
    device = scores.device
    column = torch.arange(keys, device=device)[None, :] + torch.arange(queries, device=device).flip(0)[:, None]
    column = torch.minimum(column, torch.ones_like(column) * (scores.shape[3] - 1))
    return torch.gather(scores, 3, column[None, None].expand(scores.shape[0], scores.shape[1], -1, -1))


class InputStage(nn.Module):
    """(B, T, inputs) -> (B, T, width), scaled by the square root of the width; with `rectify` a ReLU before the scale."""

    def __init__(self, config: RelativeEncoderConfig, rectify: bool = False) -> None:
        super().__init__()
        self.scale, self.rectify = math.sqrt(config.width), rectify
        self.out = nn.Sequential(nn.Linear(config.inputs, config.width), nn.LayerNorm(config.width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.out(x)
        return (F.relu(x) if self.rectify else x) * self.scale


class RelativeAttention(nn.Module):
    """Scores ((q + u) . k + (q + v) . r) / sqrt(head_dim), r the projected sinusoid of the distance of query and key."""

    def __init__(self, config: RelativeEncoderConfig) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = config.heads, config.head_dim, config.heads * config.head_dim
        self.pos_bias_u = nn.Parameter(torch.empty(config.heads, config.head_dim))
        self.pos_bias_v = nn.Parameter(torch.empty(config.heads, config.head_dim))
        self.linear_q = nn.Linear(config.width, self.width)
        self.linear_k = nn.Linear(config.width, self.width)
        self.linear_v = nn.Linear(config.width, self.width)
        self.linear_out = nn.Linear(self.width, config.width)
        self.linear_pos = nn.Linear(config.width, self.width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value of x (B, T, width), each (B, H, T, head_dim)."""
        linears = (self.linear_q, self.linear_k, self.linear_v)
        query, key, value = (split_heads(linear(x), self.heads, self.head_dim) for linear in linears)
        return query, key, value

    def rows(self, places: Tensor) -> Tensor:
        """Return the projected rows (1, H, R, head_dim) of sinusoids (R, width)."""
        return split_heads(self.linear_pos(places)[None], self.heads, self.head_dim)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, rows: Tensor, mask: Tensor | None) -> Tensor:
        """Return (B, T, width); `rows` (1, H, C, head_dim) by falling distance, S - 1 first; mask is added to the scores."""
        scale = self.head_dim**-0.5
        distant = torch.matmul(query + self.pos_bias_v[:, None], rows.transpose(2, 3))
        bias = shifted(distant, query.shape[2], key.shape[2]) * scale
        bias = bias if mask is None else bias + mask
        mixed = attention(query + self.pos_bias_u[:, None], key, value, bias, scale)
        return self.linear_out(merge_heads(mixed, self.width))


class FeedForward(nn.Module):
    def __init__(self, config: RelativeEncoderConfig, rectify: bool = False) -> None:
        super().__init__()
        self.rectify = rectify
        self.w_1 = nn.Linear(config.width, config.inner)
        self.w_2 = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.w_1(x)
        return self.w_2(F.relu(x) if self.rectify else F.silu(x))


class _Block(nn.Module):
    def __init__(self, config: RelativeEncoderConfig) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(config)
        self.feed_forward = FeedForward(config)
        self.norm_ff = nn.LayerNorm(config.width, eps=1e-12)
        self.norm_mha = nn.LayerNorm(config.width, eps=1e-12)

    def forward(self, x: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = self.self_attn.project(self.norm_mha(x))
        x = x + self.self_attn.mix(query, key, value, self.self_attn.rows(places), mask)
        return x + self.feed_forward(self.norm_ff(x))


class RelativeEncoder(nn.Module):
    """forward(x (B, T, inputs), mask) -> (B, T, width). With a mask (B, 1, T, T), added to the scores, it must hide the
    future: only distances into the past are made. Without one every position sees all others.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: RelativeEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = InputStage(config)
        self.after_norm = nn.LayerNorm(config.width)
        self.encoders = nn.ModuleList(_Block(config) for _ in range(config.blocks))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        past = torch.arange(x.shape[1], device=x.device)
        distances = past.flip(0) if mask is not None else torch.cat((past.flip(0), -past[1:]))
        places = sinusoids(distances, self.config.width)
        x = self.embed(x)
        for block in self.encoders:
            x = block(x, places, mask)
        return self.after_norm(x)
