"""Calibration sets: what is kept of the calls, how it is read back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovconvert import calibration
from ovconvert.calibration import Calibration
from ovconvert.capture import PER_VOICE, Collector
from ovconvert.errors import IntegrityError, UsageError
from ovconvert.package import Manifest, PackedComponent
from ovconvert.spec import CacheSpec, Component, Port

WIDTH = 4
STEP = Component(
    "step",
    "step",
    (
        Port("embeds", "float32", ("batch", "sequence_length", WIDTH)),
        Port("mask", "int64", ("batch", "total_sequence_length")),
    ),
    (Port("logits", "float32", ("batch", 8)),),
    CacheSpec(1, 1, 2),
)
FLOW = Component(
    "flow",
    "estimator",
    (Port("x", "float32", (1, WIDTH, "frames")), Port("t", "float32", (1,))),
    (Port("v", "float32", (1, WIDTH, "frames")),),
)
BIG = 10**9


def token(rng: np.random.Generator, new: int, past: int) -> dict[str, np.ndarray]:
    """Return the inputs of a call with two beams."""
    return {
        "embeds": rng.standard_normal((2, new, WIDTH), dtype=np.float32),
        "mask": np.ones((2, past + new), np.int64),
        **{name: np.zeros((2, 1, past, 2), np.float32) for name, _ in CacheSpec(1, 1, 2).names()},
    }


def utter(collector: Collector, tokens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    collector("step", token(rng, 5, 0))
    for number in range(tokens):
        collector("step", token(rng, 1, 5 + number))


def test_a_step_is_kept_early_in_the_middle_and_late(tmp_path: Path) -> None:
    collector = Collector(tmp_path, [STEP], seed=0)
    collector.begin(0, 0)
    utter(collector, 11, seed=1)
    samples = collector.samples(100, BIG)
    assert [sample.stratum for sample in samples] == ["first", "call 1", "call 2", "call 4", "call 8", "last"]
    read = calibration.read(tmp_path, samples, STEP)
    assert [one["mask"].shape[1] for one in read] == [5, 6, 7, 9, 13, 16]
    assert all(value.shape[0] == 1 for one in read for value in one.values())  # one beam of the two
    assert read[-1]["past_key_values.0.key"].shape == (1, 1, 15, 2)


def test_an_estimator_is_kept_at_every_time_and_of_every_voice(tmp_path: Path) -> None:
    collector = Collector(tmp_path, [FLOW], seed=0)
    for number in range(12):
        collector.begin(number, number % 3)
        for t in (0.0, 0.5):
            x = np.full((1, WIDTH, 6), number, np.float32)
            collector("flow", {"x": x, "t": np.array([t], np.float32)})
    few = collector.samples(4, BIG)
    assert {sample.stratum for sample in few} == {"t=0", "t=0.5"}
    assert len({sample.voice for sample in few}) > 1
    assert len(list(tmp_path.rglob("*.npz"))) == 4  # the rest is gone


def test_equal_calls_are_kept_once_and_kinds_are_bounded(tmp_path: Path) -> None:
    collector = Collector(tmp_path, [FLOW], seed=0)
    collector.begin(0, 0)
    for number in (1, 1, 1, *range(30)):
        collector("flow", {"x": np.full((1, WIDTH, 6), number, np.float32), "t": np.zeros(1, np.float32)})
    samples = collector.samples(100, BIG)
    assert len(samples) == PER_VOICE
    assert len({sample.sha256 for sample in samples}) == PER_VOICE


def test_the_size_is_bounded_but_something_is_kept(tmp_path: Path) -> None:
    collector = Collector(tmp_path, [STEP, FLOW], seed=0)
    collector.begin(0, 0)
    utter(collector, 11, seed=1)
    every = collector.samples(100, 1)
    assert [sample.component for sample in every] == ["step"]


def test_what_small_components_leave_goes_to_the_step(tmp_path: Path) -> None:
    def kept(place: str, budget: int) -> list[int]:
        (tmp_path / place).mkdir()
        collector = Collector(tmp_path / place, [STEP, FLOW], seed=0)
        collector.begin(0, 0)
        utter(collector, 11, seed=1)
        collector("flow", {"x": np.zeros((1, WIDTH, 6), np.float32), "t": np.zeros(1, np.float32)})
        return [sample.bytes for sample in collector.samples(100, budget)]

    whole = kept("whole", BIG)
    assert kept("just enough", sum(whole)) == whole  # though the step alone needs more than half
    assert len(kept("too little", sum(whole) // 2)) < len(whole)


def test_the_same_seed_keeps_the_same(tmp_path: Path) -> None:
    def kept(place: str, seed: int) -> list[str]:
        collector = Collector(tmp_path / place, [FLOW], seed)
        (tmp_path / place).mkdir()
        collector.begin(0, 0)
        for number in range(40):
            collector("flow", {"x": np.full((1, WIDTH, 6), number, np.float32), "t": np.zeros(1, np.float32)})
        return [sample.sha256 for sample in collector.samples(100, BIG)]

    assert kept("a", 1) == kept("b", 1) != kept("c", 2)


def a_set(directory: Path) -> Calibration:
    collector = Collector(directory, [STEP], seed=0)
    collector.begin(0, 0)
    utter(collector, 3, seed=1)
    found = Calibration("p", calibration.architecture(MODEL), calibration.source(MODEL), ("t",), ("v",), {}, {},
                        collector.samples(9, BIG))  # fmt: skip
    calibration.save(found, directory)
    return found


MODEL = Manifest("x", "1", 16000, {}, (PackedComponent(STEP, "fp32", {}, ""),), {}, {"source": {"weights": "aa"}})


def test_a_set_fits_every_precision_of_its_model_and_no_other(tmp_path: Path) -> None:
    found = a_set(tmp_path)
    assert calibration.load(tmp_path) == found
    assert calibration.misfits(found, MODEL) == []
    half = Manifest("x", "1", 16000, {}, (PackedComponent(STEP, "fp16", {}, ""),), {}, {"source": {"weights": "aa"}})
    assert calibration.misfits(found, half) == []
    other = Manifest("x", "1", 16000, {}, (PackedComponent(FLOW, "fp32", {}, ""),), {}, {"source": {"weights": "aa"}})
    assert "other components" in calibration.misfits(found, other)[0]
    trained = Manifest("x", "1", 16000, {}, (PackedComponent(STEP, "fp32", {}, ""),), {}, {"source": {"weights": "bb"}})
    assert "another checkpoint" in calibration.misfits(found, trained)[0]


def test_a_damaged_set_is_refused(tmp_path: Path) -> None:
    found = a_set(tmp_path)
    with pytest.raises(UsageError, match="no calibration set"):
        calibration.load(tmp_path / "nowhere")
    path = tmp_path / found.samples[0].file
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    (tmp_path / found.samples[1].file).unlink()
    with pytest.raises(IntegrityError, match=r"0000.npz: changed[\s\S]*0001.npz: missing"):
        calibration.read(tmp_path, found.samples, STEP)
    (tmp_path / calibration.MANIFEST).write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        calibration.load(tmp_path)


def test_an_empty_set_is_refused() -> None:
    empty = Calibration("p", calibration.architecture(MODEL), calibration.source(MODEL), (), (), {}, {}, ())
    assert "empty" in calibration.misfits(empty, MODEL)[0]
