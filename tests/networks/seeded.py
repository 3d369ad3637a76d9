"""Seeded checkpoints of the original networks, and the measure that compares with their recorded outputs."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent.parent / "golden"
_spec = importlib.util.spec_from_file_location("seedweights", FOLDER / "seedweights.py")
seedweights = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(seedweights)

ONE_CALL, WHOLE_SOLVE = 1e-4, 1e-3  # the tolerances that the golden vectors' own description gives
State = dict[str, Tensor]


@dataclass(frozen=True)
class Golden:
    """config as published, state with weight norm folded, vectors as recorded."""

    config: dict[str, Any]
    state: State
    vectors: dict[str, Tensor]

    def below(self, prefix: str) -> State:
        return below(self.state, prefix)


def below(state: Mapping[str, Tensor], prefix: str) -> State:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def sinusoid(rows: int, width: int) -> Tensor:
    angle = torch.arange(rows)[:, None] * torch.exp(torch.arange(0, width, 2) * -(math.log(10000.0) / width))
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[None]


def kaiser_sinc(taps: int = 12, cutoff: float = 0.25, half_width: float = 0.3) -> Tensor:
    """Low-pass taps: a sinc under a Kaiser window whose shape follows from the transition width, sum 1."""
    attenuation = 2.285 * (taps / 2 - 1) * math.pi * 4 * half_width + 7.95
    assert attenuation > 50  # the branch of Kaiser's rule that the next line is
    window = np.kaiser(taps, 0.1102 * (attenuation - 8.7))
    response = 2 * cutoff * window * np.sinc(2 * cutoff * (np.arange(taps) - taps / 2 + 0.5))
    return torch.from_numpy((response / response.sum()).astype(np.float32))[None, None]


def _value(name: str, shape: tuple[int, ...], seed: int) -> Tensor | None:
    """None for tables that the original keeps beside its weights and that no network of ours has."""
    if name.endswith(("freqs_cis", "causal_mask", "input_pos")):
        return None
    if name.endswith(".pe"):
        return sinusoid(shape[1], shape[2])
    if name.endswith(".filter"):
        return kaiser_sinc(shape[2])
    return torch.from_numpy(np.asarray(seedweights.fill(name, shape, seed)))


def fold(state: State) -> State:
    """Replace every pair weight_g, weight_v by g * v / |v|, the norm over all axes but the first."""
    folded: State = {}
    for key, value in state.items():
        if key.endswith("weight_g"):
            direction = state[key[:-1] + "v"]
            length = direction.flatten(1).norm(dim=1).reshape(-1, *[1] * (direction.ndim - 1))
            folded[key[:-2]] = value * direction / length
        elif not key.endswith("weight_v"):
            folded[key] = value
    return folded


def _patch(state: State, key: str, change: float | str, config: Mapping[str, Any]) -> None:
    """Change what the pattern `key` names: one entry to a number, or whole tensors by "times 3" or "plus 1"."""
    pattern, _, index = key.partition("[")
    names = [name for name in state if fnmatchcase(name, pattern)]
    assert names, f"{key} patches nothing"
    for name in names:
        if index:
            state[name][config[index.rstrip("]")]] = change
        else:
            kind, number = change.split()
            state[name] = state[name] * float(number) if kind == "times" else state[name] + float(number)


def load(version: str, component: str) -> Golden:
    return read(f"indextts{version}-tiny", component)


def read(name: str, component: str) -> Golden:
    folder = FOLDER / name
    described = json.loads((folder / f"{component}.json").read_text())
    config, seed = described["config"], described["seed"]
    state: State = {}
    for line in (folder / f"{component}.keys.tsv").read_text().splitlines():
        name, shape, _ = line.split("\t")
        value = _value(name, ast.literal_eval(shape), seed)
        if value is not None:
            state[name] = value
    for key, change in config.get("weight_patch", {}).items():
        _patch(state, key, change, config)
    with np.load(folder / f"{component}.npz") as stored:
        vectors = {key: torch.from_numpy(stored[key]) for key in stored.files}
    return Golden(config, fold(state), vectors)


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Give `module`, built on the meta device, its own keys out of `state`; strictly, and without copies."""
    own = {key: state[key] for key in module.state_dict() if key in state}
    module.load_state_dict(own, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def build(network: type[nn.Module], config: Any, state: Mapping[str, Tensor]) -> nn.Module:
    with torch.device("meta"):
        module = network(config)
    return fill(module, state)


def unaccounted(state: Mapping[str, Tensor], *modules: nn.Module) -> list[str]:
    """Keys of a published file that no module owns and no module declares unused."""
    own = {key for module in modules for key in module.state_dict()}
    unused = [pattern for module in modules for pattern in module.UNUSED]
    return [key for key in state if key not in own and not any(fnmatchcase(key, pattern) for pattern in unused)]


def relative(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference over norm of the expected."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


def scaled(state: State, key: str, factor: float = 1.1) -> State:
    """A copy of `state` with one tensor changed: what a test must notice."""
    return {**state, key: state[key] * factor}


def swapped(state: State, first: str, second: str) -> State:
    """A copy of `state` with the tensors below two prefixes exchanged."""
    names = {}
    for key in state:
        for here, there in ((first, second), (second, first)):
            if key.startswith(here):
                names[there + key[len(here) :]] = key
    return {key: state[names.get(key, key)] for key in state}
