"""What the published loop runs beside ours is counted on top of a baseline, from what the calls took."""

from __future__ import annotations

import pytest

from ovconvert.bench.published import LOOP, per_call, with_loop
from ovconvert.bench.reading import Reading
from ovconvert.bench.spoken import WHOLE
from ovconvert.bench.watch import Call
from ovconvert.errors import UsageError
from ovconvert.original import Original, Runs

ORIGINAL = Original(
    (
        Runs("conditioner", "voice", 0, 1),
        Runs("conditioner", "segment", 2, 0),
        Runs("embeddings", "segment", 1, 1),
    ),
    (),
)

EACH = {"conditioner": 0.5, "embeddings": 0.1}


def case(name: str, segments: int, *, conditioner: bool) -> list[Reading]:
    rows = [
        Reading(WHOLE, name, "seconds in all", 10.0, "s", "lower"),
        Reading(WHOLE, name, "seconds to first audio", 5.0, "s", "lower"),
        Reading(WHOLE, name, "audio", 4.0, "s"),
        Reading(WHOLE, name, "RTF", 2.5, "s/s", "lower"),
        Reading("embeddings", name, "calls", segments, ""),
        Reading("embeddings", name, "seconds", 0.1, "s", "lower"),
    ]
    used = [Reading("conditioner", name, "calls", 1, ""), Reading("conditioner", name, "seconds", 0.5, "s", "lower")]
    return rows + (used if conditioner else [])


def test_what_the_published_loop_runs_more_is_added() -> None:
    readings = case("a, new voice", 1, conditioner=True) + case("a", 3, conditioner=False)
    found = {reading.key: reading.value for reading in with_loop(readings, ORIGINAL, EACH, "a, new voice")}
    # a segment runs the conditioner twice, half a second each; a new voice once less than ours
    assert found[LOOP, "a, new voice", "seconds"] == pytest.approx(0.5)
    assert found[LOOP, "a", "seconds"] == pytest.approx(3.0)
    assert found[WHOLE, "a", "seconds in all"] == pytest.approx(13.0)
    assert found[WHOLE, "a", "seconds to first audio"] == pytest.approx(6.0)  # the first of three segments
    assert found[WHOLE, "a", "RTF"] == pytest.approx(13.0 / 4.0)
    assert found[WHOLE, "a", "audio"] == 4.0
    assert found["embeddings", "a", "seconds"] == 0.1


def test_a_call_that_was_not_measured_is_no_guess() -> None:
    with pytest.raises(UsageError, match="no seconds measured for conditioner"):
        with_loop(case("a", 1, conditioner=False), ORIGINAL, {"embeddings": 0.1})


def test_a_call_costs_the_mean_of_its_kind() -> None:
    calls = [Call("step", (), 0.0, 1.0), Call("step", (), 2.0, 5.0), Call("vocoder", (), 5.0, 5.5)]
    assert per_call(calls) == {"step": 2.0, "vocoder": 0.5}
