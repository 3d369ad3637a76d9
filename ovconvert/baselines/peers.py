"""Whole engines that know a model only as such: what they are asked, and how a checkpoint gets into their format."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Protocol, cast

from ovconvert import package
from ovconvert.baselines.gpt2 import write_gpt2
from ovconvert.baselines.instructions import CONFIG, read_instructions, read_object
from ovconvert.baselines.kinds import LANGUAGE_MODEL, LISTENER
from ovconvert.baselines.pytorch import TorchEngine
from ovconvert.language_model import parts_of

SOURCE = "gpt2"
WEIGHTS = ("*.safetensors", "*.bin", "*.json")  # what tells one checkpoint of the library from another


class Model(Protocol):
    """A model that an engine has opened."""

    settings: str  # the precisions and other settings that the engine chose, for a report

    def generate(self, source: Any, tokens: int, beams: int) -> list[int]:
        """Return the `tokens` ids of the best sequence after `source`: greedy with one beam, never stopping earlier.

        A source is a prompt or what an encoder reads, ids both, or samples (count,) float32 of a window. An engine that
        gives text alone has something else in the place of every id.
        """


class Module(Protocol):
    """What the module of an engine offers."""

    MODELS: Mapping[str, Callable[[Path, str, int], Model]]  # by kind, what opens (directory, weights, threads)

    def convert(self, source: Path, dest: Path, weights: str, kind: str) -> None:
        """Write the model of the `transformers` directory `source` in the engine's format into the directory `dest`."""


@dataclass(frozen=True)
class Peer:
    """An engine with a format of its weights. `form` names what is kept on disk, `tools` the distributions that make it."""

    module: str
    weights: str
    form: str
    tools: tuple[str, ...]
    needs: tuple[str, ...]  # modules

    def load(self) -> Module:
        """Import and return the engine's module."""
        return cast(Module, import_module(f"{__package__}.{self.module}"))

    def knows(self, kind: str) -> bool:
        """Tell whether it generates with models of a kind."""
        return kind in self.load().MODELS


_IR = ("openvino-ir", ("optimum-intel", "openvino"))
_GENAI = ("openvino_genai", "openvino_tokenizers", "optimum", "transformers", "torch")
_OPTIMUM = ("optimum", "transformers", "torch")
_CTRANSLATE2 = ("ctranslate2", "transformers", "torch")
PEERS: dict[str, Peer] = {
    "openvino-genai": Peer("openvino_genai", "fp16", *_IR, _GENAI),
    "openvino-genai-int8": Peer("openvino_genai", "int8", *_IR, _GENAI),
    "optimum-intel": Peer("optimum_intel", "fp16", *_IR, _OPTIMUM),
    "optimum-intel-int8": Peer("optimum_intel", "int8", *_IR, _OPTIMUM),
    "ctranslate2": Peer("ctranslate2", "float32", "ctranslate2", ("ctranslate2",), _CTRANSLATE2),
    "ctranslate2-int8": Peer("ctranslate2", "int8", "ctranslate2", ("ctranslate2",), _CTRANSLATE2),
}
"""Without a suffix: the weights of the package as far as the engine has them. CTranslate2 has no float16 on a CPU."""


class Converter:
    """Brings a checkpoint, or its decoder, into the formats of engines, below `kept`; what is there is not made again.

    Raises UsageError if the package cannot be made from the checkpoint.
    """

    def __init__(self, kind: str, checkpoint: Path, package_dir: Path, kept: Path) -> None:
        self._kind, self._checkpoint, self._package = kind, checkpoint, package_dir
        whole = kind != LANGUAGE_MODEL
        if whole:
            TorchEngine(checkpoint, package_dir)  # which refuses another checkpoint
        self._place = kept / (identity_of_checkpoint(checkpoint) if whole else identity(package_dir))

    def converted(self, name: str) -> Path:
        """Return the directory of the model for the engine called `name`. Raises as `write_gpt2` does."""
        peer = PEERS[name]
        versions = "-".join(metadata.version(tool) for tool in peer.tools)
        dest = self._place / f"{peer.form}-{peer.weights}-{versions}"
        if not dest.is_dir():
            source = self._source()
            with package.whole(dest, mark=CONFIG) as partial:
                peer.load().convert(source, partial, peer.weights, self._kind)
        return dest

    def positions(self) -> int | None:
        """Return how many positions source and tokens have together; None where there is no table of them.

        Raises as `write_gpt2` does.
        """
        source = self._source()
        config = read_object(source / CONFIG)
        if self._kind == LANGUAGE_MODEL:
            return int(config["n_positions"])
        if self._kind != LISTENER:
            return None
        return int(config["max_target_positions"]) - len(read_instructions(source, config["vocab_size"]).prompt)

    def _source(self) -> Path:
        if self._kind != LANGUAGE_MODEL:
            return self._checkpoint
        dest = self._place / SOURCE
        if not dest.is_dir():
            with package.whole(dest, mark=CONFIG) as partial:
                write_gpt2(self._checkpoint, self._package, partial)
        return dest


def identity(package_dir: Path) -> str:
    """Return a name for the weights of a package's language model: another decoder has another."""
    manifest = package.load(package_dir)
    parts = parts_of(manifest)
    names = {
        name
        for component in (parts.decoder, parts.embeddings)
        for graph in manifest.packed(component.name).graphs.values()
        for name in (graph.xml, graph.bin)
    }
    return _short([manifest.files[name] for name in sorted(names)])


def identity_of_checkpoint(checkpoint: Path) -> str:
    """Return a name for the weights and settings in a directory of the library."""
    paths = sorted(path for pattern in WEIGHTS for path in checkpoint.glob(pattern))
    return _short([package.sha256(path) for path in paths])


def _short(hashes: list[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]


def open_peer(name: str, kind: str, directory: Path, threads: int) -> Model:
    """Return the model of a kind in `directory`, opened by the engine called `name`."""
    peer = PEERS[name]
    return peer.load().MODELS[kind](directory, peer.weights, threads)
