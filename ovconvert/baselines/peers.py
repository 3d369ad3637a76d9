"""Whole engines that know a language model only as such: what they are asked, and how the decoder gets into their format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Protocol, cast

from ovconvert import package
from ovconvert.baselines.gpt2 import write_gpt2
from ovconvert.language_model import parts_of

SOURCE = "gpt2"
CONFIG = "config.json"  # in every directory of a model, ours and theirs


class Model(Protocol):
    """A model that an engine has opened."""

    settings: str  # the precisions and other settings that the engine chose, for a report

    def generate(self, prompt: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return the `tokens` ids of the best sequence after `prompt`: greedy with one beam, never stopping earlier."""


class Module(Protocol):
    """What the module of an engine offers."""

    def convert(self, source: Path, dest: Path, weights: str) -> None:
        """Write the model of the `transformers` directory `source` in the engine's format into the directory `dest`."""

    def open_model(self, directory: Path, weights: str, threads: int) -> Model:
        """Open what `convert` wrote."""


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


_IR = ("openvino-ir", ("optimum-intel", "openvino"))
_GENAI = ("openvino_genai", "optimum", "transformers", "torch")
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
    """Brings the decoder of a checkpoint into the formats of the engines, below `kept`; what is there is not made again."""

    def __init__(self, checkpoint: Path, package_dir: Path, kept: Path) -> None:
        self._checkpoint, self._package = checkpoint, package_dir
        self._place = kept / identity(package_dir)

    def converted(self, name: str) -> Path:
        """Return the directory of the model for the engine called `name`. Raises as `write_gpt2` does."""
        peer = PEERS[name]
        versions = "-".join(metadata.version(tool) for tool in peer.tools)
        dest = self._place / f"{peer.form}-{peer.weights}-{versions}"
        if not dest.is_dir():
            source = self._source()
            with package.whole(dest, mark=CONFIG) as partial:
                peer.load().convert(source, partial, peer.weights)
        return dest

    def positions(self) -> int:
        """Return how many positions the model has a table for. Raises as `write_gpt2` does."""
        return int(json.loads((self._source() / CONFIG).read_text(encoding="utf-8"))["n_positions"])

    def _source(self) -> Path:
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
    hashes = "".join(manifest.files[name] for name in sorted(names))
    return hashlib.sha256(hashes.encode()).hexdigest()[:12]


def open_peer(name: str, directory: Path, threads: int) -> Any:
    """Return the model in `directory`, opened by the engine called `name`."""
    peer = PEERS[name]
    return peer.load().open_model(directory, peer.weights, threads)
