"""CAM++ speaker encoder: filter bank to one style vector (spec section 7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.shapes import Shapes, count

SEGMENT = 100  # frames that share one context average


@dataclass(frozen=True)
class CamPlusConfig:
    """Sizes; `layers`, `dilations` and `transits` have one entry per dense block."""

    channels: int
    head_blocks: tuple[int, int]
    head_out: int
    tdnn: int
    tdnn_kernel: int
    layers: tuple[int, ...]
    bottleneck: int
    growth: int
    kernel: int
    context: int
    dilations: tuple[int, ...]
    transits: tuple[int, ...]
    embedding: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, dilations: tuple[int, ...] = (1, 2, 2)) -> CamPlusConfig:
        """Read the sizes; only the dilation of each dense block leaves no trace in a shape."""
        tdnn, head_out, tdnn_kernel = shapes["xvector.tdnn.linear.weight"]
        growth, bottleneck, kernel = shapes["xvector.block1.tdnnd1.cam_layer.linear_local.weight"]
        blocks = range(1, count(shapes, "xvector.block") + 1)
        return cls(
            channels=shapes["head.conv1.weight"][0],
            head_blocks=(count(shapes, "head.layer1."), count(shapes, "head.layer2.")),
            head_out=head_out,
            tdnn=tdnn,
            tdnn_kernel=tdnn_kernel,
            layers=tuple(count(shapes, f"xvector.block{block}.tdnnd") for block in blocks),
            bottleneck=bottleneck,
            growth=growth,
            kernel=kernel,
            context=shapes["xvector.block1.tdnnd1.cam_layer.linear1.weight"][0],
            dilations=dilations,
            transits=tuple(shapes[f"xvector.transit{block}.linear.weight"][0] for block in blocks),
            embedding=shapes["xvector.dense.linear.weight"][0],
        )


class _ResBlock(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class _Head(nn.Module):
    """(B, 1, bins, T) -> (B, channels * bins / 8, T)."""

    def __init__(self, config: CamPlusConfig) -> None:
        super().__init__()
        channels = config.channels
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        first, second = config.head_blocks
        self.layer1 = nn.Sequential(*(_ResBlock(channels, 2 if index == 0 else 1) for index in range(first)))
        self.layer2 = nn.Sequential(*(_ResBlock(channels, 2 if index == 0 else 1) for index in range(second)))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        return F.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class _Norm(nn.Module):
    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.batchnorm(x)


class _Context(nn.Module):
    """Local convolution, gated by what the whole recording and its 100-frame segment look like on average."""

    def __init__(self, config: CamPlusConfig, dilation: int) -> None:
        super().__init__()
        padding = (config.kernel - 1) // 2 * dilation
        self.linear_local = nn.Conv1d(
            config.bottleneck, config.growth, config.kernel, padding=padding, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(config.bottleneck, config.context, 1)
        self.linear2 = nn.Conv1d(config.context, config.growth, 1)

    def forward(self, x: Tensor, average: Tensor, spread: Tensor) -> Tensor:
        # the gate is the same all over a segment: compute it once per segment and spread the result
        context = x.mean(-1, keepdim=True) + torch.matmul(x, average)
        gate = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        return self.linear_local(x) * torch.matmul(gate, spread)


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, config: CamPlusConfig, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _Norm(channels)
        self.linear1 = nn.Conv1d(channels, config.bottleneck, 1, bias=False)
        self.nonlinear2 = _Norm(config.bottleneck)
        self.cam_layer = _Context(config, dilation)

    def forward(self, x: Tensor, average: Tensor, spread: Tensor) -> Tensor:
        h = self.linear1(F.relu(self.nonlinear1(x)))
        h = self.cam_layer(F.relu(self.nonlinear2(h)), average, spread)
        return torch.cat((x, h), dim=1)


class _Unit(nn.Module):
    """A linear map beside its normalisation; which of them comes first is the caller's business."""

    def __init__(self, linear: nn.Module, nonlinear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.nonlinear = nonlinear


def segments(frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrices that average frames by segment (T, n) and spread segment values back over frames (n, T).

    The last segment averages over the frames that it has. As matrix products this leaves no pooling window whose
    rounding rule a runtime could read differently.
    """
    segment = torch.arange(frames, device=device) // SEGMENT
    number = torch.arange((frames + (SEGMENT - 1)) // SEGMENT, device=device)
    spread = (number[:, None] == segment[None, :]).to(torch.float32)
    return (spread / spread.sum(1, keepdim=True)).t(), spread


class CamPlus(nn.Module):
    """forward(fbank (B, T, bins), mean over time already removed) -> style (B, embedding).

    Pooling runs over all frames without a mask, so the time axis must not be padded.
    """

    UNUSED: tuple[str, ...] = ()

    def __init__(self, config: CamPlusConfig) -> None:
        super().__init__()
        self.config = config
        self.head = _Head(config)
        width = config.tdnn
        padding = (config.tdnn_kernel - 1) // 2
        tdnn = nn.Conv1d(config.head_out, width, config.tdnn_kernel, stride=2, padding=padding, bias=False)
        self.xvector = nn.ModuleDict({"tdnn": _Unit(tdnn, _Norm(width))})
        self.blocks = range(1, len(config.layers) + 1)
        rows = zip(self.blocks, config.layers, config.dilations, config.transits, strict=True)
        for block, layers, dilation, out in rows:
            dense = nn.ModuleDict()
            for layer in range(1, layers + 1):
                dense[f"tdnnd{layer}"] = _DenseLayer(width, config, dilation)
                width += config.growth
            self.xvector[f"block{block}"] = dense
            self.xvector[f"transit{block}"] = _Unit(nn.Conv1d(width, out, 1, bias=False), _Norm(width))
            width = out
        self.xvector["out_nonlinear"] = _Norm(width)
        self.xvector["dense"] = _Unit(
            nn.Conv1d(2 * width, config.embedding, 1, bias=False), _Norm(config.embedding, affine=False)
        )

    def forward(self, fbank: Tensor) -> Tensor:
        part = self.xvector
        x = self.head(fbank.transpose(1, 2)[:, None])
        x = F.relu(part["tdnn"].nonlinear(part["tdnn"].linear(x)))
        average, spread = segments(x.shape[2], x.device)
        for block in self.blocks:
            for layer in part[f"block{block}"].values():
                x = layer(x, average, spread)
            transit = part[f"transit{block}"]
            x = transit.linear(F.relu(transit.nonlinear(x)))
        x = F.relu(part["out_nonlinear"](x))
        mean = x.mean(-1, keepdim=True)
        deviation = ((x - mean).square().sum(-1, keepdim=True) / (x.shape[2] - 1)).sqrt()
        dense = part["dense"]
        return dense.nonlinear(dense.linear(torch.cat((mean, deviation), dim=1)))[:, :, 0]
