"""Published forms of what our networks compute in a cheaper way: equal outputs, the published code's operations.

A network is written here for export and speed. The baseline "PyTorch original" must cost what the published code costs, so
each saving of more than a per cent of its component is undone. What is left out is listed by the family that it concerns.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks import bigvgan, dit, w2v_bert
from ovconvert.networks.attention import merge_heads, split_heads


class AliasFreeActivation(nn.Module):
    """forward(x (B, C, T)) -> (B, C, T): the signal at twice the rate laid out, snake on all of it, and every second sample.

    The polyphase form of `bigvgan` gives the same values by four convolutions at the lower rate.
    """

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.channels = ours.channels
        self.act, self.upsample, self.downsample = ours.act, ours.upsample, ours.downsample

    def forward(self, x: Tensor) -> Tensor:
        up = self.upsample.filter.expand(self.channels, -1, -1)
        down = self.downsample.lowpass.filter.expand(self.channels, -1, -1)
        padded = F.pad(x, (5, 5), mode="replicate")
        doubled = 2.0 * F.conv_transpose1d(padded, up, stride=2, groups=self.channels)
        doubled = doubled[:, :, 15:-15]  # what the padding grew into
        alpha, inverse = self.act.factors()
        doubled = doubled + inverse * torch.sin(doubled * alpha).pow(2)
        return F.conv1d(F.pad(doubled, (5, 6), mode="replicate"), down, stride=2, groups=self.channels)


class DistanceAttention(nn.Module):
    """forward(x (B, T, D), distance (T, T), mask) -> (B, T, D), with an embedding looked up per pair: (T, T, head_dim).

    Ours scores each query against the few distances first and gathers; the product with the table of pairs is the same.
    """

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = ours.heads, ours.head_dim, ours.width
        self.linear_q, self.linear_k, self.linear_v = ours.linear_q, ours.linear_k, ours.linear_v
        self.linear_out, self.distance_embedding = ours.linear_out, ours.distance_embedding

    def forward(self, x: Tensor, distance: Tensor, mask: Tensor) -> Tensor:
        query = split_heads(self.linear_q(x), self.heads, self.head_dim)
        key = split_heads(self.linear_k(x), self.heads, self.head_dim)
        value = split_heads(self.linear_v(x), self.heads, self.head_dim)
        root = self.head_dim**0.5
        scores = torch.matmul(query, key.transpose(2, 3)) / root
        relative = torch.einsum("bhld,lrd->bhlr", query, self.distance_embedding(distance))
        weights = torch.softmax(scores + relative / root + mask, dim=-1)
        return self.linear_out(merge_heads(torch.matmul(weights, value), self.width))


class LayersAbove(nn.Module):
    """The last layer that is needed, followed by `count` that are run as well and whose result nobody reads.

    The layers above are copies of the last one: they cost what the published ones cost in time and memory, and their values
    go nowhere.
    """

    def __init__(self, last: nn.Module, count: int) -> None:
        super().__init__()
        self.last = last
        self.above = nn.ModuleList(copy.deepcopy(last) for _ in range(count))

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        wanted = x = self.last(x, *given)
        for layer in self.above:
            x = layer(x, *given)
        return wanted


class EveryFrame(nn.Module):
    """The estimator with its head and its last layer over every frame, the prompt's too, whose velocities nobody reads."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.ours = ours

    def forward(self, x: Tensor, prompt_x: Tensor, t: Tensor, style: Tensor, mu: Tensor, wanted: int) -> Tensor:
        return self.ours(x, prompt_x, t, style, mu)[:, :, -wanted:]


REPLACED: dict[type[nn.Module], type[nn.Module]] = {
    bigvgan._Activation: AliasFreeActivation,
    dit.DiT: EveryFrame,
    w2v_bert._Attention: DistanceAttention,
}


def restore(network: nn.Module) -> nn.Module:
    """Put the published form of every part of `network` in its place; return the network, whose outputs stay the same."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) in REPLACED:
                setattr(parent, name, REPLACED[type(child)](child))
    if isinstance(network, w2v_bert.W2vBert):
        layers = network.encoder.layers
        layers[-1] = LayersAbove(layers[-1], network.config.published_layers - len(layers))
    return network.eval()
