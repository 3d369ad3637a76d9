"""T5, versions 1.0 and 1.1, as the transformers library saves it: directory to encoder and decoder step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import ConversionError, listing
from ovconvert.families.t5.synthetic import make_checkpoint
from ovconvert.pretrained import GENERATION, Pretrained, model_type
from ovconvert.spec import CacheSpec, Component, Dim, Family, Port

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "make_checkpoint", "open_checkpoint", "recognises"]

NAME = "t5"
FLOORS = {"fp32": 80.0, "fp16": 50.0}  # dB against PyTorch
TABLE = "shared.weight"
TIES = {key: TABLE for key in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")}
UNUSED = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", TABLE)
STATES = "encoder_hidden_states"
MASK = "encoder_attention_mask"

# The i-th trial of every axis belongs to the i-th case; an empty cache, one new position and odd lengths are among them.
# The longest source reaches beyond the greatest distance that the tables tell apart.
DIMS = {
    "batch": Dim(2, (1, 3, 1)),
    "sequence_length": Dim(4, (1, 3, 5)),
    "past_sequence_length": Dim(5, (150, 0, 0)),
    "encoder_sequence_length": Dim(20, (150, 7, 31)),
}


def recognises(source: Path) -> bool:
    """Tell whether config.json says that it is one."""
    return model_type(source) == NAME


def open_checkpoint(source: Path, *, split: bool = True, strict: bool = True) -> Checkpoint:
    """Open and check a directory; with `split` False the decoder is the full sequence without a cache.

    Raises ConversionError with every missing, misshapen or, if `strict`, unexpected key and every setting that is missing.
    """
    return Checkpoint(source, split=split, strict=strict)


class Checkpoint:
    """A directory whose keys and settings were checked. Networks are made when they are asked for."""

    def __init__(self, source: Path, *, split: bool, strict: bool) -> None:
        from ovconvert.families.t5 import network

        self._saved = Pretrained(source, TIES)
        self._config = config = self._saved.settings("T5Config")
        decoder = network.Step if split else network.Sequence
        self._networks: dict[str, Any] = {"encoder": partial(network.Encoder, config), "decoder": partial(decoder, config)}
        self.unused = tuple(key for key in self._saved.check(self._networks, "", strict, UNUSED) if key != TABLE)
        self._settings = self._read_settings()
        self.files = self._saved.files
        states = Port(STATES, "float32", ("batch", "encoder_sequence_length", config.d_model))
        ids = Port("input_ids", "int64", ("batch", "encoder_sequence_length"))
        mask = ("batch", "encoder_sequence_length")
        cache = CacheSpec(config.num_decoder_layers, config.num_heads, config.d_kv, STATES)
        self.family = Family(
            NAME,
            "1.1" if config.is_gated_act else "1.0",
            0,  # no sound
            DIMS,
            (
                Component(
                    "encoder",
                    "encoder",
                    (ids, Port("attention_mask", "int64", mask)),
                    (Port("last_hidden_state", "float32", states.shape),),
                    floor_db=FLOORS,
                ),
                Component(
                    "decoder",
                    "step",
                    (Port("input_ids", "int64", ("batch", "sequence_length")), states, Port(MASK, "int64", mask)),
                    (Port("logits", "float32", ("batch", "sequence_length", config.vocab_size)),),
                    cache if split else None,
                    floor_db=FLOORS,
                ),
            ),
        )

    def build(self, component: str) -> torch.nn.Module:
        """Return the network of a component with its weights."""
        return self._saved.build(self._networks[component])

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return valid inputs of a component at `sizes`, its cache not included; the last row's source is padded."""
        values: dict[str, np.ndarray] = {}
        for port in self.family.component(component).inputs:
            shape = port.sized(sizes)
            if port.dtype == "float32":
                values[port.name] = rng.standard_normal(shape, dtype=np.float32)
            elif port.name.endswith("mask"):
                values[port.name] = np.ones(shape, np.int64)
                values[port.name][-1, shape[1] // 2 + 1 :] = 0
            else:
                values[port.name] = rng.integers(0, self._config.vocab_size, shape)
        return values

    def write_assets(self, dest: Path) -> None:
        """Write the settings of generation and tokenizer.json."""
        self._saved.write_tokenizer(dest)
        (dest / "settings.json").write_text(json.dumps(self._settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def write_beside(self, dest: Path) -> None:
        """Write what other OpenVINO pipelines look for beside the graphs."""
        self._saved.write_beside(dest)

    def _read_settings(self) -> dict[str, Any]:
        """Return what the runner must know. Raises ConversionError with all that is missing."""
        generation, config = self._saved.generation, self._config
        keys = ("decoder_start_token_id", "eos_token_id", "pad_token_id")
        settings = {key: generation.get(key, getattr(config, key, None)) for key in keys}
        if settings["decoder_start_token_id"] is None:
            settings["decoder_start_token_id"] = settings["pad_token_id"]
        problems = [
            f"{key} is {value!r} in config.json and {GENERATION}; expected one token id"
            for key, value in settings.items()
            if not isinstance(value, int)
        ]
        if problems:
            raise ConversionError(listing(f"the checkpoint {self._saved.source} cannot be converted:", problems))
        return settings
