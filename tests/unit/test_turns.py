"""Turns: everybody once in a round, in changing order; figures stay in the order of the rounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ovconvert.bench import rows
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.turns import Rounds, order, take_turns
from ovconvert.disturbance import Moment, complaints

NAMES = ("package", "pytorch", "onnxruntime")


def reading(value: float, metric: str = "RTF", better: str = "lower") -> Reading:
    return Reading("end to end", "short", metric, value, "s/s", better)


def still() -> Moment:
    """A machine on which nothing happens."""
    return Moment(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def busier(foreign_seconds: float) -> Callable[[], Moment]:
    """A machine on which others use so many seconds of CPU in every second."""
    ticks = iter(range(1000))

    def look() -> Moment:
        now = float(next(ticks))
        return Moment(now, now * foreign_seconds, 0.0, 0.0, 0.0, 0.0, 0.0)

    return look


def taken(rounds: int, drift: float = 0.0, look: Callable[[], Moment] = still) -> tuple[Rounds, list[str]]:
    """Take turns in which the package needs 1 and pytorch 2, on a machine that becomes slower by `drift` a round."""
    log: list[str] = []
    shown: list[tuple[str, int, int]] = []

    def turn(name: str, seconds: float) -> Callable[[], list[Reading]]:
        def take() -> list[Reading]:
            log.append(name)
            return [reading(seconds * (1 + drift * ((len(log) - 1) // len(NAMES))))]

        return take

    turns = {name: turn(name, seconds) for name, seconds in zip(NAMES, (1.0, 2.0, 4.0), strict=True)}
    found = take_turns(
        turns,
        rounds,
        look_around=look,
        settle=lambda seconds: None,
        progress=lambda what, done, total: shown.append((what, done, total)),
    )
    assert shown[-1] == ("rounds", rounds * len(NAMES), rounds * len(NAMES))
    return found, log


def test_everybody_has_one_turn_in_a_round() -> None:
    _, log = taken(8)
    groups = [log[start : start + 3] for start in range(0, 24, 3)]
    assert all(sorted(group) == sorted(NAMES) for group in groups)
    assert len({tuple(group) for group in groups}) > 1  # the order changes


def test_the_order_follows_from_the_seed() -> None:
    assert [order(NAMES, number, 1) for number in range(9)] == [order(NAMES, number, 1) for number in range(9)]
    assert [order(NAMES, number, 1) for number in range(9)] != [order(NAMES, number, 2) for number in range(9)]


def test_samples_are_kept_one_a_round() -> None:
    found, _ = taken(7, drift=0.5)
    (row,) = rows.rows(found.tables["package"], 7)
    assert row.samples == tuple(1 + 0.5 * number for number in range(7))
    assert row.value == 2.5
    assert row.low is not None and row.high is not None and row.low <= row.value <= row.high
    assert row.better == "lower"


def test_ratios_are_of_the_same_rounds() -> None:
    found, _ = taken(8, drift=1.0)  # the machine becomes eight times slower, and no ratio moves
    (row,) = rows.ratios(found.tables["package"], found.tables["pytorch"], 8, "pytorch")
    assert row.samples == (2.0,) * 8
    assert (row.value, row.low, row.high) == pytest.approx((2.0, 2.0, 2.0))
    assert row.metric == "RTF: times better than pytorch"


def test_ratios_of_other_rounds_would_differ() -> None:
    found, _ = taken(8, drift=1.0)
    turned = Table()
    for number, value in enumerate(reversed(found.tables["pytorch"].samples(reading(0).key, 8) or ())):
        turned.add(number, [reading(value)])
    (row,) = rows.ratios(found.tables["package"], turned, 8, "pytorch")
    assert len(set(row.samples)) == 8


def test_more_is_better_where_it_says_so() -> None:
    tables = [Table(), Table()]
    for number in range(6):
        tables[0].add(number, [reading(80.0, "part of the limit", "higher"), reading(3.0, "audio", "")])
        tables[1].add(number, [reading(40.0, "part of the limit", "higher"), reading(3.0, "audio", "")])
    (row,) = rows.ratios(*tables, 6, "other")  # and no ratio where better has no meaning
    assert row.value == pytest.approx(2.0)


def test_a_figure_that_a_round_lacks_is_left_out() -> None:
    table = Table()
    table.add(0, [reading(1.0), reading(5.0, "P99")])
    table.add(1, [reading(2.0)])
    assert [row.metric for row in rows.rows(table, 2)] == ["RTF"]
    assert table.gaps(2) == [("end to end", "short", "P99")]
    assert table.gaps(1) == []


def test_one_round_cannot_say_one_thing_twice() -> None:
    table = Table()
    table.add(0, [reading(1.0)])
    with pytest.raises(ValueError, match="two readings"):
        table.add(0, [reading(2.0)])


def test_one_sample_has_no_interval() -> None:
    table = Table()
    table.add(0, [reading(1.0)])
    (row,) = rows.rows(table, 1)
    assert (row.low, row.high, row.samples) == (None, None, (1.0,))


def test_a_busy_neighbour_disturbs_the_rounds_and_a_quiet_one_does_not() -> None:
    busy, _ = taken(4, look=busier(0.4))
    quiet, _ = taken(4, look=busier(0.01))
    assert "4 of 4 rounds other processes" in complaints(busy.spells, cores=2)[0]
    assert complaints(quiet.spells, cores=2) == ()


def test_audio_of_another_length_is_said() -> None:
    tables = [Table(), Table()]
    for table, length in zip(tables, (3.0, 2.5), strict=True):
        table.add(0, [reading(1.0), Reading("end to end", "short", "audio", length, "s")])
    assert "compare rates" in next(rows.ratios(*tables, 1, "other")).detail
    assert next(rows.ratios(tables[0], tables[0], 1, "other")).detail == ""
