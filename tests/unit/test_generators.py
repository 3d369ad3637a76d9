"""Packages that listen or answer beside whole engines: what they go on from, what engines are told, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ovconvert import package
from ovconvert.baselines import peers
from ovconvert.baselines.instructions import read_instructions
from ovconvert.baselines.kinds import LISTENER, WRITER
from ovconvert.baselines.peers import PEERS, Converter
from ovconvert.bench import generation, generators, turns
from ovconvert.bench.abilities import LISTENING, SPEAKING, WRITING
from ovconvert.bench.generation import Task, tasks_of, timed
from ovconvert.bench.generators import generator_for, generator_of
from ovconvert.bench.loops import Program
from ovconvert.bench.reading import Reading
from ovconvert.bench.sources import Ids, Noise, Recording
from ovconvert.bench.subject import Subject
from ovconvert.errors import UsageError
from ovconvert.judges import benchmark
from ovconvert.judges.benchmark import Options
from ovconvert.package import Graph, Manifest, PackedComponent
from ovconvert.runtime.audio import write_wav
from ovconvert.runtime.writing import WriteRequest
from ovconvert.spec import CacheSpec, Component, Port

IDS, RATE, WINDOW = 23, 4000, 2000
STATES = Port("encoder_hidden_states", "float32", ("batch", "encoder_sequence_length", 4))
DECODER = Component(
    "decoder",
    "step",
    (Port("input_ids", "int64", ("batch", "sequence_length")), STATES),
    (Port("logits", "float32", ("batch", "sequence_length", IDS)),),
    CacheSpec(1, 1, 4, STATES.name),
)
RULES = {
    "decoder_start_token_id": 10,
    "eos_token_id": 9,
    "lang_to_id": {"<|de|>": 12, "<|en|>": 11},
    "task_to_id": {"translate": 13, "transcribe": 14},
    "no_timestamps_token_id": 15,
    "suppress_tokens": [3, 1],
}


def package_of(family: str, place: Path) -> Path:
    """A package of a decoder alone, its graph empty."""
    place.mkdir()
    for name in ("decoder.xml", "decoder.bin", "golden.npz"):
        (place / name).touch()
    packed = PackedComponent(DECODER, "fp32", {"stateful": Graph("decoder.xml", "decoder.bin")}, "golden.npz")
    package.save(Manifest(family, "", RATE, {}, (packed,), package.seal(place), {}), place)
    return place


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(generators, "open_listener", lambda directory: SimpleNamespace(window=WINDOW))
    return package_of("whisper", tmp_path / "listener")


@pytest.fixture
def writer(tmp_path: Path) -> Path:
    return package_of("t5", tmp_path / "writer")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "find_spec", lambda name: object())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Settings alone of one that listens, as the library saves them."""
    place = tmp_path / "checkpoint"
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"max_target_positions": 40, "n_positions": 7, "vocab_size": 18}))
    (place / "generation_config.json").write_text(json.dumps(RULES))
    return place


def wav(place: Path, count: int) -> Path:
    write_wav(place, np.linspace(-0.5, 0.5, count, dtype=np.float32), RATE)
    return place


def test_each_kind_has_its_sources(listener: Path, writer: Path, tmp_path: Path) -> None:
    assert tasks_of(writer, (5, 7), (), 8) == [
        Task(Ids("source", count, IDS), 8, beams) for count in (5, 7) for beams in (1, 3)
    ]
    assert tasks_of(writer, (), (), 8)[0].case == "source=96 tokens=8 beams=1"
    assert [task.case for task in tasks_of(listener, (5, 7), (), 8)] == [
        "noise=0.5 s tokens=8 beams=1",
        "noise=0.5 s tokens=8 beams=3",
    ]
    path = tmp_path / "said.wav"
    assert tasks_of(listener, (), (path,), 8)[0] == Task(Recording(path, WINDOW, RATE), 8, 1)
    assert tasks_of(listener, (), (path,), 8)[0].case == "recording=said.wav tokens=8 beams=1"
    assert [generator_of(place).kind for place in (listener, writer)] == [LISTENER, WRITER]


def test_what_is_drawn_is_of_its_size_and_another_each_time() -> None:
    for source, size in ((Ids("source", 30, IDS), 30), (Noise(WINDOW, RATE), WINDOW)):
        rng = np.random.default_rng(1)
        first, second = source.draw(rng), source.draw(rng)
        assert len(first) == len(second) == size
        assert not np.array_equal(first, second)
        assert np.array_equal(source.draw(np.random.default_rng(1)), first)
    assert first.dtype == np.float32 and 0.05 < np.std(first) < 0.2


@pytest.mark.parametrize("count", [WINDOW - 200, WINDOW + 200])
def test_of_a_recording_the_first_window_is_heard(count: int, tmp_path: Path) -> None:
    found = Recording(wav(tmp_path / "said.wav", count), WINDOW, RATE).draw(np.random.default_rng(0))
    assert found.shape == (WINDOW,) and found.dtype == np.float32
    assert found[0] == pytest.approx(-0.5, abs=1e-3)
    assert np.count_nonzero(found[WINDOW - 200 :]) == (0 if count < WINDOW else 200)


def test_listeners_are_told_what_to_do_and_never_to_end(checkpoint: Path) -> None:
    told = read_instructions(checkpoint, 18)
    assert told.prompt == (10, 11, 14, 15) and told.language == "<|en|>"
    assert told.suppressed == (1, 3, 9, 16, 17)  # the end and the times too
    alone = {"decoder_start_token_id": 10, "eos_token_id": 9, "lang_to_id": {"<|en|>": 11}, "is_multilingual": False}
    (checkpoint / "generation_config.json").write_text(json.dumps(alone))
    told = read_instructions(checkpoint, 18)
    assert (told.prompt, told.language, told.suppressed) == ((10,), "", (9,))


def test_a_checkpoint_is_converted_as_it_is(
    checkpoint: Path, listener: Path, writer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[Path, Path]] = []
    asked: list[tuple[Path, str, str]] = []

    class Module:
        def convert(self, source: Path, dest: Path, weights: str, kind: str) -> None:
            asked.append((source, weights, kind))
            (dest / "config.json").write_text("{}")

    monkeypatch.setattr(peers, "TorchEngine", lambda *given: compared.append(given))
    monkeypatch.setattr(peers.Peer, "load", lambda peer: Module())
    monkeypatch.setattr(peers.metadata, "version", lambda tool: "1.0")
    made = Converter(LISTENER, checkpoint, listener, tmp_path / "kept")
    assert made.positions() == 36  # the prompt has 4
    place = made.converted("ctranslate2-int8")
    assert Converter(LISTENER, checkpoint, listener, tmp_path / "kept").converted("ctranslate2-int8") == place
    assert asked == [(checkpoint, "int8", LISTENER)]
    assert compared == [(checkpoint, listener)] * 2
    assert Converter(WRITER, checkpoint, writer, tmp_path / "kept").positions() is None
    (checkpoint / "config.json").write_text("{}")
    assert Converter(WRITER, checkpoint, writer, tmp_path / "kept").converted("ctranslate2-int8") != place


def test_every_engine_says_what_it_generates_with() -> None:
    assert set(generator_for(SPEAKING).engines) == set(generator_for(LISTENING).engines) == set(PEERS)
    assert generator_for(WRITING).engines == ("optimum-intel", "optimum-intel-int8", "ctranslate2", "ctranslate2-int8")


def test_an_engine_without_a_pipeline_is_refused_up_front(writer: Path, listener: Path, installed: None) -> None:
    asked = Options(baseline=("openvino-genai", "ctranslate2"), speech=False, model=writer)
    (problem,) = benchmark.requires(writer, asked)
    assert problem == (
        "baseline openvino-genai: has nothing for a package that can write; have: transformers, optimum-intel, "
        "optimum-intel-int8, ctranslate2, ctranslate2-int8"
    )
    assert benchmark.requires(listener, asked) == []
    (problem,) = benchmark.requires(listener, Options(baseline=("pytorch",), audio=(writer / "decoder.xml",), model=writer))
    assert problem.startswith(
        "baseline pytorch: has nothing for a package that can transcribe; have: transformers, openvino"
    )


def test_sound_is_drawn_only_where_nothing_else_is_heard(listener: Path, installed: None) -> None:
    asked: dict[str, Any] = {"baseline": ("ctranslate2",), "model": listener}
    assert benchmark.requires(listener, Options(speech=False, **asked)) == []
    assert benchmark.requires(listener, Options(**asked)) == ["no recording: name some with --audio"]


def test_the_program_is_asked_for_so_many_ids_unless_the_engine_brings_a_model(
    writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Fake:
        def __init__(self, engine: object) -> None:
            pass

        def generate(self, source: list[int], sampling: Any) -> Any:
            asked.append((source, sampling))
            return SimpleNamespace(codes=np.arange(sampling.max_new_tokens))

    monkeypatch.setattr("ovconvert.bench.loops.find_program", lambda family: Fake)
    engine = SimpleNamespace(manifest=package.load(writer))
    monkeypatch.setattr(generators, "open_engine", lambda subject: SimpleNamespace(engine=engine))
    subject = Subject("", writer, WriteRequest())
    ours = generator_of(writer).opened(subject)
    assert isinstance(ours, Program)
    assert ours.generate([4, 5], 6, 3) == list(range(6))
    ((source, sampling),) = asked
    assert source == [4, 5]
    assert (sampling.num_beams, sampling.min_new_tokens, sampling.max_new_tokens) == (3, 6, 6)
    assert (sampling.do_sample, sampling.repetition_penalty) == (False, 1.0)
    assert ours.settings == "the package's stateful step, weights fp32"
    engine.model = lambda: "the library's"
    assert generator_of(writer).opened(subject) == "the library's"


class Process:
    """Stands for a worker: a fake model in this process, or the converter, whose model has 36 positions."""

    pid = 1

    def __init__(self, name: str, *given: Any) -> None:
        self.each = 0.03 if name == "ctranslate2" else 0.02
        self.now = 0.0
        self.settings = "of paper"

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def call(self, method: str, *given: Any) -> Any:
        return getattr(self, method)(*given)

    def positions(self) -> int:
        return 36

    def converted(self, name: str) -> Path:
        return Path(name)

    def generate(self, source: Any, tokens: int, beams: int) -> list[int]:
        self.now += 0.5 + (tokens - 1) * self.each
        return [0] * tokens

    def turn(self, tasks: list[Task]) -> list[Reading]:
        return [reading for task in tasks for reading in timed(self, task, list, lambda: self.now)]


def test_a_report_of_generation_says_what_was_read(listener: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "worker", Process)
    monkeypatch.setattr(turns, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(generation, "looker", lambda pids: turns.looker(lambda: iter(())))
    asked = Options(baseline=("ctranslate2",), speech=False, model=listener, rounds=2, tokens=9)
    report = benchmark.run(listener, asked)
    found = {(row.subject, row.case, row.metric): row.value for row in report.rows}
    case = "noise=0.5 s tokens=9 beams=1"
    assert found["generation", case, "prompt"] == pytest.approx(500.0)
    assert found["generation (ctranslate2)", case, "per token"] == pytest.approx(30.0)
    assert found["generation", case, "per token: times better than ctranslate2"] == pytest.approx(1.5)
    assert "one window of samples" in report.notes[0]


def test_a_window_has_no_room_for_more_tokens(listener: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "worker", Process)
    subjects = [Subject("ctranslate2", listener, WriteRequest(), engine="ctranslate2")]
    fits, longer = (Task(Noise(WINDOW, RATE), tokens, 1) for tokens in (36, 37))
    assert generation._converted(subjects, [fits], listener, lambda *given: None) == {"ctranslate2": Path("ctranslate2")}
    with pytest.raises(UsageError, match="up to 37 positions; the model has 36"):
        generation._converted(subjects, [longer], listener, lambda *given: None)
