"""HiFT vocoder: log-mel and an excitation to a waveform, by way of a short-time spectrum.

CosyVoice, spec section 9.3; the head is that of iSTFTNet (Kaneko et al. 2022, arXiv 2203.02395).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes, count
from ovconvert.networks.stft import Stft

LOUDEST = 100.0  # of one bin


@dataclass(frozen=True)
class HiftConfig:
    """Sizes; `rates`, `kernels`, `source_kernels` and `source_strides` have one entry per upsampling stage."""

    mel: int
    channels: int
    rates: tuple[int, ...]
    kernels: tuple[int, ...]
    block_kernels: tuple[int, ...]
    source_kernels: tuple[int, ...]
    source_block_kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    fft: int
    fft_hop: int
    slope: float
    limit: float

    @classmethod
    def from_shapes(
        cls,
        shapes: Shapes,
        *,
        rates: tuple[int, ...] = (8, 8),
        dilations: tuple[int, ...] = (1, 3, 5),
        fft_hop: int = 4,
        slope: float = 0.1,
        limit: float = 0.99,
    ) -> HiftConfig:
        """Read the sizes; keys as in hift.pt. Strides, dilations, slope and limit stand in no shape."""
        stages = count(shapes, "ups.")
        if len(rates) != stages or len(dilations) != count(shapes, "resblocks.0.convs1."):
            raise ValueError(f"rates {rates} and dilations {dilations} do not fit the file's {stages} stages")
        parallel = count(shapes, "resblocks.") // stages
        return cls(
            mel=shapes["conv_pre.weight"][1],
            channels=shapes["conv_pre.weight"][0],
            rates=rates,
            kernels=tuple(shapes[f"ups.{stage}.weight"][2] for stage in range(stages)),
            block_kernels=tuple(shapes[f"resblocks.{block}.convs1.0.weight"][2] for block in range(parallel)),
            source_kernels=tuple(shapes[f"source_downs.{stage}.weight"][2] for stage in range(stages)),
            source_block_kernels=tuple(shapes[f"source_resblocks.{stage}.convs1.0.weight"][2] for stage in range(stages)),
            dilations=dilations,
            fft=shapes["conv_post.weight"][0] - 2,
            fft_hop=fft_hop,
            slope=slope,
            limit=limit,
        )


class _Snake(nn.Module):
    """x + sin(a x)^2 / (a + 1e-9), a per channel, stored as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        return x + torch.sin(x * alpha).square() * (1.0 / (alpha + 1e-9))


class _ResBlock(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)
            for dilation in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations)
        self.activations1 = nn.ModuleList(_Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(_Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        steps = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for first_snake, first, second_snake, second in steps:
            x = x + second(second_snake(first(first_snake(x))))
        return x


class Hift(nn.Module):
    """forward(mel (B, 80, T), natural-log mel, source (B, 1, hop * T)) -> waveform (B, 1, hop * T), |waveform| <= `limit`.

    hop is the product of the rates and of the transform's hop.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.config = config
        self.stft = Stft(config.fft, config.fft_hop)
        self.conv_pre = nn.Conv1d(config.mel, config.channels, 7, padding=3)
        self.ups, self.source_downs = nn.ModuleList(), nn.ModuleList()
        self.source_resblocks, self.resblocks = nn.ModuleList(), nn.ModuleList()
        channels = config.channels
        for stage, (rate, kernel) in enumerate(zip(config.rates, config.kernels, strict=True)):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2)
            self.ups.append(up)
            channels //= 2
            self.source_downs.append(_source_down(config.fft + 2, channels, config.source_kernels[stage]))
            self.source_resblocks.append(_ResBlock(channels, config.source_block_kernels[stage], config.dilations))
            self.resblocks.extend(_ResBlock(channels, size, config.dilations) for size in config.block_kernels)
        self.conv_post = nn.Conv1d(channels, config.fft + 2, 7, padding=3)

    def forward(self, mel: Tensor, source: Tensor) -> Tensor:
        return self.synthesise(self.decode(mel, self.stft.forward(source)))

    def decode(self, mel: Tensor, excitation: Tensor) -> Tensor:
        """Return (B, 2 * bins, frames): logarithms of magnitudes, then numbers whose sines are the phases."""
        x = self.conv_pre(mel)
        parallel = len(self.config.block_kernels)
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, self.config.slope))
            if stage + 1 == len(self.ups):  # a centred transform has one frame more than there are hops
                x = torch.cat((x[:, :, 1:2], x), dim=2)
            x = x + self.source_resblocks[stage](self.source_downs[stage](excitation))
            blocks = [block(x) for block in self.resblocks[parallel * stage : parallel * (stage + 1)]]
            x = sum(blocks[1:], blocks[0]) / parallel
        return self.conv_post(F.leaky_relu(x, 0.01))  # not the slope of the others

    def synthesise(self, decoded: Tensor) -> Tensor:
        """Return the waveform (B, 1, samples) of what `decode` gives."""
        bins = self.stft.bins
        magnitude = decoded[:, :bins].exp().clamp(max=LOUDEST)
        return self.stft.inverse(magnitude, decoded[:, bins:].sin()).clamp(-self.config.limit, self.config.limit)


def _source_down(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
    """Return the convolution that brings the excitation to a stage's rate: a kernel is twice its stride, or one sample."""
    stride = max(kernel // 2, 1)
    return nn.Conv1d(inputs, outputs, kernel, stride=stride, padding=stride // 2 if kernel > 1 else 0)
