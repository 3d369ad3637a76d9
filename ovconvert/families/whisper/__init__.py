"""Whisper, as the transformers library saves it: directory to encoder and decoder step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import ConversionError, listing
from ovconvert.families.whisper.synthetic import make_checkpoint
from ovconvert.pretrained import PREPROCESSOR, Pretrained, model_type
from ovconvert.spec import CacheSpec, Component, Dim, Family, Port

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "make_checkpoint", "open_checkpoint", "recognises"]

NAME = "whisper"
FLOORS = {"fp32": 80.0, "fp16": 50.0}  # dB against PyTorch
TIES = {"proj_out.weight": "model.decoder.embed_tokens.weight"}
STATES = "encoder_hidden_states"

# The i-th trial of every axis belongs to the i-th case; an empty cache, one new position and odd lengths are among them.
DIMS = {
    "batch": Dim(2, (1, 3, 1)),
    "sequence_length": Dim(4, (1, 3, 5)),
    "past_sequence_length": Dim(5, (17, 0, 0)),
    "encoder_sequence_length": Dim(20, (50, 7, 31)),
}
FRONT_END = {"feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
# What the runner reads of generation_config.json, and what stands there where the file is silent.
RULES: dict[str, Any] = {
    "lang_to_id": {},
    "task_to_id": {},
    "suppress_tokens": [],
    "begin_suppress_tokens": [],
    "no_timestamps_token_id": None,
    "max_initial_timestamp_index": None,
    "prev_sot_token_id": None,
    "is_multilingual": True,
    "forced_decoder_ids": None,
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
        from ovconvert.families.whisper import network

        self._saved = Pretrained(source, TIES)
        self._config = config = self._saved.settings("WhisperConfig")
        decoder = network.Step if split else network.Sequence
        self._networks: dict[str, Any] = {"encoder": partial(network.Encoder, config), "decoder": partial(decoder, config)}
        self.unused = self._saved.check(self._networks, "model.", strict, unused=())
        self._settings = self._read_settings()
        self.files = self._saved.files
        width, bands = config.d_model, config.num_mel_bins
        states: tuple[int | str, ...] = ("batch", config.max_source_positions, width)
        any_states: tuple[int | str, ...] = ("batch", "encoder_sequence_length", width)
        heads = config.decoder_attention_heads
        cache = CacheSpec(config.decoder_layers, heads, width // heads, STATES)
        self.family = Family(
            NAME,
            str(self._saved.config.get("variant", "")),
            self._settings["sampling_rate"],
            DIMS,
            (
                Component(
                    "encoder",
                    "encoder",
                    (Port("input_features", "float32", ("batch", bands, 2 * config.max_source_positions)),),
                    (Port("last_hidden_state", "float32", states),),
                    floor_db=FLOORS,
                ),
                Component(
                    "decoder",
                    "step",
                    (Port("input_ids", "int64", ("batch", "sequence_length")), Port(STATES, "float32", any_states)),
                    (Port("logits", "float32", ("batch", "sequence_length", config.vocab_size)),),
                    cache if split else None,
                    floor_db=FLOORS,
                ),
            ),
        )

    def build(self, component: str) -> torch.nn.Module:
        """Return the network of a component with its weights."""
        return self._saved.build(self._networks[component], "model.")

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return valid inputs of a component at `sizes`, its cache not included."""
        ports = self.family.component(component).inputs
        return {
            port.name: rng.standard_normal(port.sized(sizes), dtype=np.float32)
            if port.dtype == "float32"
            else rng.integers(0, self._config.vocab_size, port.sized(sizes))
            for port in ports
        }

    def write_assets(self, dest: Path) -> None:
        """Write the settings of front end, tokens and rules, and tokenizer.json."""
        self._saved.write_tokenizer(dest)
        (dest / "settings.json").write_text(json.dumps(self._settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def write_beside(self, dest: Path) -> None:
        """Write what OpenVINO GenAI's pipeline looks for beside the graphs."""
        self._saved.write_beside(dest)

    def _read_settings(self) -> dict[str, Any]:
        """Return what the runner must know. Raises ConversionError with all that is missing or contradicts itself."""
        config, generation = self._config, self._saved.generation
        has_front_end = (self._saved.source / PREPROCESSOR).is_file()
        front_end = self._saved.read_json(PREPROCESSOR) if has_front_end else {}
        settings = {key: front_end.get(key, value) for key, value in FRONT_END.items()}
        settings |= {key: generation.get(key, value) for key, value in RULES.items()}
        for key in ("decoder_start_token_id", "eos_token_id", "pad_token_id"):
            settings[key] = generation.get(key, getattr(config, key, None))
        settings["max_target_positions"] = config.max_target_positions
        settings["max_source_positions"] = config.max_source_positions
        settings["vocab_size"] = config.vocab_size
        problems = []
        if settings["feature_size"] != config.num_mel_bins:
            problems.append(f"{PREPROCESSOR} has {settings['feature_size']} mel bands, the encoder {config.num_mel_bins}")
        frames = settings["chunk_length"] * settings["sampling_rate"] // settings["hop_length"]
        if frames != 2 * config.max_source_positions:
            problems.append(f"{PREPROCESSOR} makes {frames} frames, the encoder takes {2 * config.max_source_positions}")
        problems += [
            f"{key} is {settings[key]!r} in both config files; expected one token id"
            for key in ("decoder_start_token_id", "eos_token_id")
            if not isinstance(settings[key], int)
        ]
        if problems:
            raise ConversionError(listing(f"the checkpoint {self._saved.source} cannot be converted:", problems))
        return settings
