"""What rounded weights change in the decoder's choices: top-1 agreement and divergence, teacher-forced.

The weights of every linear layer are rounded and stored as the floats that they stand for; activations stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demo_voice import interval
from demo_voice.interval import Figure
from ovconvert.networks.gpt2 import Gpt2Sequence

IGNORED = -100  # a target where nothing is compared
HEAD = "mel_head"


@dataclass(frozen=True)
class Rounding:
    """Symmetric, `bits` wide, one scale for every output channel and `group` of inputs, or for all inputs if None."""

    bits: int
    group: int | None = None
    keep: tuple[str, ...] = ()  # names of layers left alone, as ("mel_head",)


ROUNDINGS: Mapping[str, Rounding] = {
    "int8": Rounding(8),
    "int4": Rounding(4, group=64),
    "int4, head kept": Rounding(4, group=64, keep=(HEAD,)),
}


@dataclass(frozen=True)
class Agreement:
    """Per token, against the decoder that was given: how often the likeliest token is the same, and the Kullback-Leibler
    divergence in nats; how often the rounded decoder's likeliest token is the target, and how often the given one's."""

    top1: Figure
    divergence: Figure
    accuracy: Figure
    given_accuracy: Figure
    tokens: int


def agreement(
    decoder: Gpt2Sequence, batches: Iterable[tuple[Tensor, Tensor]], roundings: Mapping[str, Rounding] = ROUNDINGS
) -> dict[str, Agreement]:
    """Compare rounded copies of a decoder with it, by name of the rounding.

    A batch is (inputs_embeds (B, S, D), targets (B, S) int64), the target of a position being the token after it, IGNORED
    where nothing is to be compared: text, prompt and padding. Padding stands after the end. Intervals are over sequences.
    """
    decoders = {name: rounded(decoder, rounding) for name, rounding in roundings.items()}
    counts: dict[str, list[tuple[float, ...]]] = {name: [] for name in roundings}
    with torch.inference_mode():
        for embeds, targets in batches:
            given, _ = decoder(embeds)
            for name, one in decoders.items():
                counts[name] += _compare(given, one(embeds)[0], targets)
    return {name: _agreement(rows) for name, rows in counts.items()}


def rounded(decoder: Gpt2Sequence, rounding: Rounding) -> Gpt2Sequence:
    """Return a copy of a decoder with rounded weights. Raises ValueError for a kept layer that it does not have."""
    copied = copy.deepcopy(decoder)
    names = {name for name, _ in _linear(copied)}
    if strange := set(rounding.keep) - names:
        raise ValueError(f"no linear layers {sorted(strange)} in the decoder; have: {', '.join(sorted(names))}")
    with torch.no_grad():
        for name, rows in _linear(copied):
            if name not in rounding.keep:
                rows.copy_(round_rows(rows, rounding))
    return copied


def round_rows(weight: Tensor, rounding: Rounding) -> Tensor:
    """Return weight (outputs, inputs) rounded; a last group of inputs may be shorter than the others."""
    top = 2 ** (rounding.bits - 1) - 1
    groups = weight.split(rounding.group or weight.shape[1], dim=1)
    scales = [group.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / top for group in groups]
    return torch.cat([(group / scale).round() * scale for group, scale in zip(groups, scales, strict=True)], dim=1)


def _linear(decoder: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, weight as a view (outputs, inputs)) of every linear layer."""
    for name, module in decoder.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() == 2:
            # GPT-2's own layers store (inputs, outputs)
            yield name, weight if isinstance(module, nn.Linear) else weight.T


def _compare(given: Tensor, ours: Tensor, targets: Tensor) -> list[tuple[float, ...]]:
    """Return, for each sequence: tokens, same choices, divergence, right choices of ours, right choices of the given."""
    counted = targets != IGNORED
    best, mine = given.argmax(-1), ours.argmax(-1)
    log_given = given.log_softmax(-1)
    divergence = (log_given.exp() * (log_given - ours.log_softmax(-1))).sum(-1)
    parts = (torch.ones_like(divergence), mine == best, divergence, mine == targets, best == targets)
    return list(zip(*((part * counted).sum(dim=1).tolist() for part in parts), strict=True))


def _agreement(rows: list[tuple[float, ...]]) -> Agreement:
    tokens, *sums = (list(column) for column in zip(*(row for row in rows if row[0]), strict=True))
    return Agreement(*(interval.ratio(one, tokens) for one in sums), int(sum(tokens)))
