"""The watched engine records calls and changes nothing; what an utterance cost is read off the record."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ovconvert.bench.alone import Alone, context_of, timed, used
from ovconvert.bench.spoken import Taken, readings
from ovconvert.bench.variants import ADDITIONS, Variant, cumulative
from ovconvert.bench.watch import Call, Watched
from ovconvert.golden import NEW, TOTAL
from ovconvert.package import Graph, Manifest, PackedComponent
from ovconvert.runtime.cache import open_step
from ovconvert.runtime.request import PROFILES, Request
from ovconvert.runtime.speech import Speech
from ovconvert.spec import CacheSpec, Component, Port

CACHE = CacheSpec(layers=1, heads=2, head_dim=4)
STEP = Component(
    "decoder",
    "step",
    (Port("inputs_embeds", "float32", ("batch", NEW, 3)), Port("attention_mask", "int64", ("batch", TOTAL))),
    (Port("logits", "float32", ("batch", 5)),),
    CACHE,
)
VOCODER = Component(
    "vocoder", "vocoder", (Port("mel", "float32", (1, 2, "frames")),), (Port("waveform", "float32", (1, "n")),)
)
MANIFEST = Manifest(
    family="made_up",
    variant="",
    sample_rate=100,
    dims={},
    components=(
        PackedComponent(STEP, "fp32", {form: Graph("a", "b") for form in ("stateful", "with_past")}, "g", {"X": "1"}),
        PackedComponent(VOCODER, "fp32", {"plain": Graph("a", "b")}, "g"),
    ),
    files={},
    lineage={},
)


class Clock:
    """Every look takes a second."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Logits:
    """An output that knows its name."""

    def get_names(self) -> set[str]:
        return {"logits"}


class FakeRequest:
    """Answers a step with zeros and counts what it was asked."""

    def __init__(self) -> None:
        self.resets = 0
        self.asked: list[dict[str, np.ndarray]] = []

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool = False) -> dict[Any, np.ndarray]:
        self.asked.append(dict(inputs))
        return {Logits(): np.zeros((len(inputs["inputs_embeds"]), 5), np.float32)}

    def reset_state(self) -> None:
        self.resets += 1


class FakeEngine:
    """Takes the place of the runtime's engine."""

    def __init__(self) -> None:
        self.directory = Path("nowhere")
        self.manifest = MANIFEST
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.compile_seconds: defaultdict[str, float] = defaultdict(float)
        self.released: list[str] = []
        self.requests: list[FakeRequest] = []

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        self.seconds[name] += 1.0
        return {"waveform": np.zeros((1, 7), np.float32)}

    def release(self, *names: str) -> None:
        self.released += names

    def compiled(self, name: str, form: str = "plain") -> Any:
        def create() -> FakeRequest:
            self.requests.append(FakeRequest())
            return self.requests[-1]

        return SimpleNamespace(create_infer_request=create)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """A prefill of four positions, two steps of two beams, one vocoder call; inputs kept."""
    made = Watched(FakeEngine(), Clock())
    made.keep = tmp_path
    step = open_step(made, "decoder")  # type: ignore[arg-type]
    step.reset()
    step(inputs_embeds=np.ones((1, 4, 3), np.float32))
    for _ in range(2):
        step(np.zeros(2, np.int32), inputs_embeds=np.ones((2, 1, 3), np.float32))
    assert made.run("vocoder", mel=np.zeros((1, 2, 9), np.float32))["waveform"].shape == (1, 7)
    return made


def test_calls_are_recorded_with_their_sizes(watched: Watched) -> None:
    assert [(call.name, call.positions) for call in watched.calls] == [
        ("decoder", 4),
        ("decoder", 1),
        ("decoder", 1),
        ("vocoder", 0),
    ]
    assert watched.calls[2].sizes == (("batch", 2), (NEW, 1), (TOTAL, 6))
    assert all(call.seconds == 1.0 for call in watched.calls)
    assert watched.seconds["vocoder"] == 1.0  # the engine's own sums stay the engine's


def test_compiling_is_no_part_of_a_call() -> None:
    class Compiling(FakeEngine):
        def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
            self.compile_seconds[name] += 0.75
            return super().run(name, **inputs)

    made = Watched(Compiling(), Clock())
    made.run("vocoder", mel=np.zeros((1, 2, 9), np.float32))
    assert made.calls[0].seconds == 0.25  # of the second that the clock says
    assert made.compile_seconds == 0.75


@pytest.mark.parametrize(("releases", "released"), [(True, ["vocoder"]), (False, [])])
def test_an_engine_that_shall_keep_its_graphs_keeps_them(releases: bool, released: list[str]) -> None:
    made = Watched(FakeEngine(), releases=releases)
    made.release("vocoder")
    assert made.engine.released == released


def test_inputs_are_kept_once_per_size_without_what_grows(watched: Watched) -> None:
    assert sorted(path.stem for path in watched.kept.values()) == ["decoder-0", "decoder-1", "vocoder-2"]
    with np.load(watched.kept["decoder", (("batch", 2), (NEW, 1))]) as stored:
        assert stored.files == ["inputs_embeds"]


def test_the_sizes_used_become_cases(watched: Watched) -> None:
    cases = used(watched)
    assert [(case.name, case.case) for case in cases] == [
        ("decoder", f"batch=2 {NEW}=1 context=4"),  # both steps together took longer than the prefill
        ("decoder", f"batch=1 {NEW}=4"),
        ("vocoder", "frames=9"),
    ]
    assert [case.context for case in used(watched, contexts=(100, 300))] == [100, 300, None, None]


def test_a_step_alone_stands_behind_its_context(watched: Watched) -> None:
    engine = watched.engine
    case = used(watched, contexts=(10,))[0]
    found = timed(engine, case, Clock())
    assert (found.subject, found.unit) == ("decoder alone", "ms")
    assert found.value == 1000.0  # each call lasts from one look to the next
    asked = engine.requests[-1].asked
    assert asked[0]["inputs_embeds"].shape == (2, 10, 3)
    assert [one["inputs_embeds"].shape for one in asked[1:]] == [(2, 1, 3)] * 2  # one that does not count, one that does
    assert asked[-1]["attention_mask"].shape == (2, 12)


def test_a_prefill_alone_begins_anew_each_time(watched: Watched) -> None:
    before = len(watched.engine.requests)
    timed(watched.engine, used(watched)[1], Clock())
    request = watched.engine.requests[before]
    assert request.resets == len(request.asked) == 2


def test_a_context_is_repeated_from_what_there_is() -> None:
    rows = np.arange(2, dtype=np.float32).reshape(1, 2, 1) * np.ones((1, 1, 3), np.float32)
    found = context_of(STEP, {"inputs_embeds": rows}, 5)["inputs_embeds"]
    assert found[0, :, 0].tolist() == [0, 1, 0, 1, 0]


def test_all_sizes_have_the_cache(tmp_path: Path) -> None:
    case = Alone("decoder", tmp_path / "x.npz", (("batch", 2), (NEW, 1)), 300)
    assert case.all_sizes() == {"batch": 2, NEW: 1, "past_sequence_length": 300, TOTAL: 301}


def call(name: str, positions: int, begun: float, ended: float) -> Call:
    return Call(name, ((NEW, positions),) if positions else (), begun, ended)


def speech(seconds: float) -> Speech:
    resolved = Request().resolved({})
    return Speech(np.zeros(int(100 * seconds), np.float32), 100, resolved, first_audio_seconds=0.5)


def test_where_the_time_of_an_utterance_went() -> None:
    calls = [call("decoder", 4, 0.0, 1.0), call("decoder", 1, 1.5, 2.0), call("decoder", 1, 2.0, 3.0)]
    calls.append(call("vocoder", 0, 3.0, 4.0))
    found = {one.key: one for one in readings("short", speech(2.0), Taken(5.0, 0.5, tuple(calls)), MANIFEST)}
    values = {(subject, metric): one.value for (subject, _, metric), one in found.items()}
    assert values["end to end", "RTF"] == 2.5
    assert values["end to end", "seconds to first audio"] == 0.5
    assert values["decoder", "tokens"] == 2
    assert values["decoder", "per token, P50"] == 1000.0  # from end to end of a step, what lies between included
    assert values["decoder", "per step, P50"] == 750.0
    assert (values["decoder", "calls"], values["decoder", "seconds"], values["decoder", "share"]) == (3, 2.5, 50.0)
    assert values["compiling", "seconds"] == 0.5
    assert values["between the graphs", "seconds"] == 1.0
    shares = [value for (_, metric), value in values.items() if metric == "share"]
    assert sum(shares) == pytest.approx(100.0)


def test_what_ran_at_the_same_time_leaves_no_less_between_the_graphs() -> None:
    calls = (call("decoder", 1, 0.0, 2.0), call("vocoder", 0, 1.0, 3.0), call("decoder", 1, 1.5, 2.5))
    found = {one.key[::2]: one.value for one in readings("short", speech(2.0), Taken(5.0, 0.5, calls), MANIFEST)}
    assert found["between the graphs", "seconds"] == 1.5
    assert found["decoder", "seconds"] + found["vocoder", "seconds"] == 5.0


def test_compiling_elsewhere_is_not_taken_off_a_call() -> None:
    class Elsewhere(FakeEngine):
        def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
            self.compile_seconds["decoder"] += 0.75
            return super().run(name, **inputs)

    seconds = []
    for engine in (FakeEngine(), Elsewhere()):
        made = Watched(engine, Clock())
        made.run("vocoder", mel=np.zeros((1, 2, 3), np.float32))
        made.run("vocoder", mel=np.zeros((1, 2, 3), np.float32))
        seconds.append([one.seconds for one in made.calls])
    assert seconds[0] == seconds[1]


def test_no_audio_has_no_real_time_factor() -> None:
    found = {one.metric for one in readings("short", speech(0.0), Taken(5.0, 0.0, ()), MANIFEST)}
    assert "RTF" not in found
    assert "seconds in all" in found


def test_a_variant_changes_steps_and_nothing_else() -> None:
    changed = Variant("x", form="with_past", runtime_options={"KV_CACHE_PRECISION": "u8"}).apply(MANIFEST)
    assert list(changed.packed("decoder").graphs) == ["with_past"]
    assert changed.packed("decoder").runtime_options == {"X": "1", "KV_CACHE_PRECISION": "u8"}
    assert changed.packed("vocoder") == MANIFEST.packed("vocoder")
    assert not Variant("x", form="full_sequence").possible(MANIFEST, {})
    assert Variant("x", form="with_past").possible(MANIFEST, {})


def test_a_variant_asks_for_what_the_model_has() -> None:
    asked = Variant("x", request={"latents": "step", "num_beams": 1, "top_k": 4})
    assert asked.within({"num_beams": (1,), "top_k": (3,)}).request == {"num_beams": 1}
    assert asked.possible(MANIFEST, {"latents": ()}) and not asked.possible(MANIFEST, {"steps": ()})
    stepless = dataclasses.replace(MANIFEST, components=(MANIFEST.packed("vocoder"),))
    cached = Variant("x", runtime_options={"KV_CACHE_PRECISION": "u8"})
    assert cached.possible(MANIFEST, {}) and not cached.possible(stepless, {})


def test_an_ablation_adds_to_what_was_there() -> None:
    variants = cumulative(ADDITIONS)
    assert [variant.name for variant in variants] == [addition.name for addition in ADDITIONS]
    assert variants[-1].form == "stateful"
    assert variants[-1].request == {key: value for addition in ADDITIONS for key, value in addition.request.items()}
    assert variants[-1].request == PROFILES["fast"]  # the full set is the named one
    exact = [variant.exact for variant in variants]
    assert exact == sorted(exact, reverse=True)  # once the algorithm has changed it stays changed
    for variant in variants:
        Request(**variant.request)
