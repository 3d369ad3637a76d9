"""F5-TTS with its DiT, both versions, and the Vocos vocoder: checkpoint directory to components."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.checkpoint import construct, fill, mismatches, unexplained
from ovconvert.errors import ConversionError, listing
from ovconvert.families.f5tts import layout, parts
from ovconvert.families.f5tts.settings import MEL, read_settings
from ovconvert.families.f5tts.synthetic import make_checkpoint
from ovconvert.spec import Component, Family, Port

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "make_checkpoint", "open_checkpoint", "recognises"]

NAME = "f5tts"
FLOORS = {"fp32": 80.0, "fp16": 50.0}  # dB against PyTorch
UNUSED = ("initted", "step", "ema_model.mel_spec.*")  # besides what the networks name
# What holds where a request says nothing: the original's solver, guidance, and segments that fade into each other.
GENERATION = {"solver": "euler", "steps": 32, "sway": -1.0, "guidance": 2.0, "silence_ms": 0}


def recognises(source: Path) -> bool:
    """Tell whether `source` has a model and a vocabulary named as the published ones."""
    return (source / layout.VOCABULARY).is_file() and bool(layout.models(source))


def open_checkpoint(source: Path, *, split: bool = True, strict: bool = True) -> Checkpoint:
    """Open and check a checkpoint directory; `split` changes nothing: no component has a cache.

    Raises ConversionError with every missing, misshapen or, if `strict`, unexpected key and every setting that is missing,
    not understood or contradicted by the weights.
    """
    return Checkpoint(layout.read(source), strict=strict)


class Checkpoint:
    """A checkpoint whose keys and settings were checked. Weights are read when a component is built."""

    def __init__(self, contents: layout.Contents, *, strict: bool) -> None:
        self._contents = contents
        problems: list[str] = []
        settings = read_settings(contents.settings, contents.vocoder_settings, problems)
        if settings is None:  # no component would have a size
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self._settings = settings
        self._configs = self._configure(problems)
        self.unused = () if problems else self._check(problems, strict)
        if problems:
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self.files = contents.files
        components = tuple(self._component(part) for part in parts.PARTS)
        variant = "1" if settings.text_masked else "0"
        self.family = Family(NAME, variant, settings.sample_rate, parts.DIMS, components)

    def build(self, component: str) -> torch.nn.Module:
        """Return the network of a component with its weights."""
        part = _part(component)
        module = construct(partial(part.network, self._configs[component]))
        state = layout.read_state(self._contents, part.reads[0])
        return fill(module, {inside: state[key] for key, inside in _renamed(part, state).items()})

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return valid inputs of a component at `sizes`."""
        part = _part(component)
        given = part.example(self._configs[component], sizes, rng)
        ports = part.ports(self._configs[component])[0]
        return {port.name: given.get(port.name, _noise(port, sizes, rng)) for port in ports}

    def write_assets(self, dest: Path) -> None:
        """Write the vocabulary and the settings of the runtime into `dest`."""
        dest.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._contents.paths["vocabulary"], dest / layout.VOCABULARY)
        settings = {
            "text_masked": self._settings.text_masked,
            "mel": {
                "sample_rate": self._settings.sample_rate,
                "bands": self._settings.bands,
                "hop_length": self._settings.hop_length,
                "n_fft": self._settings.fft,
            },
            "generation": GENERATION,
        }
        (dest / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _component(self, part: parts.Part) -> Component:
        inputs, outputs = part.ports(self._configs[part.name])
        return Component(
            part.name,
            part.role,
            inputs,
            outputs,
            keep_fp=part.keep_fp,
            floor_db=FLOORS,
            weights_only=part.weights_only,
        )

    def _shapes_of(self, part: parts.Part) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what a part may read, under the names of its network."""
        shapes = self._contents.shapes[part.reads[0]]
        return {inside: shapes[key] for key, inside in _renamed(part, shapes).items()}

    def _configure(self, problems: list[str]) -> dict[str, Any]:
        """Read the sizes of every component from the shapes of its tensors."""
        configs = {}
        for part in parts.PARTS:
            try:
                configs[part.name] = part.configure(self._shapes_of(part), self._settings)
            except KeyError as error:
                problems.append(f"{part.reads[0]}: {error} is missing, without which {part.name} has no size")
            except (ValueError, IndexError, ZeroDivisionError) as error:
                problems.append(f"{part.name}: the shapes of its tensors fit no such network: {error}")
        return configs

    def _check(self, problems: list[str], strict: bool) -> tuple[str, ...]:
        """Compare both state dicts with what the networks read, and the settings with both; return the keys left out."""
        used: dict[str, set[str]] = {name: set() for name in self._contents.shapes}
        patterns = {name: [*UNUSED] for name in self._contents.shapes}
        for part in parts.PARTS:
            module = construct(partial(part.network, self._configs[part.name]))
            keys = set(module.state_dict())
            name, start, instead = part.reads
            renamed = _renamed(part, self._contents.shapes[name])
            problems += mismatches(module, self._shapes_of(part), f"{name} ({part.name})")
            used[name] |= {key for key, inside in renamed.items() if inside in keys}
            patterns[name] += [start + pattern.removeprefix(instead) for pattern in module.UNUSED]
        left: list[str] = []
        for name, shapes in self._contents.shapes.items():
            known, strange = unexplained(shapes, used[name], patterns[name])
            left += [f"{name}:{key}" for key in (*known, *strange)]
            if strict:
                problems += [f"{name}: {key} is unexpected (--no-strict leaves such keys out)" for key in strange]
        problems += self._contradictions()
        return tuple(left)

    def _contradictions(self) -> list[str]:
        """Return where settings, vocabulary and weights disagree."""
        embedding, estimator, vocoder = (self._configs[part.name] for part in parts.PARTS)
        found = []
        if len(self._contents.symbols) + 1 != embedding.symbols:
            found.append(
                f"{layout.VOCABULARY} has {len(self._contents.symbols)} symbols, the embedding rows for "
                f"{embedding.symbols - 1} and the filler; take the vocabulary that belongs to the model"
            )
        if estimator.width % self._settings.heads:
            found.append(f"the width {estimator.width} is no multiple of the {self._settings.heads} heads of the settings")
        for what, weights, said in (
            ("bands of the model", estimator.mel, self._settings.bands),
            ("bands of the vocoder", vocoder.mel, self._settings.bands),
            ("samples of the vocoder's transform", vocoder.fft, self._settings.fft),
        ):
            if weights != said:
                found.append(f"{what}: {weights} in the weights, {said} in {MEL} of the settings; they must be equal")
        return found


def _part(name: str) -> parts.Part:
    return {part.name: part for part in parts.PARTS}[name]


def _renamed(part: parts.Part, keys: Mapping[str, Any]) -> dict[str, str]:
    """Return {key: name in the network} of the keys of a state dict that a part may read."""
    _, start, instead = part.reads
    return {key: instead + key.removeprefix(start) for key in keys if key.startswith(start)}


def _noise(port: Port, sizes: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(port.sized(sizes), dtype=np.float32)
