"""Velocity estimator that fills in the missing frames of a mel: a transformer whose norms the time modulates.

F5-TTS (Chen et al. 2024, arXiv 2410.06885), after Voicebox (Le et al. 2023, arXiv 2306.15687) and DiT (Peebles and Xie 2023,
arXiv 2212.09748: adaLN-Zero).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, merge_heads, split_heads
from ovconvert.networks.dit import rotary, rotate
from ovconvert.networks.shapes import Shapes, count

TIME_SCALE = 1000.0
TIME_BASE = 10000.0
EPSILON = 1e-6


@dataclass(frozen=True)
class InfillingDiTConfig:
    """Sizes; `rotary_heads` of the `heads` know positions, `groups` and `kernel` are those of the position convolution."""

    mel: int
    text: int
    width: int
    depth: int
    heads: int
    rotary_heads: int
    inner: int
    frequencies: int
    groups: int
    kernel: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, heads: int, rotary_heads: int) -> InfillingDiTConfig:
        """Read the sizes; keys as in the network. The number of heads leaves no trace in a shape."""
        mel, width = shapes["proj_out.weight"]
        _, grouped, kernel = shapes["input_embed.conv_pos_embed.conv1d.0.weight"]
        return cls(
            mel=mel,
            text=shapes["input_embed.proj.weight"][1] - 2 * mel,
            width=width,
            depth=count(shapes, "transformer_blocks."),
            heads=heads,
            rotary_heads=rotary_heads,
            inner=shapes["transformer_blocks.0.ff.ff.0.0.weight"][0],
            frequencies=shapes["time_embed.time_mlp.0.weight"][1],
            groups=width // grouped,
            kernel=kernel,
        )


class _TimeEmbedding(nn.Module):
    """t (B,) -> (B, width), from sines and cosines of 1000 t."""

    def __init__(self, config: InfillingDiTConfig) -> None:
        super().__init__()
        self.half = config.frequencies // 2
        self.time_mlp = nn.Sequential(
            nn.Linear(config.frequencies, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )

    def forward(self, t: Tensor) -> Tensor:
        place = torch.arange(self.half, device=t.device).to(torch.float32)
        angle = TIME_SCALE * t[:, None] * torch.exp(place * (-math.log(TIME_BASE) / (self.half - 1)))
        return self.time_mlp(torch.cat((angle.sin(), angle.cos()), dim=-1))


class _PositionConvolution(nn.Module):
    def __init__(self, config: InfillingDiTConfig) -> None:
        super().__init__()

        def convolution() -> nn.Module:
            return nn.Conv1d(config.width, config.width, config.kernel, padding=config.kernel // 2, groups=config.groups)

        self.conv1d = nn.Sequential(convolution(), nn.Mish(), convolution(), nn.Mish())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1d(x.transpose(1, 2)).transpose(1, 2)


class _InputEmbedding(nn.Module):
    def __init__(self, config: InfillingDiTConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(2 * config.mel + config.text, config.width)
        self.conv_pos_embed = _PositionConvolution(config)

    def forward(self, x: Tensor, cond: Tensor, text: Tensor) -> Tensor:
        h = self.proj(torch.cat((x, cond, text), dim=-1))
        return h + self.conv_pos_embed(h)


class _Modulation(nn.Module):
    """`parts` vectors (B, 1, width) from the time (B, width), by which the frames are scaled and shifted behind a norm."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.width, self.parts = width, parts
        self.linear = nn.Linear(width, parts * width)

    def forward(self, time: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(time))[:, None].chunk(self.parts, dim=-1)

    def norm(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), eps=EPSILON) * (1 + scale) + shift


class _Attention(nn.Module):
    def __init__(self, config: InfillingDiTConfig) -> None:
        super().__init__()
        width = config.width
        self.width, self.heads, self.head_dim = width, config.heads, width // config.heads
        self.rotary_heads = config.rotary_heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        query, key, value = (split_heads(part(x), self.heads, self.head_dim) for part in (self.to_q, self.to_k, self.to_v))
        query, key = self._turn(query, cosine, sine), self._turn(key, cosine, sine)
        return self.to_out[0](merge_heads(attention(query, key, value, scale=self.head_dim**-0.5), self.width))

    def _turn(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        if self.rotary_heads == self.heads:
            return rotate(x, cosine, sine)
        return torch.cat((rotate(x[:, : self.rotary_heads], cosine, sine), x[:, self.rotary_heads :]), dim=1)


class _FeedForward(nn.Module):
    def __init__(self, config: InfillingDiTConfig) -> None:
        super().__init__()
        into = nn.Sequential(nn.Linear(config.width, config.inner), nn.GELU(approximate="tanh"))
        # the published names count a dropout
        self.ff = nn.Sequential(into, nn.Identity(), nn.Linear(config.inner, config.width))

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class _Block(nn.Module):
    def __init__(self, config: InfillingDiTConfig) -> None:
        super().__init__()
        self.attn_norm = _Modulation(config.width, 6)
        self.attn = _Attention(config)
        self.ff = _FeedForward(config)

    def forward(self, x: Tensor, time: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        shift, scale, gate, ff_shift, ff_scale, ff_gate = self.attn_norm(time)
        x = x + gate * self.attn(self.attn_norm.norm(x, scale, shift), cosine, sine)
        return x + ff_gate * self.ff(self.attn_norm.norm(x, ff_scale, ff_shift))


class InfillingDiT(nn.Module):
    """forward(x (B, mel, T), cond (B, mel, T), text (B, T, text), t (B,)) -> velocity (B, mel, T).

    `cond` is the mel where it is known and zero elsewhere. Full attention over all frames: rows have equal length.
    """

    UNUSED: tuple[str, ...] = ("rotary_embed.inv_freq",)

    def __init__(self, config: InfillingDiTConfig) -> None:
        super().__init__()
        self.head_dim = config.width // config.heads
        self.time_embed = _TimeEmbedding(config)
        self.input_embed = _InputEmbedding(config)
        self.transformer_blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm_out = _Modulation(config.width, 2)
        self.proj_out = nn.Linear(config.width, config.mel)

    def forward(self, x: Tensor, cond: Tensor, text: Tensor, t: Tensor) -> Tensor:
        time = self.time_embed(t)
        h = self.input_embed(x.transpose(1, 2), cond.transpose(1, 2), text)
        cosine, sine = rotary(h.shape[1], self.head_dim, h.device)
        for block in self.transformer_blocks:
            h = block(h, time, cosine, sine)
        scale, shift = self.norm_out(time)
        return self.proj_out(self.norm_out.norm(h, scale, shift)).transpose(1, 2)


class GuidedInfilling(nn.Module):
    """Classifier-free guidance around an estimator f, as data: one graph serves any guidance strength and none.

    forward(x (1, mel, T), cond (1, mel, T), text (G, T, text), t (1,), branch_mask (G,), branch_weights (R, G)) -> velocity
    (R, mel, T). Row r is the sum over g of branch_weights[r, g] * f(x, branch_mask[g] cond, text[g], t).
    """

    UNUSED: tuple[str, ...] = tuple(f"estimator.{pattern}" for pattern in InfillingDiT.UNUSED)

    def __init__(self, config: InfillingDiTConfig) -> None:
        super().__init__()
        self.estimator = InfillingDiT(config)

    def forward(
        self, x: Tensor, cond: Tensor, text: Tensor, t: Tensor, branch_mask: Tensor, branch_weights: Tensor
    ) -> Tensor:
        branches = branch_mask.shape[0]
        velocity = self.estimator(x.expand(branches, -1, -1), cond * branch_mask[:, None, None], text, t.expand(branches))
        return torch.matmul(branch_weights, velocity.flatten(1)).unflatten(1, (x.shape[1], -1))
