"""The files of a checkpoint directory: two state dicts, the vocabulary, and the settings of both models.

The model and its vocabulary are published in one folder; its settings are among those of the published code, and the vocoder
is a repository of its own. A directory has all of them:

    model_1250000.safetensors  vocab.txt  F5TTS_v1_Base.yaml  vocos-mel-24khz/{config.yaml, pytorch_model.bin}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovconvert.checkpoint import PICKLES, read_tensors
from ovconvert.errors import ConversionError, listing

VOCABULARY = "vocab.txt"
VOCODERS = ("vocos-mel-24khz", "vocos")  # folders
WEIGHTS = ("pytorch_model.bin", "model.safetensors")
AVERAGED = "(ema_model_state_dict)"  # the entry of a training checkpoint that speaks
STATE_DICTS = {"model": (AVERAGED,), "vocoder": ()}


@dataclass(frozen=True)
class Contents:
    """What was found in a checkpoint directory."""

    source: Path
    settings: dict[str, Any]
    vocoder_settings: dict[str, Any]
    symbols: tuple[str, ...]
    shapes: Mapping[str, dict[str, tuple[int, ...]]]  # of both state dicts
    paths: Mapping[str, Path]

    @property
    def files(self) -> tuple[Path, ...]:
        """All that was read."""
        return tuple(sorted(self.paths.values()))


def models(source: Path) -> list[Path]:
    """Return the files in `source` that are named as the published models."""
    return sorted(path for path in source.glob("model_*") if path.suffix in (".safetensors", *PICKLES))


def read(source: Path) -> Contents:
    """Read a checkpoint directory, weights memory-mapped.

    Raises ConversionError with every file that is missing or unreadable.
    """
    problems: list[str] = []
    folder = next((source / name for name in VOCODERS if (source / name).is_dir()), source / VOCODERS[0])
    weights = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    found = {
        "model": _only(models(source), "model_*.safetensors", problems),
        "settings": _only(sorted(source.glob("*.yaml")), "*.yaml, the model's settings in the published code,", problems),
        "vocabulary": _only([source / VOCABULARY], VOCABULARY, problems),
        "vocoder": _only(weights[:1], f"{folder.name}/{WEIGHTS[0]}", problems),
        "vocoder settings": _only([folder / "config.yaml"], f"{folder.name}/config.yaml", problems),
    }
    if problems:
        raise ConversionError(listing(f"{source} is not a whole checkpoint:", problems))
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for name, keys in STATE_DICTS.items():
        try:
            shapes[name] = {key: tuple(value.shape) for key, value in read_tensors(found[name], *keys).items()}
        except ConversionError as error:
            problems.append(str(error))
    symbols: tuple[str, ...] = ()
    try:
        symbols = read_symbols(found["vocabulary"])
    except UnicodeDecodeError as error:
        problems.append(f"{found['vocabulary']} is not UTF-8: {error}")
    for name in ("settings", "vocoder settings"):
        try:
            settings[name] = _yaml(found[name])
        except ConversionError as error:
            problems.append(str(error))
    if problems:
        raise ConversionError(listing(f"the checkpoint {source} cannot be read:", problems))
    return Contents(source, settings["settings"], settings["vocoder settings"], symbols, shapes, found)


def read_state(contents: Contents, name: str) -> Mapping[str, Any]:
    """Return a state dict, memory-mapped."""
    return read_tensors(contents.paths[name], *STATE_DICTS[name])


def read_symbols(path: Path) -> tuple[str, ...]:
    """Return the symbols of a vocabulary, one a line; some of them are what other readers take for the end of a line."""
    return tuple(path.read_bytes().decode("utf-8").removesuffix("\n").split("\n"))


def _only(paths: list[Path], what: str, problems: list[str]) -> Path:
    there = [path for path in paths if path.is_file()]
    if len(there) == 1:
        return there[0]
    names = ", ".join(path.name for path in there)
    problems.append(f"there must be one {what}; found {names}" if there else f"{what} is missing")
    return Path()


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{path} must hold a mapping at its top level")
    return content
