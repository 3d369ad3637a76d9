"""Small language models in numpy, in the shape that the decoding loop calls, and its rules told the slow way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


class Toy:
    """A recurrent model of random weights: the state of a row depends on all that the row has read, in order."""

    def __init__(self, seed: int, vocabulary: int = 23, width: int = 8, eos: int = 0, bias: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.table = rng.standard_normal((vocabulary, width)).astype(np.float32)
        self.inner = (rng.standard_normal((width, width)) * 0.6).astype(np.float32)
        self.head = (rng.standard_normal((width, vocabulary)) * 1.5).astype(np.float32)
        self.bias = np.zeros(vocabulary, np.float32)
        self.bias[eos] = bias
        self.state = np.zeros((1, width), np.float32)
        self.calls: list[tuple[int, ...]] = []

    def reset(self) -> None:
        self.state = np.zeros_like(self.state[:1])
        self.calls = []

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert beam_idx.dtype == np.int32
        self.calls.append(inputs_embeds.shape)
        state, hidden = self.state[beam_idx], []
        for column in range(inputs_embeds.shape[1]):
            state = np.tanh(state @ self.inner + inputs_embeds[:, column])
            hidden.append(state)
        self.state = state
        return state @ self.head + self.bias, np.stack(hidden, 1)

    def embed(self, codes: np.ndarray, position: int) -> np.ndarray:
        return self.table[codes] + np.float32(0.01 * position)

    def logits(self, prefix: np.ndarray, codes: list[int]) -> np.ndarray:
        """Return (V,) after the whole sequence, read anew."""
        fresh = Toy.__new__(Toy)
        fresh.__dict__ = {**self.__dict__, "state": np.zeros_like(self.state[:1]), "calls": []}
        rows = [prefix, *(self.embed(np.array([[code]]), position) for position, code in enumerate(codes))]
        return fresh(np.concatenate(rows, 1), np.zeros(1, np.int32))[0][0]


class Gpt2:
    """GPT-2 with a cache, two final norms and a head with bias, from a mapping of weights (spec section 10.2)."""

    def __init__(self, weights: Mapping[str, np.ndarray], layers: int, heads: int) -> None:
        self.weights, self.layers, self.heads = weights, layers, heads
        self.past: list[tuple[np.ndarray, np.ndarray] | None] = [None] * layers

    def reset(self) -> None:
        self.past = [None] * self.layers

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = inputs_embeds
        for index in range(self.layers):
            x = x + self.attention(index, self.norm(x, f"gpt.h.{index}.ln_1"), beam_idx)
            inner = self.linear(self.norm(x, f"gpt.h.{index}.ln_2"), f"gpt.h.{index}.mlp.c_fc")
            inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
            x = x + self.linear(inner, f"gpt.h.{index}.mlp.c_proj")
        hidden = self.norm(self.norm(x, "gpt.ln_f"), "final_norm")
        return hidden[:, -1] @ self.weights["mel_head.weight"].T + self.weights["mel_head.bias"], hidden

    def attention(self, index: int, x: np.ndarray, beam_idx: np.ndarray) -> np.ndarray:
        rows, new, width = x.shape
        joined = self.linear(x, f"gpt.h.{index}.attn.c_attn").reshape(rows, new, 3, self.heads, -1)
        q, k, v = joined.transpose(2, 0, 3, 1, 4)
        past = self.past[index]
        if past is not None:
            k, v = (np.concatenate([old[beam_idx], now], 2) for old, now in zip(past, (k, v), strict=True))
        self.past[index] = (k, v)
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
        total = k.shape[2]
        later = np.arange(total) > np.arange(total - new, total)[:, None]
        scores = np.where(later, -np.inf, scores)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ v
        return self.linear(mixed.transpose(0, 2, 1, 3).reshape(rows, new, width), f"gpt.h.{index}.attn.c_proj")


def slow_beams(
    logits_of: Callable[[list[int]], np.ndarray],
    process: Callable[[np.ndarray, list[int]], np.ndarray],
    draw: Callable[[np.ndarray], list[int]],
    *,
    width: int,
    limit: int,
    eos: int,
    length_penalty: float,
) -> tuple[list[int], float]:
    """Beam search with lists of codes, and every sequence read anew. `draw` gives flat candidates of (width, V)."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])] + [(-1e9, [])] * (width - 1)
    kept: list[tuple[float, list[int]]] = []

    def keep(score: float, codes: list[int], length: int) -> None:
        kept.append((score / length**length_penalty, codes))
        kept.sort(key=lambda pair: -pair[0])
        del kept[width:]

    for length in range(1, limit + 1):
        rows = []
        for score, codes in beams:
            logits = logits_of(codes).astype(np.float64)
            logs = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
            rows.append(process(logs, codes) + score)
        table = np.array(rows)
        ranked = sorted(draw(table.reshape(-1)), key=lambda flat: -table.reshape(-1)[flat])
        following = []
        for rank, flat in enumerate(ranked):
            beam, code = divmod(flat, table.shape[1])
            if code != eos:
                following.append((float(table[beam, code]), [*beams[beam][1], code]))
            elif rank < width:
                keep(float(table[beam, code]), beams[beam][1], length)
        beams = following[:width]
        highest = float(table.reshape(-1)[ranked[0]]) / length**length_penalty
        if len(kept) == width and kept[-1][0] >= highest:
            break
    else:
        for score, codes in beams:
            keep(score, codes, limit)
    return kept[0][1], kept[0][0]
