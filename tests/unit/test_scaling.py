"""What grows: cost with the length of audio, audio per second with utterances at a time, a component's rows."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from ovconvert.bench.alone import Alone, takes_rows, widened
from ovconvert.bench.growth import SLOPE, START, growth
from ovconvert.bench.measure import distinct
from ovconvert.bench.overview import overview
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.side_by_side import side_by_side
from ovconvert.report import Measurement
from ovconvert.spec import Component, Port

ROUNDS = 4


def spoken(lengths: tuple[float, ...], slope: float = 0.5, start: float = 2.0) -> Table:
    """Texts of so many seconds of audio, each round slower than the one before; a voice that is new takes much longer."""
    table = Table()
    for number in range(ROUNDS):
        slower = 1.0 + number
        for place, audio in enumerate(lengths):
            for case, more in ((f"text {place}", 0.0), (f"text {place}, new voice", 100.0)):
                seconds = slower * (start + slope * audio) + more
                readings = [Reading("end to end", case, "audio", audio, "s")]
                readings.append(Reading("end to end", case, "seconds in all", seconds, "s", "lower"))
                readings.append(Reading("vocoder", case, "seconds", slower * 0.25 * audio, "s", "lower"))
                table.add(number, readings)
    return table


def test_growth_is_the_slope_of_every_round() -> None:
    found = {(row.subject, row.metric): row for row in growth(spoken((1.0, 4.0, 9.0)), ROUNDS, "other")}
    whole, start = found["end to end (other)", SLOPE], found["end to end (other)", START]
    assert whole.samples == pytest.approx((0.5, 1.0, 1.5, 2.0))
    assert start.samples == pytest.approx((2.0, 4.0, 6.0, 8.0))
    assert found["vocoder (other)", SLOPE].samples == pytest.approx((0.25, 0.5, 0.75, 1.0))
    assert (whole.better, whole.unit) == ("lower", "s/s")


@pytest.mark.parametrize("lengths", [(3.0,), (3.0, 3.0)])
def test_no_line_goes_through_one_point(lengths: tuple[float, ...]) -> None:
    assert list(growth(spoken(lengths), ROUNDS)) == []


@pytest.mark.parametrize("turns", [False, True])
def test_utterances_at_a_time_make_more_audio_unless_they_take_turns(turns: bool) -> None:
    lock = threading.Lock()

    def speak() -> float:
        if turns:
            with lock:
                threading.Event().wait(0.05)
        else:
            threading.Event().wait(0.05)
        return 2.0

    (one, _), (three, waited) = (side_by_side(speak, "short", count) for count in (1, 3))
    assert (three.subject, three.case, three.better) == ("side by side", "short, 3 at a time", "higher")
    assert one.value <= 2.0 / 0.05
    assert (three.value > 1.5 * one.value) is not turns
    assert waited.value >= 0.05


def test_an_utterance_that_fails_is_told() -> None:
    def speak() -> float:
        raise ValueError("no voice")

    with pytest.raises(ValueError, match="no voice"):
        side_by_side(speak, "short", 2)


def test_rows_are_repeated(tmp_path: Path) -> None:
    inputs = {"x": np.arange(6.0).reshape(2, 3)}
    np.savez(tmp_path / "step.npz", **inputs)
    case = Alone("step", tmp_path / "step.npz", (("batch", 2), ("sequence_length", 1)), 9)
    wide = widened(case, 3, tmp_path)
    assert wide.case == "batch=3 sequence_length=1 context=9"
    assert np.array_equal(wide.load()["x"], inputs["x"][[0, 1, 0]])
    assert np.array_equal(case.load()["x"], inputs["x"])


def test_rows_are_an_axis_of_every_input() -> None:
    several, one = Port("x", "float32", ("batch", "n")), Port("y", "float32", (1, "n"))
    assert takes_rows(Component("step", "step", (several, several), (several,)))
    assert not takes_rows(Component("vocoder", "vocoder", (several, one), (one,)))


def test_of_cases_with_one_name_the_first_is_run() -> None:
    spoken_, golden, other = (
        Alone("step", Path(name), (("batch", rows),)) for name, rows in zip("abc", (1, 1, 2), strict=True)
    )
    assert distinct([spoken_, golden, other]) == [spoken_, other]


def test_rows_at_once_are_set_side_by_side_where_nothing_else_differs() -> None:
    def call(case: str, value: float) -> Measurement:
        return Measurement("step alone", case, "one call", value, "ms")

    rows = [call("batch=4 context=9", 8.0), call("batch=1 context=9", 5.0), call("batch=2 context=7", 6.0)]
    whole = Measurement("end to end", "short", "RTF", 1.0, "s/s", samples=(1.0,))
    (table,) = (found for found in overview([whole, *rows], (), ()) if found.heading == "Rows at once")
    assert table.lines == (("step alone", "context=9", "1", "5", "5"), ("step alone", "context=9", "4", "8", "2"))
