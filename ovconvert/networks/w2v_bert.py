"""w2v-BERT 2.0: a Conformer over stacked filter-bank frames, with distance-embedding attention (spec section 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import HIDDEN, attention, merge_heads, split_heads
from ovconvert.networks.shapes import Shapes, count


@dataclass(frozen=True)
class W2vBertConfig:
    """Sizes; `layers` are run, `published_layers` are in the file."""

    features: int
    width: int
    inner: int
    heads: int
    head_dim: int
    kernel: int
    layers: int
    published_layers: int
    left: int
    right: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, layers: int | None = None, left: int = 64, right: int = 8) -> W2vBertConfig:
        """Read the sizes. The table of distances has left + 1 + right rows; how they divide, no tensor tells."""
        width, features = shapes["feature_projection.projection.weight"]
        rows, head_dim = shapes["encoder.layers.0.self_attn.distance_embedding.weight"]
        if rows != left + 1 + right:
            raise ValueError(f"distance table has {rows} rows, left {left} and right {right} need {left + 1 + right}")
        published = count(shapes, "encoder.layers.")
        if layers is not None and layers > published:
            raise ValueError(f"{layers} layers asked for, the file has {published}")
        return cls(
            features=features,
            width=width,
            inner=shapes["encoder.layers.0.ffn1.intermediate_dense.weight"][0],
            heads=width // head_dim,
            head_dim=head_dim,
            kernel=shapes["encoder.layers.0.conv_module.depthwise_conv.weight"][2],
            layers=published if layers is None else layers,
            published_layers=published,
            left=left,
            right=right,
        )


class _FeatureProjection(nn.Module):
    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.features)
        self.projection = nn.Linear(config.features, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.layer_norm(x))


class _FeedForward(nn.Module):
    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.width, config.inner)
        self.output_dense = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.silu(self.intermediate_dense(x)))


class _Attention(nn.Module):
    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = config.heads, config.head_dim, config.width
        self.linear_q = nn.Linear(config.width, config.width)
        self.linear_k = nn.Linear(config.width, config.width)
        self.linear_v = nn.Linear(config.width, config.width)
        self.linear_out = nn.Linear(config.width, config.width)
        self.distance_embedding = nn.Embedding(config.left + 1 + config.right, config.head_dim)

    def forward(self, x: Tensor, distance: Tensor, mask: Tensor) -> Tensor:
        scale = self.head_dim**-0.5
        query = split_heads(self.linear_q(x), self.heads, self.head_dim)
        key = split_heads(self.linear_k(x), self.heads, self.head_dim)
        value = split_heads(self.linear_v(x), self.heads, self.head_dim)
        # score every query against the few distances first: the literal form needs a (T, T, head_dim) table per layer
        by_distance = torch.matmul(query, self.distance_embedding.weight.t())
        relative = torch.gather(by_distance, 3, distance[None, None].expand(query.shape[0], self.heads, -1, -1))
        return self.linear_out(merge_heads(attention(query, key, value, relative * scale + mask, scale), self.width))


class _Convolution(nn.Module):
    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        width = config.width
        self.past = config.kernel - 1
        self.layer_norm = nn.LayerNorm(width)
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(width, width, config.kernel, groups=width, bias=False)
        self.depthwise_layer_norm = nn.LayerNorm(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        x = (self.layer_norm(x) * present).transpose(1, 2)
        x = F.glu(self.pointwise_conv1(x), dim=1)
        x = self.depthwise_conv(F.pad(x, (self.past, 0)))
        x = F.silu(self.depthwise_layer_norm(x.transpose(1, 2)))
        return self.pointwise_conv2(x.transpose(1, 2)).transpose(1, 2)


class _Layer(nn.Module):
    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        self.ffn1_layer_norm = nn.LayerNorm(config.width)
        self.ffn1 = _FeedForward(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.self_attn = _Attention(config)
        self.conv_module = _Convolution(config)
        self.ffn2_layer_norm = nn.LayerNorm(config.width)
        self.ffn2 = _FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, distance: Tensor, mask: Tensor, present: Tensor) -> Tensor:
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        x = x + self.self_attn(self.self_attn_layer_norm(x), distance, mask)
        x = x + self.conv_module(x, present)
        x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        return self.final_layer_norm(x)


class _Encoder(nn.Module):
    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))


class W2vBert(nn.Module):
    """forward(input_features (B, T, 160), attention_mask (B, T)) -> hidden state after the last kept layer (B, T,
    width).

    The mask is 1 on real frames. A masked frame (the last one of an odd frame count) is zeroed before the layers and
    inside each convolution, is hidden from the attention of others, and stays in the output, as in the original.
    """

    UNUSED: tuple[str, ...] = ("masked_spec_embed", "adapter.*", "intermediate_ffn.*")

    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        self.config = config
        # layers above the wanted hidden state: which, the file's own depth decides
        self.UNUSED = W2vBert.UNUSED + tuple(
            f"encoder.layers.{index}.*" for index in range(config.layers, config.published_layers)
        )
        self.feature_projection = _FeatureProjection(config)
        self.encoder = _Encoder(config)

    def forward(self, input_features: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.feature_projection(input_features)
        present = attention_mask[:, :, None].to(x.dtype)
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * HIDDEN
        position = torch.arange(input_features.shape[1], device=input_features.device)
        left, right = self.config.left, self.config.right
        distance = (position[None, :] - position[:, None]).clamp(-left, right) + left
        x = x * present
        for layer in self.encoder.layers:
            x = layer(x, distance, mask, present)
        return x


class SemanticFeatures(W2vBert):
    """W2vBert followed by (h - mean) / sqrt(var), with the statistics file's `mean` and `var` (width,) as buffers."""

    mean: Tensor
    var: Tensor

    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__(config)
        self.register_buffer("mean", torch.empty(config.width))
        self.register_buffer("var", torch.empty(config.width))

    def forward(self, input_features: Tensor, attention_mask: Tensor) -> Tensor:
        return (super().forward(input_features, attention_mask) - self.mean) / self.var.sqrt()
