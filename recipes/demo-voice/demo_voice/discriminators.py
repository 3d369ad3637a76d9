"""Judges of waveforms: one per period (samples folded into columns) and one per resolution (log-magnitude spectra)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
GAIN = 10.0  # brings speech at its usual level near unit variance; without it the judges of periods learn next to nothing


@dataclass(frozen=True)
class Judged:
    """A judge's map of scores (1 is genuine) and the features of its layers."""

    scores: Tensor
    features: tuple[Tensor, ...]


class Discriminators(nn.Module):
    """forward(wave (B, 1, samples), asked) -> one `Judged` per asked judge, of one per period and one per window."""

    def __init__(self, periods: Iterable[int], windows: Iterable[int], width: int) -> None:
        super().__init__()
        judges: list[nn.Module] = [_Period(period, width) for period in periods]
        judges += [_Spectrum(window, width) for window in windows]
        self.judges = nn.ModuleList(judges)

    def forward(self, wave: Tensor, asked: Iterable[int]) -> list[Judged]:
        return [self.judges[index](wave) for index in asked]


class _Layers(nn.Module):
    """Two-dimensional convolutions, each (kernel, stride); their outputs are the features."""

    def __init__(self, channels: list[int], kernels: list[tuple[int, int]], strides: list[tuple[int, int]]) -> None:
        super().__init__()
        shapes = zip(channels, channels[1:], kernels, strides, strict=False)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2)))
            for before, after, kernel, stride in shapes
        )
        self.last = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor) -> Judged:
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return Judged(self.last(x), tuple(features))


class _Period(nn.Module):
    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        channels = [1, width, 2 * width, 4 * width, 4 * width]
        self.layers = _Layers(channels, [(5, 1)] * 4, [(3, 1)] * 3 + [(1, 1)])

    def forward(self, wave: Tensor) -> Judged:
        wave = F.pad(GAIN * wave, (0, -wave.shape[-1] % self.period), mode="reflect")
        return self.layers(wave.unflatten(-1, (-1, self.period)))  # type: ignore[no-any-return]


class _Spectrum(nn.Module):
    window: Tensor

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        channels = [1, width, 2 * width, 2 * width, 2 * width]
        self.layers = _Layers(channels, [(7, 3), (7, 3), (5, 3), (3, 3)], [(2, 1), (2, 2), (2, 2), (1, 1)])

    def forward(self, wave: Tensor) -> Judged:
        size = len(self.window)
        spectrum = torch.stft(wave[:, 0], size, size // 4, window=self.window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return self.layers((power + 1e-7).log()[:, None] * 0.25 + 1.0)  # type: ignore[no-any-return]
