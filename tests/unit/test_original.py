"""The seconds of the published code, built from measured calls."""

from __future__ import annotations

import pytest

from ovconvert.errors import UsageError
from ovconvert.families.indextts2.original import DIFFERENCES, RUNS, original
from ovconvert.original import PER, Original, Runs

TOY = Original(
    (
        Runs("ear", "voice", 0, 1),
        Runs("ear", "segment", 2, 0),
        Runs("mouth", "segment", 1, 1),
        Runs("step", "token", 1, 1, call="one"),
    ),
    (),
)
SECONDS = {"ear": 2.0, "mouth": 5.0, "step (one)": 0.1}


def test_the_whole_is_the_sum_of_its_calls() -> None:
    built = TOY.built(SECONDS, {"voice": 1, "segment": 3, "token": 40})
    assert built == pytest.approx({"ear": 12.0, "mouth": 15.0, "step (one)": 4.0})


def test_what_is_added_to_a_run_of_ours_is_the_difference() -> None:
    counts = {"voice": 1, "segment": 3, "token": 40}
    added = TOY.added(SECONDS, counts)
    assert added == pytest.approx({"ear": 2.0 * (2 * 3 - 1)})
    ours = {"ear": 2.0, "mouth": 15.0, "step (one)": 4.0}
    assert {name: ours[name] + added.get(name, 0.0) for name in ours} == pytest.approx(TOY.built(SECONDS, counts))


def test_a_registered_voice_costs_nothing() -> None:
    assert TOY.added(SECONDS, {"segment": 1}) == pytest.approx({"ear": 4.0})
    assert TOY.added(SECONDS, {"voice": 1}) == pytest.approx({"ear": -2.0})  # the published code made no such call


def test_what_was_not_measured_is_named_and_what_is_not_needed_is_not() -> None:
    with pytest.raises(UsageError, match=r"no seconds measured for ear, step \(one\); measured: mouth"):
        TOY.built({"mouth": 1.0}, {"segment": 1, "token": 1})
    assert TOY.built({"mouth": 1.0, "ear": 1.0}, {"segment": 1}) == {"ear": 2.0, "mouth": 1.0}


def test_a_strange_count_is_refused() -> None:
    with pytest.raises(ValueError, match="per 'phoneme'; have: voice, segment, token, step"):
        Runs("ear", "phoneme", 1, 1)


def test_every_conditioner_runs_in_every_segment_of_the_published_code() -> None:
    """Spec section 1.1: speaker once, emotion twice; 2.5 has no speaker conditioner."""
    per_segment = {
        variant: {row.component: row.published for row in rows if row.per == "segment" and not row.ours}
        for variant, rows in RUNS.items()
    }
    assert per_segment["2.0"] == {"emotion_conditioner": 2, "speaker_conditioner": 1}
    assert per_segment["2.5"] == {"emotion_conditioner": 2}


@pytest.mark.parametrize("variant", RUNS)
def test_rows_are_told_apart_and_differences_are_of_components_that_run(variant: str) -> None:
    found = original(variant)
    assert len({(row.label, row.per) for row in found.runs}) == len(found.runs)
    assert {row.per for row in found.runs} == set(PER)
    assert {row.component for row in found.differences} <= {row.component for row in found.runs}


def test_a_difference_is_given_back_or_has_a_size() -> None:
    assert all(row.restored == (row.share == 0.0) for row in DIFFERENCES)
    assert {row.component for row in original("2.5").differences}.isdisjoint({"speaker_conditioner", "semantic_codec"})
