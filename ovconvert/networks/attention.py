"""Scaled dot-product attention, in the one form that every network here uses.

Later graph passes look for a single pattern, so a network that can state its scores as `query @ key.T * scale + mask`
calls `attention` and builds nothing of its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# -inf turns a fully masked row into NaN, and float16 ends at 65504
HIDDEN = -6e4


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Return softmax(query @ key.T * scale + mask) @ value.

    query (B, H, S, D), key and value (B, H, T, D); mask is added to the scores and broadcasts to (B, H, S, T).
    scale None means 1 / sqrt(D).
    """
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def split_heads(x: Tensor, heads: int, head_dim: int) -> Tensor:
    """(B, S, heads * head_dim) -> (B, heads, S, head_dim)."""
    return x.reshape(x.shape[0], -1, heads, head_dim).transpose(1, 2)


def merge_heads(x: Tensor, width: int) -> Tensor:
    """(B, heads, S, head_dim) -> (B, S, width), width = heads * head_dim."""
    return x.transpose(1, 2).reshape(x.shape[0], -1, width)


def boundary(x: Tensor) -> Tensor:
    """Return x, behind an operation that changes nothing and that no graph pass removes.

    What is later cut out of the graph at x would else be fused with what follows: exporters join two transpositions.
    """
    bound = torch.finfo(torch.float32).max
    return x.clamp(-bound, bound)


def causal_mask(attention_mask: Tensor, queries: int, dtype: torch.dtype) -> Tensor:
    """Additive mask (B, 1, S, P + S) of the last `queries` = S positions of a sequence.

    attention_mask (B, P + S) int64 is 1 where a position may be seen. Its length says where the new queries stand, so
    the same graph serves an empty cache, one new position, and anything between.
    """
    keys = attention_mask.shape[1]
    key_position = torch.arange(keys, device=attention_mask.device)
    query_position = torch.arange(queries, device=attention_mask.device) + (keys - queries)
    seen = (key_position[None, :] <= query_position[:, None])[None, None] & (attention_mask[:, None, None, :] > 0)
    return (~seen).to(dtype) * HIDDEN
