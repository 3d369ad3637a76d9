"""IndexTTS2, versions 2.0 and 2.5: checkpoint directory to components."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.checkpoint import construct, fill, mismatches, unexplained
from ovconvert.errors import ConversionError, listing
from ovconvert.families.indextts2 import layout, parts
from ovconvert.families.indextts2.assets import read_settings, write_assets
from ovconvert.families.indextts2.checks import contradictions, lookup, misstated
from ovconvert.families.indextts2.synthetic import make_checkpoint
from ovconvert.generation import read_generation
from ovconvert.spec import Component, Family, Port

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "make_checkpoint", "open_checkpoint", "recognises"]

FLOORS = {"fp32": 80.0, "fp16": 50.0}  # dB against PyTorch; reports/notes/parity.md has the runs


def recognises(source: Path) -> bool:
    """Tell whether `source` has the two files that only this family has side by side."""
    return layout.locate(source, layout.GPT) is not None and (source / "s2mel.pth").is_file()


def open_checkpoint(source: Path, *, split: bool = True, strict: bool = True) -> Checkpoint:
    """Open and check a checkpoint directory; with `split` False the decoder is the full sequence without a cache.

    Raises ConversionError with every missing, misshapen or unexpected key and every contradiction of config.yaml; without
    `strict`, unexpected keys count as unused.
    """
    return Checkpoint(layout.read(source), split=split, strict=strict)


class Checkpoint:
    """A checkpoint whose keys and sizes were checked. Weights are read when a component is built."""

    def __init__(self, contents: layout.Contents, *, split: bool, strict: bool) -> None:
        self._contents = contents
        self._strict = strict
        self._shapes = contents.shapes
        self.variant = "2.5" if "lang_embedding.weight" in self._shapes["gpt"] else "2.0"
        chosen = parts.PARTS[self.variant]
        if not split:
            chosen = tuple(parts.FULL_SEQUENCE_DECODER if part is parts.DECODER else part for part in chosen)
        if contents.classifier is not None:
            chosen += (parts.EMOTION_CLASSIFIER,)
        self._parts = {part.name: part for part in chosen}
        fatal = misstated(contents.config)
        problems = [*fatal]
        generation = read_generation(contents.generation, problems)
        if fatal:  # no component would have a size
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self._configs = self._configure(problems)
        self.unused = self._check_keys(problems)
        shapes = {name: tuple(matrix.shape) for name, matrix in contents.matrices.items()}
        problems += contradictions(contents.config, self._configs, shapes)
        self._settings = read_settings(contents, self._configs, self.variant, problems) | {"generation": generation}
        if problems:
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self.files = contents.files
        self.family = Family(
            name="indextts2",
            variant=self.variant,
            sample_rate=int(lookup(contents.config, "s2mel.preprocess_params.sr")),
            dims=parts.DIMS,
            components=tuple(self._component(part) for part in chosen),
        )

    def build(self, component: str) -> torch.nn.Module:
        """Return the network of a component with its weights."""
        part = self._parts[component]
        return fill(construct(partial(part.network, self._configs[component])), self._merged(part))

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return valid inputs of a component at `sizes`, its cache not included."""
        part = self._parts[component]
        given = part.example(self._configs[component], sizes, rng)
        return {port.name: given.get(port.name, _plain(port, sizes, rng)) for port in self._ports(part)[0]}

    def write_assets(self, dest: Path) -> None:
        """Write tokenizers, matrices and settings into `dest`."""
        write_assets(dest, self._contents, self._settings)

    def _ports(self, part: parts.Part) -> tuple[parts.Ports, parts.Ports]:
        return part.ports(self._configs[part.name])

    def _component(self, part: parts.Part) -> Component:
        inputs, outputs = self._ports(part)
        config = self._configs[part.name]
        return Component(part.name, part.role, inputs, outputs, part.cache(config), part.keep_fp, FLOORS, part.reach(config))

    def _merged(self, part: parts.Part) -> dict[str, torch.Tensor]:
        """Return what a part reads, under the names of its network; folded tensors are computed here."""
        keys = set(construct(partial(part.network, self._configs[part.name])).state_dict())
        merged: dict[str, torch.Tensor] = {}
        for name, prefix in part.reads:
            tensors = layout.read_state(self._contents, name)
            merged |= {prefix + key: tensors[key] for key in tensors if prefix + key in keys}
        return merged

    def _shapes_of(self, part: parts.Part) -> dict[str, tuple[int, ...]]:
        return {prefix + key: shape for name, prefix in part.reads for key, shape in self._shapes[name].items()}

    def _configure(self, problems: list[str]) -> dict[str, Any]:
        """Read the sizes of every component from the shapes of its tensors."""
        configs = {}
        for part in self._parts.values():
            try:
                configs[part.name] = part.configure(self._shapes_of(part), self._contents)
            except KeyError as error:
                files = ", ".join(name for name, _ in part.reads)
                problems.append(f"{files}: {error} is missing, without which {part.name} has no size")
            except (ValueError, IndexError, ZeroDivisionError) as error:
                problems.append(f"{part.name}: the shapes of its tensors fit no such network: {error}")
        return configs

    def _check_keys(self, problems: list[str]) -> tuple[str, ...]:
        """Compare every state dict with what the networks read; return the keys known to be unused."""
        used: dict[str, set[str]] = {name: set() for name in self._shapes}
        patterns: dict[str, list[str]] = {name: [] for name in self._shapes}
        for part in self._parts.values():
            if part.name not in self._configs:
                continue
            module = construct(partial(part.network, self._configs[part.name]))
            keys = set(module.state_dict())  # asked once: a network of a thousand keys gathers them anew each time
            where = " + ".join(name for name, _ in part.reads)
            problems += mismatches(module, self._shapes_of(part), f"{where} ({part.name})")
            for name, prefix in part.reads:
                used[name] |= {key for key in self._shapes[name] if prefix + key in keys}
                patterns[name] += [pattern.removeprefix(prefix) for pattern in module.UNUSED]
        unused: list[str] = []
        for name, shapes in self._shapes.items():
            if name in parts.DEAD[self.variant]:
                patterns[name].append("*")
            known, strange = unexplained(shapes, used[name], patterns[name])
            unused += [f"{name}:{key}" for key in (known if self._strict else (*known, *strange))]
            # with a network missing, its keys only seem to be strange
            if self._strict and len(self._configs) == len(self._parts):
                problems += [f"{name}: {key} is unexpected (--no-strict leaves such keys out)" for key in strange]
        return tuple(unused)


def _plain(port: Port, sizes: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    """Return values for a port that no part gives: ones for integers (a mask), normal numbers otherwise."""
    if port.dtype != "float32":
        return np.ones(port.sized(sizes), port.dtype)
    return rng.standard_normal(port.sized(sizes), dtype=np.float32)
