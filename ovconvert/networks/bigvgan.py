"""BigVGAN-v2 vocoder: log-mel to waveform, with alias-free snake activations (spec section 14)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class BigVganConfig:
    """Sizes; `rates` and `kernels` have one entry per upsampling stage, `block_kernels` one per parallel block."""

    mel: int
    channels: int
    rates: tuple[int, ...]
    kernels: tuple[int, ...]
    block_kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    final_bias: bool
    log_scale: bool
    tanh: bool

    @classmethod
    def from_shapes(
        cls,
        shapes: Shapes,
        *,
        rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2),
        dilations: tuple[int, ...] = (1, 3, 5),
        log_scale: bool = True,
        tanh: bool = False,
    ) -> BigVganConfig:
        """Read the sizes; strides, dilations and the kind of scale and limit come from the vocoder's config file."""
        stages = count(shapes, "ups.")
        if len(rates) != stages or len(dilations) != count(shapes, "resblocks.0.convs1."):
            raise ValueError(f"rates {rates} and dilations {dilations} do not fit the file's {stages} stages")
        parallel = count(shapes, "resblocks.") // stages
        return cls(
            mel=shapes["conv_pre.weight"][1],
            channels=shapes["conv_pre.weight"][0],
            rates=rates,
            kernels=tuple(shapes[f"ups.{stage}.0.weight"][2] for stage in range(stages)),
            block_kernels=tuple(shapes[f"resblocks.{block}.convs1.0.weight"][2] for block in range(parallel)),
            dilations=dilations,
            final_bias="conv_post.bias" in shapes,
            log_scale=log_scale,
            tanh=tanh,
        )


class _Filter(nn.Module):
    """Twelve taps of a Kaiser-windowed sinc, as stored."""

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.empty(1, 1, 12))


class _Downsample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lowpass = _Filter()


class _SnakeBeta(nn.Module):
    """x + sin(a x)^2 / (b + 1e-9), a and b per channel, stored as logarithms when `log_scale`."""

    def __init__(self, channels: int, log_scale: bool) -> None:
        super().__init__()
        self.log_scale = log_scale
        self.alpha = nn.Parameter(torch.empty(channels))
        self.beta = nn.Parameter(torch.empty(channels))

    def factors(self) -> tuple[Tensor, Tensor]:
        """a and 1 / (b + 1e-9), each (channels, 1): constants of the graph."""
        alpha, beta = (self.alpha.exp(), self.beta.exp()) if self.log_scale else (self.alpha, self.beta)
        return alpha[:, None], 1.0 / (beta[:, None] + 1e-9)


def _snake(x: Tensor, alpha: Tensor, inverse: Tensor) -> Tensor:
    return x + torch.sin(x * alpha).square() * inverse


class _Activation(nn.Module):
    """Twice the rate, snake, back to the rate: (B, C, T) -> (B, C, T).

    The doubled signal is never laid out: its even samples E and odd samples O are two filterings of x, the snake acts
    on each, and each output sample is six taps of E plus six of O. Four stride-1 depthwise convolutions replace a
    transposed and a strided one, and nothing is interleaved.
    """

    def __init__(self, channels: int, log_scale: bool) -> None:
        super().__init__()
        self.channels = channels
        self.act = _SnakeBeta(channels, log_scale)
        self.upsample = _Filter()
        self.downsample = _Downsample()

    def _depthwise(self, x: Tensor, taps: Tensor, size: int) -> Tensor:
        return F.conv1d(x, taps.expand(self.channels, 1, size), groups=self.channels)

    def forward(self, x: Tensor) -> Tensor:
        up, down = self.upsample.filter, self.downsample.lowpass.filter
        alpha, inverse = self.act.factors()
        padded = F.pad(x, (3, 3), mode="replicate")
        # the doubling spreads x over twice the samples, hence the gain of 2; odd samples read one frame later than even
        # ones: a zero tap says so at a sixth more work, where slicing the input would copy it twice
        none = torch.zeros_like(up[:, :, :1])
        even = _snake(self._depthwise(padded, torch.cat((2.0 * up[:, :, 1::2].flip(2), none), 2), 7), alpha, inverse)
        odd = _snake(self._depthwise(padded, torch.cat((none, 2.0 * up[:, :, 0::2].flip(2)), 2), 7), alpha, inverse)
        # the doubled signal repeats its ends: its first sample is even, its last one odd
        first, last = even[:, :, :1], odd[:, :, -1:]
        even = torch.cat((first, first, even, last, last, last), dim=2)
        odd = torch.cat((first, first, first, odd, last, last), dim=2)
        return self._depthwise(even, down[:, :, 1::2], 6) + self._depthwise(odd, down[:, :, 0::2], 6)


class _ResBlock(nn.Module):
    def __init__(self, channels: int, kernel: int, config: BigVganConfig) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)
            for dilation in config.dilations
        )
        self.convs2 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in config.dilations
        )
        self.activations = nn.ModuleList(_Activation(channels, config.log_scale) for _ in range(2 * len(config.dilations)))

    def forward(self, x: Tensor) -> Tensor:
        for index, (first, second) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            y = first(self.activations[2 * index](x))
            x = x + second(self.activations[2 * index + 1](y))
        return x


class BigVgan(nn.Module):
    """forward(mel (B, 80, T), natural-log mel) -> waveform (B, 1, hop * T) in [-1, 1], hop = product of the rates."""

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: BigVganConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_pre = nn.Conv1d(config.mel, config.channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        channels = config.channels
        for rate, kernel in zip(config.rates, config.kernels, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2)
            self.ups.append(nn.ModuleList([up]))
            channels //= 2
            self.resblocks.extend(_ResBlock(channels, size, config) for size in config.block_kernels)
        self.activation_post = _Activation(channels, config.log_scale)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=config.final_bias)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.conv_pre(mel)
        parallel = len(self.config.block_kernels)
        for stage, (up,) in enumerate(self.ups):
            x = up(x)
            blocks = [block(x) for block in self.resblocks[parallel * stage : parallel * (stage + 1)]]
            x = sum(blocks[1:], blocks[0]) / parallel
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.config.tanh else x.clamp(-1.0, 1.0)
