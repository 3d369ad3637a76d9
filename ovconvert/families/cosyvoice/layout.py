"""The files of a published checkpoint directory (spec section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovconvert.checkpoint import Tensors, read_pickle, read_tensors
from ovconvert.errors import ConversionError, listing

CONFIG = "cosyvoice.yaml"
SPEAKERS = "spk2info.pt"
TOKENIZER = "multilingual.tiktoken"
GRAPHS = {"speaker_encoder": "campplus.onnx", "speech_tokenizer": "speech_tokenizer_v1.onnx"}  # by component
STATE_DICTS = ("llm", "flow", "hift")
GENERATOR = "generator."  # in the names of a vocoder that was saved with its discriminator's training


@dataclass(frozen=True)
class Contents:
    """What was found in a checkpoint directory; `speakers` has a vector (1, 192) per name, `graphs` a file per component."""

    source: Path
    config: dict[str, Any]
    shapes: Mapping[str, dict[str, tuple[int, ...]]]  # of every state dict, weight norm folded
    speakers: dict[str, Any]
    graphs: dict[str, Path]
    files: tuple[Path, ...]


def read(source: Path) -> Contents:
    """Read the directory of a checkpoint, weights memory-mapped.

    Raises ConversionError with every file that is missing or unreadable.
    """
    problems: list[str] = []
    paths = [source / name for name in (CONFIG, *(f"{name}.pt" for name in STATE_DICTS))]
    problems += [f"{path.name} is missing" for path in paths if not path.is_file()]
    if problems:
        raise ConversionError(listing(f"{source} is not a whole checkpoint:", problems))
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name in STATE_DICTS:
        try:
            shapes[name] = read_state(source, name).shapes()
        except ConversionError as error:
            problems.append(str(error))
    config: dict[str, Any] = {}
    speakers: dict[str, Any] = {}
    try:
        config = read_config(source / CONFIG)
    except ConversionError as error:
        problems.append(str(error))
    graphs = {component: source / name for component, name in GRAPHS.items() if (source / name).is_file()}
    extra = [*(source / name for name in (SPEAKERS, TOKENIZER) if (source / name).is_file()), *graphs.values()]
    if source / SPEAKERS in extra:
        try:
            speakers = _speakers(source / SPEAKERS)
        except ConversionError as error:
            problems.append(str(error))
    if problems:
        raise ConversionError(listing(f"the checkpoint {source} cannot be read:", problems))
    return Contents(source, config, shapes, speakers, graphs, tuple(sorted((*paths, *extra))))


def read_state(source: Path, name: str) -> Tensors:
    """Return a state dict of the directory, memory-mapped, weight norm folded."""
    stored = read_tensors(source / f"{name}.pt")
    return Tensors({key.replace(GENERATOR, ""): value for key, value in stored.items()})


def read_config(path: Path) -> dict[str, Any]:
    """Return the mapping in cosyvoice.yaml, of which nothing is run.

    The file is written for a reader that calls what its tags name; here a tag says nothing, and a reference stays a string.
    Raises ConversionError if it is not such a file.
    """
    import yaml

    class Plain(yaml.SafeLoader):
        """Reads every tagged node as if it had no tag."""

    def untagged(loader: Any, tag: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Plain.add_multi_constructor("!", untagged)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=Plain)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{path} must hold a mapping at its top level")
    return content


def _speakers(path: Path) -> dict[str, Any]:
    """Return the speaker vectors of a file by name; what else it says of a speaker is left out."""
    import torch

    content = read_pickle(path)
    if not isinstance(content, Mapping):
        raise ConversionError(f"{path} must hold a mapping of speakers")
    found = {str(name): entry.get("embedding") for name, entry in content.items() if isinstance(entry, Mapping)}
    vectors = {name: vector.float().reshape(1, -1) for name, vector in found.items() if isinstance(vector, torch.Tensor)}
    wrong = [str(name) for name in content if str(name) not in vectors]
    if wrong:
        raise ConversionError(f"{path} has no speaker vector `embedding` for: {', '.join(wrong)}")
    return vectors
