"""Velocity estimator of the flow: a one-dimensional U-Net with transformers between its convolutions.

CosyVoice, spec section 8; the block structure is that of Matcha-TTS (Mehta et al. 2024, arXiv 2309.03199).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, merge_heads, split_heads
from ovconvert.networks.group_norm import GroupNorm
from ovconvert.networks.shapes import Shapes, count

GROUPS = 8
TIME_SCALE = 1000.0


@dataclass(frozen=True)
class FlowUNetConfig:
    """Sizes; `inputs` is the width of all four inputs side by side, `channels` has one entry per resolution."""

    inputs: int
    mel: int
    time: int
    channels: tuple[int, ...]
    transformers: int
    middle: int
    heads: int
    head_dim: int
    inner: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, head_dim: int = 64) -> FlowUNetConfig:
        """Read the sizes; keys relative to `decoder.estimator.`. The width of a head leaves no trace in a shape."""
        transformer = "down_blocks.0.1.0."
        stages = count(shapes, "down_blocks.")
        return cls(
            inputs=shapes["down_blocks.0.0.block1.block.0.weight"][1],
            mel=shapes["final_proj.weight"][0],
            time=shapes["time_mlp.linear_1.weight"][0],
            channels=tuple(shapes[f"down_blocks.{stage}.0.block1.block.0.weight"][0] for stage in range(stages)),
            transformers=count(shapes, "down_blocks.0.1."),
            middle=count(shapes, "mid_blocks."),
            heads=shapes[transformer + "attn1.to_q.weight"][0] // head_dim,
            head_dim=head_dim,
            inner=shapes[transformer + "ff.net.0.proj.weight"][0],
        )


class _TimeEmbedder(nn.Module):
    """t (B,) -> (B, time), from sine and cosine of 1000 * t at frequencies that fall from 1 to 1e-4."""

    def __init__(self, config: FlowUNetConfig) -> None:
        super().__init__()
        self.half = config.inputs // 2
        self.linear_1 = nn.Linear(config.inputs, config.time)
        self.linear_2 = nn.Linear(config.time, config.time)

    def forward(self, t: Tensor) -> Tensor:
        steps = torch.arange(self.half, device=t.device).to(torch.float32)
        angle = TIME_SCALE * t[:, None] * torch.exp(steps * (-math.log(10000.0) / (self.half - 1)))[None, :]
        return self.linear_2(F.silu(self.linear_1(torch.cat((angle.sin(), angle.cos()), dim=-1))))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv1d(inputs, outputs, 3, padding=1), GroupNorm(GROUPS, outputs), nn.Mish())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class _ResNet(nn.Module):
    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time, outputs))
        self.block1 = _Block(inputs, outputs)
        self.block2 = _Block(outputs, outputs)
        self.res_conv = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.block2(self.block1(x) + self.mlp(time)[:, :, None]) + self.res_conv(x)


class _Attention(nn.Module):
    def __init__(self, channels: int, config: FlowUNetConfig) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = config.heads, config.head_dim, config.heads * config.head_dim
        self.to_q = nn.Linear(channels, self.width, bias=False)
        self.to_k = nn.Linear(channels, self.width, bias=False)
        self.to_v = nn.Linear(channels, self.width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(self.width, channels))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (split_heads(part(x), self.heads, self.head_dim) for part in (self.to_q, self.to_k, self.to_v))
        return self.to_out(merge_heads(attention(query, key, value, scale=self.head_dim**-0.5), self.width))


class _Gelu(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x))


class _FeedForward(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        # the second place is a dropout's, which has no weights
        self.net = nn.Sequential(_Gelu(channels, inner), nn.Identity(), nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _Transformer(nn.Module):
    def __init__(self, channels: int, config: FlowUNetConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = _Attention(channels, config)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = _FeedForward(channels, config.inner)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        return x + self.ff(self.norm3(x))


class _Half(nn.Module):
    """(B, C, T) -> (B, C, ceil(T / 2))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Double(nn.Module):
    """(B, C, T) -> (B, C, 2 T)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def _stage(inputs: int, outputs: int, config: FlowUNetConfig) -> list[nn.Module]:
    """Return a residual unit and its transformers."""
    transformers = nn.Sequential(*(_Transformer(outputs, config) for _ in range(config.transformers)))
    return [_ResNet(inputs, outputs, config.time), transformers]


class FlowUNet(nn.Module):
    """forward(x (B, 80, T), mu (B, 80, T), t (B,), speaker (B, 80), cond (B, 80, T)) -> velocity (B, 80, T).

    Every norm and every attention spans all T frames: rows of a batch must have equal length, and time must not be padded.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: FlowUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.time_mlp = _TimeEmbedder(config)
        self.down_blocks, self.mid_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        width = config.inputs
        for stage, channels in enumerate(config.channels):
            last = stage + 1 == len(config.channels)
            resample = nn.Conv1d(channels, channels, 3, padding=1) if last else _Half(channels)
            self.down_blocks.append(nn.ModuleList([*_stage(width, channels, config), resample]))
            width = channels
        self.mid_blocks.extend(nn.ModuleList(_stage(width, width, config)) for _ in range(config.middle))
        for stage, channels in enumerate(reversed(config.channels)):
            last = stage + 1 == len(config.channels)
            resample = nn.Conv1d(channels, channels, 3, padding=1) if last else _Double(channels)
            self.up_blocks.append(nn.ModuleList([*_stage(width + channels, channels, config), resample]))
            width = channels
        self.final_block = _Block(width, width)
        self.final_proj = nn.Conv1d(width, config.mel, 1)

    def forward(self, x: Tensor, mu: Tensor, t: Tensor, speaker: Tensor, cond: Tensor) -> Tensor:
        time = self.time_mlp(t)
        x = torch.cat((x, mu, speaker[:, :, None].expand(-1, -1, x.shape[2]), cond), dim=1)
        skips: list[Tensor] = []
        for resnet, transformers, resample in self.down_blocks:
            x = self._mixed(resnet(x, time), transformers)
            skips.append(x)
            x = resample(x)
        for resnet, transformers in self.mid_blocks:
            x = self._mixed(resnet(x, time), transformers)
        for resnet, transformers, resample in self.up_blocks:
            skip = skips.pop()
            # doubling gives one frame too many where halving met an odd number
            x = torch.cat((x[:, :, : skip.shape[2]], skip), dim=1)
            x = resample(self._mixed(resnet(x, time), transformers))
        return self.final_proj(self.final_block(x))

    @staticmethod
    def _mixed(x: Tensor, transformers: nn.Module) -> Tensor:
        return transformers(x.transpose(1, 2)).transpose(1, 2)


class GuidedUNet(nn.Module):
    """Classifier-free guidance around an estimator, as data: one graph serves any guidance strength and none.

    forward(x (1, 80, T), cond (1, 80, T), t (1,), speaker (1, 80), mu (1, 80, T), branch_mask (G,), branch_weights (R, G))
    -> velocity (R, 80, T). cond is the prompt's mel, and zero behind it; the prompt's frames of x and mu come first. Row r
    is the sum over g of branch_weights[r, g] * f(x, m_g mu, t, m_g speaker, m_g cond), m_g = branch_mask[g].
    """

    def __init__(self, estimator: FlowUNet) -> None:
        super().__init__()
        self.estimator = estimator

    @property
    def UNUSED(self) -> tuple[str, ...]:
        """The estimator's, below the name `estimator`."""
        return tuple(f"estimator.{pattern}" for pattern in self.estimator.UNUSED)

    def forward(
        self,
        x: Tensor,
        cond: Tensor,
        t: Tensor,
        speaker: Tensor,
        mu: Tensor,
        branch_mask: Tensor,
        branch_weights: Tensor,
    ) -> Tensor:
        branches, mask = branch_mask.shape[0], branch_mask[:, None, None]
        velocity = self.estimator(
            x.expand(branches, -1, -1), mu * mask, t.expand(branches), speaker * branch_mask[:, None], cond * mask
        )
        return torch.matmul(branch_weights, velocity.flatten(1)).unflatten(1, (x.shape[1], -1))
