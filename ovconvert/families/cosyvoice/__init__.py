"""CosyVoice of the first generation (300M, SFT, Instruct): checkpoint directory to components."""

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
from ovconvert.families.cosyvoice import layout, parts
from ovconvert.families.cosyvoice.synthetic import make_checkpoint
from ovconvert.spec import Component, Family, Port

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "make_checkpoint", "open_checkpoint", "recognises"]

NAME, VARIANT = "cosyvoice", "1"
FLOORS = {"fp32": 80.0, "fp16": 50.0}  # dB against PyTorch
# What holds where a request says nothing: the original's sampling and solver (spec sections 6.4 and 8.1). The times of its
# solver, 1 - cos(pi u / 2), are those of a sway of -1.
GENERATION = {
    "num_beams": 1,
    "temperature": 1.0,
    "repetition_penalty": 1.0,
    "steps": 10,
    "sway": -1.0,
}
# What is heard in a recording (spec section 3.2): the mel that the flow goes on from, and what the speech tokenizer takes.
PROMPT_MEL = {"n_fft": 1024, "win_length": 1024, "n_mels": 80, "fmax": 8000.0}
TOKENIZER_MEL = {"sampling_rate": 16000, "n_fft": 400, "hop_length": 160, "feature_size": 128}
SAMPLING = {"top_p": 0.8, "top_k": 25}  # where the settings file is silent
NEEDED = (
    "sample_rate",
    "flow.input_frame_rate",
    "flow.decoder.estimator.attention_head_dim",
    *(f"hift.{key}" for key in ("upsample_rates", "resblock_dilation_sizes", "istft_params.hop_len", "lrelu_slope")),
    *(f"hift.{key}" for key in ("audio_limit", "nsf_alpha", "nsf_sigma", "nsf_voiced_threshold")),
)


def recognises(source: Path) -> bool:
    """Tell whether `source` has the settings file that names this generation, beside its language model."""
    return (source / layout.CONFIG).is_file() and (source / "llm.pt").is_file()


def open_checkpoint(source: Path, *, split: bool = True, strict: bool = True) -> Checkpoint:
    """Open and check a checkpoint directory; with `split` False the decoder is the full sequence without a cache.

    Raises ConversionError with every missing, misshapen or, if `strict`, unexpected key and every setting that is missing.
    """
    return Checkpoint(layout.read(source), split=split, strict=strict)


class Checkpoint:
    """A checkpoint whose keys and sizes were checked. Weights are read when a component is built."""

    def __init__(self, contents: layout.Contents, *, split: bool, strict: bool) -> None:
        self._contents = contents
        decoder = parts.DECODER if split else parts.FULL_SEQUENCE_DECODER
        chosen = tuple(decoder if part is parts.DECODER else part for part in parts.PARTS)
        self._parts = {part.name: part for part in chosen}
        problems = [f"{layout.CONFIG} has no {key}" for key in NEEDED if _lookup(contents.config, key) is None]
        if problems:  # no component would have a size
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self._configs = self._configure(problems)
        self.unused = self._check_keys(problems, strict) if not problems else ()
        if problems:
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self.files = contents.files
        rate = int(contents.config["sample_rate"])
        self._graph_parts = {part.name: part for part in parts.GRAPH_PARTS if part.name in contents.graphs}
        components = [self._component(part) for part in chosen]
        for part in self._graph_parts.values():
            components.append(Component(part.name, part.role, part.inputs, part.outputs, floor_db=FLOORS))
        self.family = Family(NAME, VARIANT, rate, parts.DIMS, tuple(components))

    def graph(self, component: str) -> Path | None:
        """Return the ONNX file of a component that the directory brings along, None for the others."""
        return self._contents.graphs.get(component)

    def build(self, component: str) -> torch.nn.Module:
        """Return the network of a component with its weights."""
        part = self._parts[component]
        module = construct(partial(part.network, self._configs[component]))
        wanted = set(module.state_dict())
        tensors: dict[str, torch.Tensor] = {}
        for name, start, instead in part.reads:
            state = layout.read_state(self._contents.source, name)
            tensors |= {to: state[key] for key, to in _renamed(state, start, instead).items() if to in wanted}
        return fill(module, tensors)

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return valid inputs of a component at `sizes`, its cache not included."""
        if component in self._graph_parts:
            given = self._graph_parts[component].example(sizes, rng)
        else:
            given = self._parts[component].example(self._configs[component], sizes, rng)
        ports = self.family.component(component).inputs
        return {port.name: given.get(port.name, _plain(port, sizes, rng)) for port in ports}

    def write_assets(self, dest: Path) -> None:
        """Write the speakers' vectors, the tokenizer if there is one, and the settings of the runtime into `dest`."""
        dest.mkdir(parents=True, exist_ok=True)
        names = list(self._contents.speakers)
        tokenizer = self._contents.source / layout.TOKENIZER
        if tokenizer.is_file():
            shutil.copyfile(tokenizer, dest / tokenizer.name)
        sampling = _lookup(self._contents.config, "llm.sampling") or {}
        vectors = [np.asarray(vector, np.float32)[0] for vector in self._contents.speakers.values()]
        np.save(dest / "speakers.npy", np.stack(vectors) if vectors else np.zeros((0, 0), np.float32))
        settings = {
            "speakers": names,
            "codes": self._configs["speech_embeddings"].codes,
            "text_tokens": self._configs["text_encoder"].tokens,
            "positions": self._configs["decoder"].positions,
            "harmonics": self._configs["harmonic_source"].harmonics,
            "hop_length": parts.HOP,
            "token_rate": _lookup(self._contents.config, "flow.input_frame_rate"),
            "mel": PROMPT_MEL | {"sample_rate": int(self._contents.config["sample_rate"]), "hop_length": parts.HOP},
            "spectrum": TOKENIZER_MEL,
            "tokenizer": layout.TOKENIZER,
            "generation": GENERATION | {key: sampling.get(key, value) for key, value in SAMPLING.items()},
        }
        text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
        (dest / "config.json").write_text(text + "\n", encoding="utf-8")

    def _component(self, part: parts.Part) -> Component:
        config = self._configs[part.name]
        inputs, outputs = part.ports(config)
        return Component(part.name, part.role, inputs, outputs, part.cache(config), part.keep_fp, FLOORS)

    def _shapes_of(self, part: parts.Part) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what a part may read, under the names of its network."""
        return {
            inside: self._contents.shapes[name][key]
            for name, start, instead in part.reads
            for key, inside in _renamed(self._contents.shapes[name], start, instead).items()
        }

    def _configure(self, problems: list[str]) -> dict[str, Any]:
        """Read the sizes of every component from the shapes of its tensors."""
        configs = {}
        for part in self._parts.values():
            try:
                configs[part.name] = part.configure(self._shapes_of(part), self._contents.config)
            except KeyError as error:
                files = ", ".join(f"{name}.pt" for name, _, _ in part.reads)
                problems.append(f"{files}: {error} is missing, without which {part.name} has no size")
            except (ValueError, IndexError, ZeroDivisionError) as error:
                problems.append(f"{part.name}: the shapes of its tensors fit no such network: {error}")
        return configs

    def _check_keys(self, problems: list[str], strict: bool) -> tuple[str, ...]:
        """Compare every state dict with what the networks read; return the keys that are left out."""
        used: dict[str, set[str]] = {name: set() for name in self._contents.shapes}
        for part in self._parts.values():
            module = construct(partial(part.network, self._configs[part.name]))
            keys = set(module.state_dict())
            where = " + ".join(f"{name}.pt" for name, _, _ in part.reads)
            problems += mismatches(module, self._shapes_of(part), f"{where} ({part.name})")
            for name, start, instead in part.reads:
                renamed = _renamed(self._contents.shapes[name], start, instead)
                used[name] |= {key for key, inside in renamed.items() if inside in keys}
        unused: list[str] = []
        for name, shapes in self._contents.shapes.items():
            _, strange = unexplained(shapes, used[name], ())
            if strict:
                problems += [f"{name}.pt: {key} is unexpected (--no-strict leaves such keys out)" for key in strange]
            unused += [f"{name}:{key}" for key in strange]
        return tuple(unused)


def _renamed(keys: Mapping[str, Any], start: str, instead: str) -> dict[str, str]:
    """Return {key: name in the network} of the keys that begin with `start`, `instead` in its place."""
    return {key: instead + key.removeprefix(start) for key in keys if key.startswith(start)}


def _lookup(config: Mapping[str, Any], path: str) -> Any:
    found: Any = config
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _plain(port: Port, sizes: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    """Return values for a port that no part gives: ones for integers (a mask), normal numbers otherwise."""
    if port.dtype != "float32":
        return np.ones(port.sized(sizes), port.dtype)
    return rng.standard_normal(port.sized(sizes), dtype=np.float32)
