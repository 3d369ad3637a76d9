"""A directory that the transformers library wrote with `save_pretrained`: its settings, tensors, and tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovconvert.checkpoint import construct, fill, mismatches, read_tensors, unexplained
from ovconvert.errors import ConversionError, listing

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
GENERATION = "generation_config.json"
PREPROCESSOR = "preprocessor_config.json"
TOKENIZER = "tokenizer.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# what tells a tokenizer besides tokenizer.json, in the library's older and newer versions
TOKENIZER_FILES = (
    TOKENIZER,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "normalizer.json"),
    *("vocab.json", "merges.txt", "spiece.model"),
)


def model_type(source: Path) -> str:
    """Return what config.json says the model is, "" where there is no such file or it says nothing."""
    try:
        found = json.loads((source / CONFIG).read_text(encoding="utf-8")).get("model_type", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return str(found)


class Pretrained:
    """The directory `source`, opened; tensors are memory-mapped where their format allows.

    `ties` says which keys are the same tensor as another where the files lack them. Raises ConversionError for a missing or
    damaged file.
    """

    def __init__(self, source: Path, ties: Mapping[str, str]) -> None:
        self.source = source
        self.config = self.read_json(CONFIG)
        self.generation = self.read_json(GENERATION) if (source / GENERATION).is_file() else {}
        self._shards = _weight_files(source)
        self.stored: dict[str, torch.Tensor] = {}
        for path in self._shards:
            self.stored |= read_tensors(path)
        self.tensors = {**self.stored}
        for key, other in ties.items():
            if key not in self.tensors and other in self.tensors:
                self.tensors[key] = self.tensors[other]

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file. Raises ConversionError if it is missing or holds none."""
        path = self.source / name
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConversionError(f"{path} is missing or cannot be read ({error.strerror}); save the model again") from error
        except ValueError as error:
            raise ConversionError(f"{path} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ConversionError(f"{path} holds a {type(found).__name__}; expected an object with the settings")
        return found

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """All files that are read, for the digest of the source."""
        names = (CONFIG, GENERATION, PREPROCESSOR, *TOKENIZER_FILES)
        index = [path for path in self.source.glob("*.index.json")]
        return (*self._shards, *index, *(self.source / name for name in names if (self.source / name).is_file()))

    def settings(self, kind: str) -> Any:
        """Return config.json as the library's class `kind` reads it. Raises ConversionError if it refuses."""
        import transformers

        try:
            return getattr(transformers, kind)(**{key: value for key, value in self.config.items() if key != "model_type"})
        except Exception as error:  # the library validates with errors of many kinds
            raise ConversionError(f"{self.source / CONFIG} does not describe such a model: {error}") from error

    def build(self, module: Any, prefix: str = "") -> torch.nn.Module:
        """Return the network that `module()` makes, with the tensors whose keys are `prefix` and its own."""
        network = construct(module)
        return fill(network, {key: self._find(prefix, key) for key in network.state_dict()})

    def check(self, networks: Mapping[str, Any], prefix: str, strict: bool, unused: tuple[str, ...]) -> tuple[str, ...]:
        """Compare the tensors with what the networks, by name, need; return the keys that none of them reads.

        Raises ConversionError with every missing, misshapen and, if `strict`, unexplained key.
        """
        problems, used = [], set()
        for name, module in networks.items():
            network = construct(module)
            found = {key: self._find(prefix, key) for key in network.state_dict() if self._has(prefix, key)}
            problems += mismatches(network, {key: tuple(value.shape) for key, value in found.items()}, name)
            used |= {prefix + key for key in found} | set(found)
        known, strange = unexplained(self.stored, used, unused)
        if strict:
            problems += [f"{key} is unexpected (--no-strict leaves such keys out)" for key in strange]
        if problems:
            raise ConversionError(listing(f"the checkpoint {self.source} cannot be converted:", problems))
        return (*known, *strange)

    def _has(self, prefix: str, key: str) -> bool:
        return prefix + key in self.tensors or key in self.tensors

    def _find(self, prefix: str, key: str) -> torch.Tensor:
        return self.tensors[prefix + key] if prefix + key in self.tensors else self.tensors[key]

    def write_tokenizer(self, dest: Path) -> None:
        """Write tokenizer.json into `dest`, made by the library where the directory has the older files alone."""
        dest.mkdir(parents=True, exist_ok=True)
        if (self.source / TOKENIZER).is_file():
            shutil.copyfile(self.source / TOKENIZER, dest / TOKENIZER)
            return
        self._tokenizer().backend_tokenizer.save(str(dest / TOKENIZER))

    def write_beside(self, dest: Path) -> None:
        """Write what OpenVINO's own pipelines look for beside the graphs: settings, and the tokenizer as two graphs.

        The graphs are made where the package openvino-tokenizers is installed.
        """
        for name in (CONFIG, GENERATION, PREPROCESSOR, *TOKENIZER_FILES):
            if (self.source / name).is_file():
                shutil.copyfile(self.source / name, dest / name)
        if find_spec("openvino_tokenizers") is None:
            return
        import openvino as ov
        from openvino_tokenizers import convert_tokenizer

        graphs = convert_tokenizer(self._tokenizer(), with_detokenizer=True)
        for model, name in zip(graphs, ("openvino_tokenizer", "openvino_detokenizer"), strict=True):
            ov.save_model(model, dest / f"{name}.xml", compress_to_fp16=False)

    def _tokenizer(self) -> Any:
        import transformers

        try:
            return transformers.AutoTokenizer.from_pretrained(self.source, local_files_only=True)
        except Exception as error:  # the library raises errors of many kinds
            raise ConversionError(f"{self.source} has no tokenizer that can be read: {error}") from error


def _weight_files(source: Path) -> tuple[Path, ...]:
    """Return the files with the tensors: one, or the shards that an index names, the safer format before the other."""
    for name in WEIGHTS:
        if (source / name).is_file():
            return (source / name,)
        index = source / f"{name}.index.json"
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                raise ConversionError(f"{index} is damaged: {error}; save the model again") from error
            if any(Path(shard).name != shard for shard in shards):
                raise ConversionError(f"{index} names files outside of its directory; save the model again")
            return tuple(source / shard for shard in shards)
    raise ConversionError(f"{source} has no weights: expected {' or '.join(WEIGHTS)}, or an index of shards")
