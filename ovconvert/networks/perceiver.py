"""Perceiver resampler: any number of context frames to a fixed number of latents (spec section 8.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, merge_heads, split_heads
from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class PerceiverConfig:
    """Sizes; `inner` is half of what the gated feed-forward's first linear gives."""

    width: int
    latents: int
    context: int
    depth: int
    heads: int
    head_dim: int
    inner: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, head_dim: int = 64) -> PerceiverConfig:
        """Read the sizes; keys relative to `perceiver_encoder.` or `emo_perceiver_encoder.`."""
        latents, width = shapes["latents"]
        return cls(
            width=width,
            latents=latents,
            context=shapes["proj_context.weight"][1],
            depth=count(shapes, "layers."),
            heads=shapes["layers.0.0.to_q.weight"][0] // head_dim,
            head_dim=head_dim,
            inner=shapes["layers.0.1.2.weight"][1],
        )


class _CrossAttention(nn.Module):
    def __init__(self, config: PerceiverConfig) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = config.heads, config.head_dim, config.heads * config.head_dim
        self.to_q = nn.Linear(config.width, self.width, bias=False)
        self.to_kv = nn.Linear(config.width, 2 * self.width, bias=False)
        self.to_out = nn.Linear(self.width, config.width, bias=False)

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        key, value = self.to_kv(torch.cat((latents, context), dim=1)).chunk(2, dim=-1)
        mixed = attention(
            split_heads(self.to_q(latents), self.heads, self.head_dim),
            split_heads(key, self.heads, self.head_dim),
            split_heads(value, self.heads, self.head_dim),
            scale=self.head_dim**-0.5,
        )
        return self.to_out(merge_heads(mixed, self.width))


class _GatedGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return F.gelu(gate) * value


class Perceiver(nn.Module):
    """forward(context (B, T, context width)) -> (B, latents, width), rows of length sqrt(width) times gamma."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: PerceiverConfig) -> None:
        super().__init__()
        self.config = config
        self.latents = nn.Parameter(torch.empty(config.latents, config.width))
        self.proj_context = nn.Linear(config.context, config.width)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                (
                    _CrossAttention(config),
                    nn.Sequential(
                        nn.Linear(config.width, 2 * config.inner), _GatedGelu(), nn.Linear(config.inner, config.width)
                    ),
                )
            )
            for _ in range(config.depth)
        )
        self.norm = nn.Module()
        self.norm.gamma = nn.Parameter(torch.empty(config.width))

    def forward(self, context: Tensor) -> Tensor:
        context = self.proj_context(context)
        z = self.latents[None].expand(context.shape[0], -1, -1)
        for cross, feed_forward in self.layers:
            z = z + cross(z, context)
            z = z + feed_forward(z)
        return F.normalize(z, dim=-1) * (math.sqrt(self.config.width) * self.norm.gamma)
