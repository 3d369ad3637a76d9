"""Encoder and decoder step over the layers of the transformers library, whose forward passes hide the cache in objects."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, boundary, causal_mask, merge_heads, split_heads


class Encoder(nn.Module):
    """forward(input_features (B, bands, frames)) -> last_hidden_state (B, frames / 2, D)."""

    def __init__(self, config: Any) -> None:
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        super().__init__()
        self.encoder = WhisperEncoder(config)

    def forward(self, input_features: Tensor) -> Tensor:
        encoder = self.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(input_features)))).transpose(1, 2)
        x = x + encoder.embed_positions.weight
        for layer in encoder.layers:
            normed = layer.self_attn_layer_norm(x)
            x = x + _attend(layer.self_attn, normed, *_keys(layer.self_attn, normed))
            x = x + _feed_forward(layer, x)
        return encoder.layer_norm(x)


class Step(nn.Module):
    """forward(input_ids (B, S) int64, encoder_hidden_states (B, E, D), *past) -> (logits (B, S, V), *present, *cross).

    past is key0, value0, ... of the self attention, each (B, H, P, head_dim); present has P + S positions; cross is key0,
    value0, ... of the encoder's states, each (B, H, E, head_dim). Positions go on from P.
    """

    def __init__(self, config: Any) -> None:
        from transformers.models.whisper.modeling_whisper import WhisperDecoder

        super().__init__()
        self.decoder = WhisperDecoder(config)
        self.proj_out = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def forward(self, input_ids: Tensor, encoder_hidden_states: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        decoder, new = self.decoder, input_ids.shape[1]
        start = past[0].shape[2] if past else 0
        x = decoder.embed_tokens(input_ids) + decoder.embed_positions.weight[torch.arange(new) + start]
        mask = causal_mask(torch.ones(1, start + new, dtype=torch.int64), new, x.dtype)
        present: list[Tensor] = []
        cross: list[Tensor] = []
        for index, layer in enumerate(decoder.layers):
            normed = layer.self_attn_layer_norm(x)
            key, value = _keys(layer.self_attn, normed)
            if past:
                key, value = torch.cat((past[2 * index], key), 2), torch.cat((past[2 * index + 1], value), 2)
            x = x + _attend(layer.self_attn, normed, key, value, mask)
            present += (key, value)
            key, value = (boundary(made) for made in _keys(layer.encoder_attn, encoder_hidden_states))
            x = x + _attend(layer.encoder_attn, layer.encoder_attn_layer_norm(x), key, value)
            cross += (key, value)
            x = x + _feed_forward(layer, x)
        return (self.proj_out(decoder.layer_norm(x)), *present, *cross)


class Sequence(Step):
    """The same weights over a whole sequence, without a cache: forward(input_ids, encoder_hidden_states) -> logits."""

    def forward(self, input_ids: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        return super().forward(input_ids, encoder_hidden_states)[0]


def _keys(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return key and value (B, H, T, head_dim) of x (B, T, D)."""
    return (
        split_heads(layer.k_proj(x), layer.num_heads, layer.head_dim),
        split_heads(layer.v_proj(x), layer.num_heads, layer.head_dim),
    )


def _attend(layer: Any, x: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    query = split_heads(layer.q_proj(x), layer.num_heads, layer.head_dim)
    return layer.out_proj(merge_heads(attention(query, key, value, mask, layer.scaling), layer.embed_dim))


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    return layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
