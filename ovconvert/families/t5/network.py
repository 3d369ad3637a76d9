"""Encoder and decoder step over the layers of the transformers library, whose forward passes hide the cache in objects."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ovconvert.networks.attention import HIDDEN, attention, boundary, causal_mask, merge_heads, split_heads


class Encoder(nn.Module):
    """forward(input_ids (B, E) int64, attention_mask (B, E) int64) -> last_hidden_state (B, E, D)."""

    def __init__(self, config: Any) -> None:
        from transformers.models.t5.modeling_t5 import T5EncoderModel

        super().__init__()
        self.encoder = T5EncoderModel(config).encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        stack = self.encoder
        x = stack.embed_tokens(input_ids)
        length = input_ids.shape[1]
        mask = _bias(_first(stack), torch.arange(length), length) + _padding(attention_mask, x.dtype)
        for block in stack.block:
            layer, normed = block.layer[0].SelfAttention, block.layer[0].layer_norm(x)
            x = x + _attend(layer, normed, *_keys(layer, normed), mask)
            x = block.layer[1](x)
        return stack.final_layer_norm(x)


class Step(nn.Module):
    """forward(input_ids (B, S) int64, encoder_hidden_states (B, E, D), encoder_attention_mask (B, E) int64, *past) ->
    (logits (B, S, V), *present, *cross).

    past is key0, value0, ... of the self attention, each (B, H, P, head_dim); present has P + S positions; cross is key0,
    value0, ... of the encoder's states, each (B, H, E, head_dim). Distances are counted on from P.
    """

    def __init__(self, config: Any) -> None:
        from transformers import T5ForConditionalGeneration

        super().__init__()
        whole = T5ForConditionalGeneration(config)
        self.decoder, self.lm_head = whole.decoder, nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0

    def forward(
        self, input_ids: Tensor, encoder_hidden_states: Tensor, encoder_attention_mask: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        stack, new = self.decoder, input_ids.shape[1]
        start = past[0].shape[2] if past else 0
        x = stack.embed_tokens(input_ids)
        mask = causal_mask(torch.ones(1, start + new, dtype=torch.int64), new, x.dtype)
        mask = mask + _bias(_first(stack), torch.arange(new) + start, start + new)
        padding = _padding(encoder_attention_mask, x.dtype)
        present: list[Tensor] = []
        cross: list[Tensor] = []
        for index, block in enumerate(stack.block):
            layer, normed = block.layer[0].SelfAttention, block.layer[0].layer_norm(x)
            key, value = _keys(layer, normed)
            if past:
                key, value = torch.cat((past[2 * index], key), 2), torch.cat((past[2 * index + 1], value), 2)
            x = x + _attend(layer, normed, key, value, mask)
            present += (key, value)
            layer = block.layer[1].EncDecAttention
            key, value = (boundary(made) for made in _keys(layer, encoder_hidden_states))
            x = x + _attend(layer, block.layer[1].layer_norm(x), key, value, padding)
            cross += (key, value)
            x = block.layer[2](x)
        return (self.lm_head(stack.final_layer_norm(x) * self.scale), *present, *cross)


class Sequence(Step):
    """The same weights over a whole sequence, without a cache: forward(input_ids, states, mask) -> logits (B, S, V)."""

    def forward(self, input_ids: Tensor, encoder_hidden_states: Tensor, encoder_attention_mask: Tensor) -> Tensor:
        return super().forward(input_ids, encoder_hidden_states, encoder_attention_mask)[0]


def _first(stack: Any) -> Any:
    """Return the layer whose table of distances all layers share."""
    return stack.block[0].layer[0].SelfAttention


def _bias(layer: Any, queries: Tensor, keys: int) -> Tensor:
    """Return the bias (1, H, S, K) of keys 0 to K - 1 for queries at the positions `queries` (S,).

    It depends on the distance alone and no longer changes beyond the greatest, so the table is made once, when the graph is
    folded, instead of logarithms at every call.
    """
    reach = layer.relative_attention_max_distance
    buckets = layer._relative_position_bucket(
        torch.arange(-reach, reach + 1), not layer.is_decoder, layer.relative_attention_num_buckets, reach
    )
    table = layer.relative_attention_bias.weight[buckets]
    distance = (torch.arange(keys)[None, :] - queries[:, None]).clamp(-reach, reach) + reach
    return table[distance].permute(2, 0, 1)[None]


def _padding(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what hides the positions (B, 1, 1, E) where `mask` (B, E) is 0."""
    return ((mask == 0).to(dtype) * HIDDEN)[:, None, None, :]


def _keys(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return key and value (B, H, T, head_dim) of x (B, T, D)."""
    sizes = layer.n_heads, layer.key_value_proj_dim
    return split_heads(layer.k(x), *sizes), split_heads(layer.v(x), *sizes)


def _attend(layer: Any, x: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    query = split_heads(layer.q(x), layer.n_heads, layer.key_value_proj_dim)
    return layer.o(merge_heads(attention(query, key, value, mask, 1.0), layer.inner_dim))
