"""Vocoder that predicts a spectrum and inverts it: mel to waveform (Siuzdak 2023, arXiv 2306.00814)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ovconvert.networks.convnext import EPSILON, KERNEL, ConvNeXt
from ovconvert.networks.shapes import Shapes, count
from ovconvert.networks.stft import Stft

LOUDEST = 100.0  # of a magnitude; beyond, it is cut


@dataclass(frozen=True)
class VocosConfig:
    """Sizes; `fft` and `hop` in samples."""

    mel: int
    width: int
    inner: int
    blocks: int
    fft: int
    hop: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, hop: int) -> VocosConfig:
        """Read the sizes; keys as in the network. The hop leaves no trace in a shape."""
        width, mel, _ = shapes["backbone.embed.weight"]
        return cls(
            mel=mel,
            width=width,
            inner=shapes["backbone.convnext.0.pwconv1.weight"][0],
            blocks=count(shapes, "backbone.convnext."),
            fft=shapes["head.out.weight"][0] - 2,
            hop=hop,
        )


class _Backbone(nn.Module):
    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.embed = nn.Conv1d(config.mel, config.width, KERNEL, padding=KERNEL // 2)
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.convnext = nn.ModuleList(
            ConvNeXt(config.width, config.inner, response_norm=False) for _ in range(config.blocks)
        )
        self.final_layer_norm = nn.LayerNorm(config.width, eps=EPSILON)

    def forward(self, mel: Tensor) -> Tensor:
        h = self.norm(self.embed(mel).transpose(1, 2))
        for block in self.convnext:
            h = block(h)
        return self.final_layer_norm(h)


class _Head(nn.Module):
    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.out = nn.Linear(config.width, config.fft + 2)
        self.stft = Stft(config.fft, config.hop)

    def forward(self, h: Tensor) -> Tensor:
        magnitude, phase = self.out(h).transpose(1, 2).chunk(2, dim=1)
        return self.stft.inverse(magnitude.exp().clamp(max=LOUDEST), phase)


class Vocos(nn.Module):
    """forward(mel (1, bands, frames)) -> waveform (1, 1, hop * (frames - 1)); at least 2 frames.

    The first and the last sample are the centres of the first and the last frame.
    """

    UNUSED: tuple[str, ...] = ("feature_extractor.*", "head.istft.window")

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.backbone = _Backbone(config)
        self.head = _Head(config)

    def forward(self, mel: Tensor) -> Tensor:
        return self.head(self.backbone(mel))
