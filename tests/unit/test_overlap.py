"""Items made ahead are those made one after the other; whatever goes wrong, on either side, ends both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import pytest

from ovconvert.runtime.overlap import Left, ahead

PATIENCE = 5.0  # seconds; far more than anything here takes


def wait_for(true: Callable[[], bool]) -> bool:
    """Tell whether it becomes true in time."""
    end = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < end:
        time.sleep(0.001)
    return true()


def working() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("first", "second")]


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    assert working() == []


class Stages:
    """Two stages, the second on what the first makes, and a log of what began and ended when."""

    def __init__(self, count: int, seconds: float = 0.0) -> None:
        self.count, self.seconds = count, seconds
        self.log: list[str] = []
        self.left = threading.Event()
        self.fails: dict[str, BaseException] = {}

    def work(self, what: str) -> None:
        self.log.append(what)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            if self.left.is_set():
                raise Left
            time.sleep(0.001)
        if what in self.fails:
            raise self.fails[what]
        self.log.append(f"{what} done")

    def drafts(self) -> Generator[int, None, None]:
        for number in range(self.count):
            self.work(f"draft {number}")
            yield number

    def chunks(self, overlap: bool = True) -> Generator[int, None, None]:
        with closing(ahead(self.drafts(), self.left, "first") if overlap else self.drafts()) as drafts:
            for number in drafts:
                for part in range(2):
                    self.work(f"chunk {number}.{part}")
                    yield 10 * number + part

    def stream(self, overlap: bool = True) -> Generator[int, None, None]:
        return ahead(self.chunks(overlap), self.left, "second")


def test_what_comes_out_is_what_would_come_out_one_after_the_other() -> None:
    for count in (0, 1, 2, 9):
        expected = [10 * number + part for number in range(count) for part in range(2)]
        assert list(Stages(count).stream()) == list(Stages(count).stream(overlap=False)) == expected


@pytest.mark.parametrize("overlap", [True, False])
def test_the_next_draft_is_begun_before_this_one_is_done_with(overlap: bool) -> None:
    stages = Stages(3, seconds=0.05)
    assert len(list(stages.stream(overlap))) == 6
    assert (stages.log.index("draft 1") < stages.log.index("chunk 0.1 done")) is overlap
    for number in range(3):
        assert stages.log.index(f"draft {number} done") < stages.log.index(f"chunk {number}.0")


def test_never_more_than_one_ahead() -> None:
    made: list[int] = []

    def items() -> Generator[int, None, None]:
        for number in range(9):
            made.append(number)
            yield number

    with closing(ahead(items(), threading.Event(), "first")) as numbers:
        assert made == []  # nothing before somebody asks
        for number in range(3):
            assert next(numbers) == number
            assert wait_for(lambda expected=number + 2: len(made) == expected)
            time.sleep(0.01)
            assert len(made) == number + 2


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize(
    ("where", "before"),
    [("draft 0", []), ("draft 2", [0, 1, 10, 11]), ("chunk 1.1", [0, 1, 10]), ("chunk 2.1", [0, 1, 10, 11, 20])],
)
@pytest.mark.parametrize("error", [ValueError("lost"), KeyboardInterrupt(), MemoryError()])
def test_an_error_of_either_stage_comes_out_behind_what_was_made_before(
    overlap: bool, where: str, before: list[int], error: BaseException
) -> None:
    stages = Stages(3, seconds=0.002)
    stages.fails[where] = error
    came = []
    with pytest.raises(type(error)) as caught:
        for chunk in stages.stream(overlap):
            came.append(chunk)
    assert caught.value is error
    assert came == before


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_a_stream_that_is_left_ends_both_stages_within_a_report(taken: int) -> None:
    stages = Stages(5, seconds=0.2)
    chunks = stages.stream()
    for _ in range(taken):
        next(chunks)
    start = time.monotonic()
    chunks.close()
    assert time.monotonic() - start < 0.15
    assert working() == []


def test_an_error_of_the_consumer_ends_both_stages() -> None:
    stages = Stages(5, seconds=0.2)
    with pytest.raises(KeyboardInterrupt), closing(stages.stream()) as chunks:
        for _ in chunks:
            raise KeyboardInterrupt
    assert stages.left.is_set()


def test_a_failing_second_stage_stops_the_first() -> None:
    stages = Stages(50, seconds=0.05)
    stages.fails["chunk 0.0"] = ValueError("lost")
    with pytest.raises(ValueError, match="lost"):
        list(stages.stream())
    assert [entry for entry in stages.log if entry.startswith("draft")][-1] in ("draft 1", "draft 1 done")


def test_a_stream_nobody_begins_starts_nothing() -> None:
    stages = Stages(3)
    stages.stream().close()
    assert stages.log == []
