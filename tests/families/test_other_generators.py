"""Whole engines beside packages that listen or answer. Wants what requirements-peers.txt installs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovconvert.baselines.kinds import LISTENER, WRITER
from ovconvert.baselines.openvino_genai import UNTOLD
from ovconvert.baselines.peers import PEERS, Converter, open_peer
from ovconvert.bench.generation import BEAMS, tasks_of
from ovconvert.bench.generators import generator_of
from ovconvert.bench.subject import Subject
from ovconvert.families.t5 import synthetic as text
from ovconvert.families.whisper import synthetic as speech
from ovconvert.runtime.listening import ListenRequest
from ovconvert.runtime.writing import WriteRequest
from ovconvert.stages import export

pytestmark = pytest.mark.slow

TOKENS = 12
FLOAT32 = {"openvino-ir": "fp32", "ctranslate2": "float32"}
SPEECH = {"d_model": 32, "heads": 4, "layers": 2, "ffn": 64, "bands": 80}


@dataclass(frozen=True)
class Made:
    """A checkpoint, its float32 package, and something to go on from."""

    checkpoint: Path
    package: Path
    source: Any

    @property
    def kind(self) -> str:
        return generator_of(self.package).kind

    @property
    def other(self) -> Any:
        """Another source of the same size: of ids the reverse, of sound a tone."""
        tone = 0.3 * np.sin(np.arange(len(self.source), dtype=np.float32) / 5)
        return tone if self.kind == LISTENER else self.source[::-1]

    def ours(self, engine: str = "openvino") -> Any:
        request = ListenRequest() if self.kind == LISTENER else WriteRequest()
        subject = Subject("", self.package, request, engine=engine, checkpoint=self.checkpoint, threads=1)
        return generator_of(self.package).opened(subject)


def made(place: Path) -> Made:
    package = export.run(place / "checkpoint", place / "package", export.Options(weight_format="fp32"))
    task = tasks_of(package, (9,), (), TOKENS)[0]
    return Made(place / "checkpoint", package, task.source.draw(np.random.default_rng(5)))


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("listener")
    # other engines take windows of 30 s for granted
    speech.write(place / "checkpoint", seed=100, words=400, chunk_seconds=30, max_target_positions=448, config=SPEECH)
    return made(place)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("writer")
    text.make_checkpoint(place / "checkpoint", size="tiny", seed=3)
    return made(place)


@pytest.fixture(params=["listener", "writer"])
def model(request: pytest.FixtureRequest) -> Made:
    found: Made = request.getfixturevalue(request.param)
    return found


def wanted(name: str) -> None:
    for module in PEERS[name].needs:
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Made], Any]:
    """What opens a model of an engine, by its name and in float32; converted once for the engines that share a format."""
    kept: dict[tuple[str, str], Path] = {}

    def opened(name: str, model: Made) -> Any:
        for module in PEERS[name].needs:
            pytest.importorskip(module)
        module, key = PEERS[name].load(), (PEERS[name].form, model.kind)
        if key not in kept:
            kept[key] = tmp_path_factory.mktemp("converted")
            module.convert(model.checkpoint, kept[key], FLOAT32[PEERS[name].form], model.kind)
        return module.MODELS[model.kind](kept[key], FLOAT32[PEERS[name].form], 1)

    return opened


@pytest.mark.parametrize("name", ["optimum-intel", "ctranslate2"])
def test_engines_in_float32_make_the_same_ids(name: str, model: Made, converted: Callable[[str, Made], Any]) -> None:
    theirs, ours = converted(name, model), model.ours()
    scaled = name == "ctranslate2" and model.kind == WRITER  # see its docstring: the scores of beams are not comparable
    for beams in BEAMS[:1] if scaled else BEAMS:
        for tokens in (1, TOKENS, 3 * TOKENS):
            found = ours.generate(model.source, tokens, beams)
            assert theirs.generate(model.source, tokens, beams) == found
            assert len(found) == tokens
        assert len(set(found)) > 3
    assert theirs.generate(model.other, TOKENS, 1) != theirs.generate(model.source, TOKENS, 1)  # the source counts
    assert theirs.settings


def test_a_pipeline_that_gives_text_makes_so_many_ids(listener: Made, converted: Callable[[str, Made], Any]) -> None:
    theirs = converted("openvino-genai", listener)
    for beams in BEAMS:
        for tokens in (1, TOKENS, 3 * TOKENS):
            assert theirs.generate(listener.source, tokens, beams) == [UNTOLD] * tokens
    assert theirs.settings


def test_a_checkpoint_is_converted_once_and_opened(model: Made, tmp_path: Path) -> None:
    name = "ctranslate2-int8"
    for module in PEERS[name].needs:
        pytest.importorskip(module)
    converter = Converter(model.kind, model.checkpoint, model.package, tmp_path)
    directory = converter.converted(name)
    assert converter.converted(name) == directory
    opened = open_peer(name, model.kind, directory, threads=1)
    assert [len(opened.generate(model.source, tokens, beams)) for tokens in (1, TOKENS) for beams in BEAMS] == [
        1,
        1,
        TOKENS,
        TOKENS,
    ]
    assert "int8" in opened.settings
