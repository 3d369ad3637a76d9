"""CosyVoice of the first generation (300M, SFT, Instruct): checkpoint directory to components."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import ConversionError, listing
from ovconvert.families.cosyvoice import layout, parts
from ovconvert.families.cosyvoice.synthetic import make_checkpoint
from ovconvert.parts import PartedCheckpoint, filled
from ovconvert.spec import Family

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "make_checkpoint", "open_checkpoint", "recognises"]

NAME, VARIANT = "cosyvoice", "1"
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


class Checkpoint(PartedCheckpoint):
    """A checkpoint whose keys and sizes were checked. Weights are read when a component is built."""

    SUFFIX = ".pt"

    def __init__(self, contents: layout.Contents, *, split: bool, strict: bool) -> None:
        self._contents = contents
        decoder = parts.DECODER if split else parts.FULL_SEQUENCE_DECODER
        chosen = tuple(decoder if part is parts.DECODER else part for part in parts.PARTS)
        super().__init__(chosen, contents.shapes, contents.config)
        problems = [f"{layout.CONFIG} has no {key}" for key in NEEDED if _lookup(contents.config, key) is None]
        if problems:  # no component would have a size
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self.configure(problems)
        self.unused = self.check_keys(problems, strict=strict)
        if problems:
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self.files = contents.files
        rate = int(contents.config["sample_rate"])
        self._graph_parts = {part.name: part for part in parts.GRAPH_PARTS if part.name in contents.graphs}
        brought = tuple(part.component() for part in self._graph_parts.values())
        self.family = Family(NAME, VARIANT, rate, parts.DIMS, self.components() + brought)

    def read_state(self, state: str) -> Mapping[str, torch.Tensor]:
        """Return the tensors of a state dict; folded ones are computed when they are asked for."""
        return layout.read_state(self._contents.source, state)

    def graph(self, component: str) -> Path | None:
        """Return the ONNX file of a component that the directory brings along, None for the others."""
        return self._contents.graphs.get(component)

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return valid inputs of a component at `sizes`, its cache not included."""
        if component not in self._graph_parts:
            return super().example(component, sizes, rng)
        part = self._graph_parts[component]
        return filled(part.inputs, part.example(sizes, rng), sizes, rng)

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
            "codes": self.configs["speech_embeddings"].codes,
            "text_tokens": self.configs["text_encoder"].tokens,
            "positions": self.configs["decoder"].positions,
            "harmonics": self.configs["harmonic_source"].harmonics,
            "hop_length": parts.HOP,
            "token_rate": _lookup(self._contents.config, "flow.input_frame_rate"),
            "mel": PROMPT_MEL | {"sample_rate": int(self._contents.config["sample_rate"]), "hop_length": parts.HOP},
            "spectrum": TOKENIZER_MEL,
            "tokenizer": layout.TOKENIZER,
            "generation": GENERATION | {key: sampling.get(key, value) for key, value in SAMPLING.items()},
        }
        text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
        (dest / "config.json").write_text(text + "\n", encoding="utf-8")


def _lookup(config: Mapping[str, Any], path: str) -> Any:
    found: Any = config
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
