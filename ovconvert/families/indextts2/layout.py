"""The files of a published checkpoint directory, and the state dicts in them (spec section 2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovconvert.checkpoint import Tensors, read_pickle, read_tensors
from ovconvert.errors import ConversionError, listing
from ovconvert.generation import FILE as GENERATION

CONFIG = "config.yaml"
GLOSSARY = "glossary.yaml"


@dataclass(frozen=True)
class StateDict:
    """A state dict: the places where its file may lie, the first that exists wins, and the keys that lead to it."""

    places: tuple[str, ...]
    keys: tuple[str, ...] = ()


# The reference keeps the four auxiliary models under hf_cache/; their own repositories have other folders.
W2V_BERT = ("hf_cache/w2v-bert-2.0", "w2v-bert-2.0")
GPT = ("gpt.pth", "gpt.safetensors")
BIGVGAN = ("hf_cache/bigvgan", "bigvgan", ".")
STATE_DICTS: dict[str, StateDict] = {
    "gpt": StateDict(GPT, ("(model)",)),
    "cfm": StateDict(("s2mel.pth",), ("net", "cfm")),
    "length_regulator": StateDict(("s2mel.pth",), ("net", "length_regulator")),
    "gpt_layer": StateDict(("s2mel.pth",), ("net", "gpt_layer")),
    "codec": StateDict(
        ("hf_cache/semantic_codec_model.safetensors", "semantic_codec/model.safetensors", "codec.pth"), ("(model)",)
    ),
    "campplus": StateDict(
        tuple(f"{place}campplus_cn_common.{kind}" for place in ("hf_cache/", "") for kind in ("bin", "safetensors"))
    ),
    "bigvgan": StateDict(tuple(f"{place}/bigvgan_generator.pt" for place in BIGVGAN), ("generator",)),
    "w2v_bert": StateDict(
        tuple(f"{place}/{name}" for place in W2V_BERT for name in ("model.safetensors", "pytorch_model.bin"))
    ),
    "w2v_stats": StateDict(("wav2vec2bert_stats.pt",)),
}
QWEN = StateDict(("qwen0.6bemo4-merge/model.safetensors",))
MATRICES = {"speaker": "feat1.pt", "emotion": "feat2.pt"}
TOKENIZERS = ("bpe.model", "multilingual_zh_ja_yue_char_del.tiktoken")


def locate(source: Path, places: tuple[str, ...]) -> Path | None:
    """Return the first of `places` below `source` that exists, or None."""
    return next((source / place for place in places if (source / place).exists()), None)


@dataclass(frozen=True)
class Contents:
    """What was found in a checkpoint directory."""

    source: Path
    config: dict[str, Any]
    vocoder_config: dict[str, Any]
    semantic_config: dict[str, Any]
    generation: dict[str, Any]  # the file's content; empty where there is none
    shapes: Mapping[str, dict[str, tuple[int, ...]]]  # of every state dict, weight norm folded
    paths: Mapping[str, Path]  # of every state dict's file
    matrices: dict[str, Any]
    tokenizer: Path
    classifier: Path | None  # the directory of the emotion classifier, which is optional
    files: tuple[Path, ...]


def read(source: Path) -> Contents:
    """Read the directory of a checkpoint, weights memory-mapped.

    Raises ConversionError with every file that is missing or unreadable.
    """
    problems: list[str] = []
    found: dict[str, Path] = {}
    wanted = {name: state.places for name, state in STATE_DICTS.items()}
    wanted |= {name: (place,) for name, place in MATRICES.items()} | {CONFIG: (CONFIG,), "tokenizer": TOKENIZERS}
    wanted |= {"vocoder config": tuple(f"{place}/config.json" for place in BIGVGAN)}
    for name, places in wanted.items():
        path = locate(source, places)
        if path is None:
            problems.append(f"{' or '.join(places)} is missing")
        else:
            found[name] = path
    if problems:
        raise ConversionError(listing(f"{source} is not a whole checkpoint:", dict.fromkeys(problems)))

    shapes = {}
    matrices = {}
    config: dict[str, Any] = {}
    generation: dict[str, Any] = {}
    for name, state in STATE_DICTS.items():
        try:
            shapes[name] = Tensors(read_tensors(found[name], *state.keys)).shapes()
        except ConversionError as error:
            problems.append(str(error))
    for name in MATRICES:
        try:
            matrices[name] = _matrix(found[name])
        except ConversionError as error:
            problems.append(str(error))
    try:
        config = _yaml(found[CONFIG])
    except ConversionError as error:
        problems.append(str(error))
    if (source / GENERATION).is_file():
        found["generation"] = source / GENERATION
        try:
            generation = read_json(found["generation"])
        except ConversionError as error:
            problems.append(str(error))
    if problems:
        raise ConversionError(listing(f"the checkpoint {source} cannot be read:", dict.fromkeys(problems)))

    classifier = locate(source, QWEN.places)
    if classifier is not None:
        found["qwen"] = classifier
        shapes["qwen"] = Tensors(read_tensors(classifier)).shapes()
    semantic_config = locate(source, tuple(f"{place}/config.json" for place in W2V_BERT))
    files = {*found.values(), *([semantic_config] if semantic_config else [])}
    return Contents(
        source=source,
        config=config,
        vocoder_config=read_json(found["vocoder config"]),
        semantic_config=read_json(semantic_config) if semantic_config else {},
        generation=generation,
        shapes=shapes,
        paths=found,
        matrices=matrices,
        tokenizer=found["tokenizer"],
        classifier=classifier.parent if classifier else None,
        files=tuple(sorted(files)),
    )


def read_state(contents: Contents, name: str) -> Tensors:
    """Return a state dict, memory-mapped. It is opened anew each time, so that what was read of it can be given back."""
    keys = STATE_DICTS[name].keys if name in STATE_DICTS else QWEN.keys
    return Tensors(read_tensors(contents.paths[name], *keys))


def _matrix(path: Path) -> Any:
    """Return the bare 2-D tensor in a file."""
    import torch

    content = read_pickle(path)
    if not isinstance(content, torch.Tensor) or content.ndim != 2:
        raise ConversionError(f"{path} must hold one tensor with two axes")
    return content.float()


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{path} must hold a mapping at its top level")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises ConversionError if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{path} must hold an object at its top level")
    return content
