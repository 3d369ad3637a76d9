"""Semantic codec: features to codes, and codes back to content features (spec sections 6 and 17)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class SemanticCodecConfig:
    """Sizes. `downsample` is the stride between features and codes: 1 in version 2.0, 2 in 2.5."""

    hidden: int
    width: int
    inner: int
    layers: int
    codes: int
    code_dim: int
    downsample: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, downsample: int = 2) -> SemanticCodecConfig:
        """Read the sizes; `downsample` counts only when the file has the resampling convolutions."""
        side = "encoder" if "encoder.0.embed.weight" in shapes else "decoder"
        width, hidden, _ = shapes[f"{side}.0.embed.weight"]
        codes, code_dim = shapes["quantizer.quantizers.0.codebook.weight"]
        return cls(
            hidden=hidden,
            width=width,
            inner=shapes[f"{side}.0.convnext.0.pwconv1.weight"][0],
            layers=count(shapes, f"{side}.0.convnext."),
            codes=codes,
            code_dim=code_dim,
            downsample=downsample if "down.weight" in shapes or "up.weight" in shapes else 1,
        )


class _ConvNext(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))
        self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, inner)
        self.pwconv2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).transpose(1, 2))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.transpose(1, 2)


class _Backbone(nn.Module):
    """(B, hidden, T) -> (B, T, width)."""

    def __init__(self, config: SemanticCodecConfig) -> None:
        super().__init__()
        self.embed = nn.Conv1d(config.hidden, config.width, 7, padding=3)
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.convnext = nn.ModuleList(_ConvNext(config.width, config.inner) for _ in range(config.layers))
        self.final_layer_norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x).transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x.transpose(1, 2))


class _Codebook(nn.Module):
    """The stored codebook and its way out; the way in exists where features are quantised."""

    def __init__(self, config: SemanticCodecConfig, quantises: bool) -> None:
        super().__init__()
        if quantises:
            self.in_project = nn.Conv1d(config.hidden, config.code_dim, 1)
        self.out_project = nn.Conv1d(config.code_dim, config.hidden, 1)
        self.codebook = nn.Embedding(config.codes, config.code_dim)

    def indices(self, x: Tensor) -> Tensor:
        """(B, T, hidden) -> (B, T) int64, the entry of largest cosine."""
        z = self.in_project(x.transpose(1, 2)).transpose(1, 2)
        # the length of z scales all its cosines alike, so only the codebook is normalised
        return torch.matmul(z, F.normalize(self.codebook.weight, dim=-1).t()).argmax(-1)

    def lookup(self, codes: Tensor) -> Tensor:
        """(B, N) int64 -> (B, N, hidden), from the entries as stored, not normalised."""
        return self.out_project(self.codebook(codes).transpose(1, 2)).transpose(1, 2)


class Quantizer(nn.Module):
    """The codebook under its published name, `quantizers.0`; its way in only where features are quantised."""

    def __init__(self, config: SemanticCodecConfig, quantises: bool) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList([_Codebook(config, quantises)])


class SemanticEncoder(nn.Module):
    """forward(features (B, T, hidden)) -> (codes (B, N) int64, quantized (B, N, hidden)), N = ceil(T / downsample)."""

    UNUSED: tuple[str, ...] = ("decoder.*", "up.*")

    def __init__(self, config: SemanticCodecConfig) -> None:
        super().__init__()
        self.config = config
        if config.downsample > 1:
            self.down = nn.Conv1d(config.hidden, config.hidden, 3, stride=config.downsample, padding=1)
        self.encoder = nn.ModuleList([_Backbone(config), nn.Linear(config.width, config.hidden)])
        self.quantizer = Quantizer(config, quantises=True)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = features.transpose(1, 2)
        if self.config.downsample > 1:
            x = F.gelu(self.down(x))
        for part in self.encoder:
            x = part(x)
        codebook = self.quantizer.quantizers[0]
        codes = codebook.indices(x)
        return codes, codebook.lookup(codes)


class CodeEmbedding(nn.Module):
    """vq2emb: forward(codes (B, N) int64) -> out_project(codebook[codes]) (B, N, hidden)."""

    UNUSED: tuple[str, ...] = ("encoder.*", "decoder.*", "down.*", "up.*", "quantizer.quantizers.0.in_project.*")

    def __init__(self, config: SemanticCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = Quantizer(config, quantises=False)

    def forward(self, codes: Tensor) -> Tensor:
        return self.quantizer.quantizers[0].lookup(codes)


class SemanticDecoder(CodeEmbedding):
    """Version 2.5: forward(codes (B, N) int64) -> content features (B, downsample * N, hidden).

    vq2emb, then the decoder's backbone and projection, nearest repetition in time, and the convolution `up`.
    """

    UNUSED: tuple[str, ...] = ("encoder.*", "down.*", "quantizer.quantizers.0.in_project.*")

    def __init__(self, config: SemanticCodecConfig) -> None:
        super().__init__(config)
        self.decoder = nn.ModuleList([_Backbone(config), nn.Linear(config.width, config.hidden)])
        if config.downsample > 1:
            self.up = nn.Conv1d(config.hidden, config.hidden, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        x = super().forward(codes).transpose(1, 2)
        for part in self.decoder:
            x = part(x)
        if self.config.downsample == 1:
            return x
        repeated = torch.stack([x.transpose(1, 2)] * self.config.downsample, dim=-1).flatten(2)
        return self.up(repeated).transpose(1, 2)
