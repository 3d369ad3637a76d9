"""The decoder as GPT-2 knows it: which of its tensors are which (spec section 10)."""

from __future__ import annotations

from ovconvert.language_model import Gpt2Names

GPT2 = Gpt2Names(
    tokens="mel_embedding.weight",
    positions="mel_pos_embedding.emb.weight",
    layers="gpt.h.",
    norm="final_norm.",
    head="mel_head.weight",
)
