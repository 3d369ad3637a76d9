"""ConvNeXt blocks over time: of the first version, and of the second, which has a response norm.

Liu et al. 2022, arXiv 2201.03545, and Woo et al. 2023, arXiv 2301.00808, each in one dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 7
EPSILON = 1e-6


class ResponseNorm(nn.Module):
    """x (B, T, C) scaled by how strong each channel is over all frames, relative to the mean channel.

    It spans time, so a padded sequence gives other values.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(1, 1, width))
        self.beta = nn.Parameter(torch.empty(1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        strength = x.square().sum(1, keepdim=True).sqrt()
        return self.gamma * (x * (strength / (strength.mean(-1, keepdim=True) + EPSILON))) + self.beta + x


class ConvNeXt(nn.Module):
    """(B, T, width) -> (B, T, width): a convolution of each channel over time, then a feed-forward, around a skip.

    With `response_norm` it is a block of the second version, else one of the first, whose branch is scaled by channel.
    """

    def __init__(self, width: int, inner: int, *, response_norm: bool) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.pwconv1 = nn.Linear(width, inner)
        self.pwconv2 = nn.Linear(inner, width)
        self.grn = ResponseNorm(inner) if response_norm else None
        self.gamma = None if response_norm else nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.dwconv(x.transpose(1, 2)).transpose(1, 2)
        h = F.gelu(self.pwconv1(self.norm(h)))
        if self.grn is not None:
            h = self.grn(h)
        h = self.pwconv2(h)
        return x + (h if self.gamma is None else self.gamma * h)
