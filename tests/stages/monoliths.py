"""Encoder-decoders as one ONNX file each: the encoder's input and all words so far in, the scores of all words out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, HEADS, WORDS, BANDS = 16, 2, 30, 6


class Attention(nn.Module):
    """Attention written out; `flat` puts heads and batch on one axis, `scores` adds what else the scores get."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, states: Tensor, mask: Tensor | None) -> Tensor:
        batch, size = x.shape[0], WIDTH // HEADS
        query, key, value = (
            layer(one).view(batch, -1, HEADS, size).transpose(1, 2)
            for layer, one in ((self.query, x), (self.key, states), (self.value, states))
        )
        if self.flat:
            query, key, value = (one.reshape(batch * HEADS, -1, size) for one in (query, key, value))
        scores = query @ key.transpose(-1, -2) * size**-0.5
        if mask is not None:
            scores = (scores.view(batch, HEADS, -1, states.shape[1]) + mask).view(scores.shape)
        mixed = scores.softmax(-1) @ value
        if self.flat:
            mixed = mixed.view(batch, HEADS, -1, size)
        return self.out(mixed.transpose(1, 2).reshape(batch, -1, WIDTH))


class Whole(nn.Module):
    """forward(features (B, T, BANDS), words (B, S)) -> scores (B, S, WORDS). `kind` chooses what is odd about it."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.kind = kind
        self.ear = nn.Sequential(nn.Linear(BANDS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH))
        self.other = nn.Linear(BANDS, WIDTH)
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Parameter(torch.randn(90, WIDTH))
        self.own = nn.ModuleList(Attention(kind == "flat") for _ in range(2))
        self.heard = nn.ModuleList(Attention(kind == "flat") for _ in range(2))
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, features: Tensor, words: Tensor) -> Tensor:
        states = self.ear(features)
        length = words.shape[1]
        x = self.words(words) + self.places[:length]
        mask: Tensor | None = torch.full((length, length), -1e9).triu(1)
        if self.kind == "values":
            mask = mask + (words == 0)[:, None, None, :] * -1e9
        if self.kind == "sum":
            x = x + x.cumsum(1)
        for number, (own, heard) in enumerate(zip(self.own, self.heard, strict=True)):
            x = x + own(x, x, mask)
            x = x + heard(x, self.other(features) if self.kind == "two" and number else states, None)
        return self.head(x)


def write(module: nn.Module, path: Path, inputs: dict[str, Tensor], axes: dict[str, dict[int, str]]) -> Path:
    """Export a module, whose output is `logits`, as one file."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            path,
            dynamo=False,
            opset_version=17,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_axes=axes | {"logits": {0: "batch", 1: "words"}},
        )
    return path


def own(path: Path, kind: str = "", names: tuple[str, str] = ("features", "words")) -> Path:
    """Write a model of ours."""
    torch.manual_seed(3)
    module = Whole(kind)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "query" in name or "key" in name:
                parameter.mul_(4.0)
    given: dict[str, Any] = {names[0]: torch.randn(2, 9, BANDS), names[1]: torch.randint(0, WORDS, (2, 6))}
    return write(module, path, given, {name: {0: "batch", 1: name} for name in names})
