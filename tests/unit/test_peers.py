"""Generation in turns with whole engines: what is timed, which prompts they get, what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ovconvert import package
from ovconvert.baselines import peers
from ovconvert.baselines.kinds import LANGUAGE_MODEL
from ovconvert.baselines.peers import PEERS, Converter, identity
from ovconvert.bench import generation
from ovconvert.bench.generation import PER_TOKEN, PROMPT, Generated, Generating, Task, timed
from ovconvert.bench.reading import Table
from ovconvert.bench.sources import Ids
from ovconvert.bench.subject import Subject
from ovconvert.errors import EnvironmentFault, UsageError
from ovconvert.judges import benchmark
from ovconvert.judges.benchmark import Options
from ovconvert.language_model import parts_of
from ovconvert.package import Graph, Manifest, PackedComponent
from ovconvert.runtime.request import Request
from ovconvert.spec import CacheSpec, Component, Port

WIDTH, IDS = 4, 17
PEER = "openvino-genai"


def prompt(count: int) -> Ids:
    return Ids("prompt", count, IDS)


TASK = Task(prompt(5), tokens=11, beams=3)


class Clock:
    """Time that passes only when a fake engine says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake:
    """Takes `first` seconds for a prompt and its first id and `each` for every other; stops after `most` ids."""

    settings = "a fake, weights of paper"

    def __init__(self, clock: Clock, first: float = 0.5, each: float = 0.02, most: int = 10**6) -> None:
        self.clock, self.first, self.each, self.most = clock, first, each, most
        self.prompts: list[list[int]] = []

    def generate(self, source: Sequence[int], tokens: int, beams: int) -> list[int]:
        self.prompts.append(list(source))
        self.clock.now += self.first + (tokens - 1) * self.each * beams
        return [0] * min(tokens, self.most)


def component(name: str, role: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...], cache: Any = None) -> Component:
    return Component(name, role, inputs, outputs, cache)


def packed(part: Component) -> PackedComponent:
    form = "stateful" if part.cache else "plain"
    return PackedComponent(part, "fp32", {form: Graph(f"{part.name}.xml", f"{part.name}.bin")}, "golden.npz")


EMBEDDED = Port("inputs_embeds", "float32", ("batch", "sequence_length", WIDTH))
SEQUENCE = ("batch", "sequence_length")
DECODER = component("writer", "step", (EMBEDDED,), (Port("logits", "float32", ("batch", IDS)),), CacheSpec(1, 1, WIDTH))
EMBEDDINGS = component(
    "table", "encoder", (Port("letters", "int64", SEQUENCE), Port("position_ids", "int64", SEQUENCE)), (EMBEDDED,)
)
OTHER = component("prefix", "encoder", (Port("letters", "int64", SEQUENCE),), (EMBEDDED,))


def sealed(place: Path, *parts: Component, content: bytes = b"x") -> Path:
    """A package of empty graphs."""
    place.mkdir()
    for part in parts:
        (place / f"{part.name}.xml").write_bytes(content)
        (place / f"{part.name}.bin").write_bytes(content)
    (place / "golden.npz").write_bytes(b"")
    package.save(Manifest("made_up", "", 100, {}, tuple(map(packed, parts)), package.seal(place), {}), place)
    return place


@pytest.fixture
def package_dir(tmp_path: Path) -> Path:
    return sealed(tmp_path / "package", OTHER, DECODER, EMBEDDINGS)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "find_spec", lambda name: object())


def test_prompt_and_tokens_are_told_apart() -> None:
    clock = Clock()
    found = {reading.metric: reading for reading in timed(Fake(clock), TASK, list, clock)}
    assert found[PROMPT].value == pytest.approx(500.0)
    assert found[PER_TOKEN].value == pytest.approx(60.0)
    assert {reading.case for reading in found.values()} == {"prompt=5 tokens=11 beams=3"}
    assert all(reading.detail == Fake.settings and reading.better == "lower" for reading in found.values())


def test_an_engine_that_stops_early_is_refused() -> None:
    clock = Clock()
    with pytest.raises(EnvironmentFault, match="a fake, weights of paper: made 4 of 11 ids"):
        list(timed(Fake(clock, most=4), TASK, list, clock))


def test_competitors_get_the_same_prompts_and_no_prompt_twice(
    package_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Fake] = []
    monkeypatch.setattr(
        generation, "open_peer", lambda name, kind, directory, threads: made.append(Fake(Clock())) or made[-1]
    )
    subject = Subject(PEER, package_dir, Request(), engine=PEER)
    for _ in range(2):
        competitor = Generating(subject, tmp_path, 1, 0)
        for _ in range(2):
            competitor.turn([TASK, Task(prompt(5), 3, 1)])
    first, second = (fake.prompts for fake in made)
    assert first == second
    assert len(first) == 8 == len({tuple(given) for given in first})
    assert all(0 <= code < IDS for given in first for code in given)


def test_the_language_model_is_found_by_its_ports(package_dir: Path, tmp_path: Path) -> None:
    parts = parts_of(package.load(package_dir))
    assert (parts.decoder.name, parts.embeddings.name) == ("writer", "table")
    assert (parts.ids, parts.embedded, parts.vocabulary) == ("letters", "inputs_embeds", IDS)
    with pytest.raises(UsageError, match=r"no language model that continues ids.*have: prefix, writer"):
        parts_of(package.load(sealed(tmp_path / "without", OTHER, DECODER)))


def test_what_was_converted_is_kept(package_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def write(checkpoint: Path, package_dir: Path, dest: Path) -> None:
        made.append("source")
        (dest / "config.json").write_text('{"n_positions": 40}')

    class Module:
        def convert(self, source: Path, dest: Path, weights: str, kind: str) -> None:
            assert (source / "config.json").is_file()
            made.append(weights)
            (dest / "model").touch()

    monkeypatch.setattr(peers, "write_gpt2", write)
    monkeypatch.setattr(peers.Peer, "load", lambda peer: Module())
    monkeypatch.setattr(peers.metadata, "version", lambda tool: "1.0")
    kept = tmp_path / "kept"
    first = Converter(LANGUAGE_MODEL, tmp_path, package_dir, kept)
    assert first.positions() == 40
    directory = first.converted("openvino-genai")
    assert directory.is_relative_to(kept / identity(package_dir)) and (directory / "model").is_file()
    # the same files serve both engines, and a second run finds them
    assert Converter(LANGUAGE_MODEL, tmp_path, package_dir, kept).converted("optimum-intel") == directory
    assert first.converted("openvino-genai-int8") != directory
    assert made == ["source", "fp16", "int8"]
    changed = sealed(tmp_path / "changed", DECODER, EMBEDDINGS, content=b"y")
    assert identity(changed) != identity(package_dir)


def test_a_report_of_generation_alone(package_dir: Path, installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def measured(subjects: Sequence[Subject], tasks: Sequence[Task], **given: Any) -> Generated:
        asked.update(given, labels=[subject.label for subject in subjects], tasks=tasks)
        tables = {}
        for subject, each in zip(subjects, (0.02, 0.05), strict=True):
            tables[subject.label] = Table()
            for number in range(given["rounds"]):
                clock = Clock()
                for task in tasks:
                    fake = Fake(clock, each=each * (1 + number))
                    tables[subject.label].add(number, timed(fake, task, list, clock))
        return Generated(tables, ("somebody else was busy",))

    monkeypatch.setattr(benchmark, "measure_generation", measured)
    monkeypatch.setattr(benchmark, "measure", lambda *given: pytest.fail("speech was measured"))
    options = Options(
        baseline=(PEER,), speech=False, model=package_dir, contexts=(96, 300), tokens=8, rounds=6, peer_models=package_dir
    )
    assert benchmark.requires(package_dir, options) == []
    report = benchmark.run(package_dir, options)
    assert asked["labels"] == ["", PEER] and asked["kept"] == package_dir
    assert asked["tasks"] == [Task(prompt(count), 8, beams) for count in (96, 300) for beams in (1, 3)]
    found = {(row.subject, row.case, row.metric): row for row in report.rows}
    case = "prompt=300 tokens=8 beams=3"
    ratio = found["generation", case, f"per token: times better than {PEER}"]
    assert ratio.value == pytest.approx(2.5) and len(ratio.samples) == 6
    assert found["generation", case, "prompt"].value == pytest.approx(500.0)
    assert found[f"generation ({PEER})", case, "per token"].detail == Fake.settings
    assert report.disturbances == ("somebody else was busy",)
    (note,) = report.notes
    assert note.startswith(generation.NOTE) and "run a GPT-2" in note


def test_what_peers_need_is_said_at_once(package_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    problems = benchmark.requires(package_dir, Options(baseline=("ctranslate2-int8",), tokens=1))
    for said in ("ctranslate2, transformers", "requirements-peers.txt", "--model", "tokens 1: at least 2"):
        assert any(said in problem for problem in problems), (said, problems)


def test_without_speech_there_must_be_something_left(package_dir: Path) -> None:
    (problem,) = benchmark.requires(package_dir, Options(speech=False))
    assert problem.startswith("nothing to measure without speech: name a baseline of openvino-genai")


def test_all_that_is_needed_is_in_the_file_of_exact_versions() -> None:
    listed = Path(package.__file__).parents[1] / "requirements-peers.txt"
    names = {line.partition("==")[0] for line in listed.read_text().splitlines() if "==" in line}
    wanted = {tool for peer in PEERS.values() for tool in peer.tools} | {"openvino-genai", "transformers"}
    assert wanted - {"openvino"} <= names


def test_a_prompt_longer_than_the_table_is_refused(package_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def __enter__(self) -> Process:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def call(self, method: str, *arguments: object) -> object:
            return {"positions": 40, "converted": package_dir}[method]

    monkeypatch.setattr(generation, "worker", lambda *given: Process())
    subjects = [Subject(PEER, package_dir, Request(), engine=PEER)]
    fits, longer = Task(prompt(30), 10, 1), Task(prompt(30), 11, 1)
    assert generation._converted(subjects, [fits], package_dir, lambda *given: None) == {PEER: package_dir}
    with pytest.raises(UsageError, match="up to 41 positions; the model has 40"):
        generation._converted(subjects, [fits, longer], package_dir, lambda *given: None)
