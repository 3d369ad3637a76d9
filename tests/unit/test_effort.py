"""CPU time is of this process alone; instructions are told where the processor counts them, and else not at all."""

from __future__ import annotations

import threading
import time

import pytest

from ovconvert.bench import effort
from ovconvert.bench.effort import INSTRUCTIONS, Effort, Spent, open_counters
from ovconvert.bench.slowed import Slowed

TASK_CLOCK = (1, 1)  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK, in nanoseconds: there on every system that counts


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_cpu_time_is_what_was_worked_and_not_what_was_slept() -> None:
    counter = Effort()
    before = counter.now()
    work(0.05)
    worked = counter.now()
    time.sleep(0.05)
    assert worked.since(before).cpu_seconds == pytest.approx(0.05, abs=0.02)
    assert counter.now().since(worked).cpu_seconds < 0.02


def test_a_counter_counts_the_threads_that_are_made_later() -> None:
    if not open_counters(TASK_CLOCK):
        pytest.skip("the system counts nothing for us")
    counter = Effort(TASK_CLOCK)
    before = counter.now()
    thread = threading.Thread(target=work, args=(0.05,))
    thread.start()
    thread.join()
    counted = counter.now().since(before).instructions
    assert counted is not None and counted / 1e9 == pytest.approx(0.05, abs=0.02)


def test_instructions_are_counted_or_left_out() -> None:
    counter = Effort()
    before = counter.now()
    work(0.01)
    found = counter.now().since(before).instructions
    assert (found is None) if not open_counters(INSTRUCTIONS) else (found is not None and found > 1e5)


def test_what_the_system_does_not_count_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_counters((99, 99)) == ()
    assert Effort((99, 99)).now().instructions is None
    assert Spent(2.0, 5.0).since(Spent(1.0)) == Spent(1.0)
    monkeypatch.setattr(effort, "SYSCALL", {})
    assert open_counters(TASK_CLOCK) == ()


class Clock:
    """Goes on by what is slept, and a little by each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Engine:
    """A graph of one second, and a request of two."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = {"graph": 1.0}

    def run(self, name: str) -> dict[str, int]:
        self.clock.now += 1.0
        return {name: 1}

    def compiled(self, name: str, form: str) -> Engine:
        return self

    def create_infer_request(self) -> Engine:
        return self

    def infer(self, inputs: object) -> str:
        self.clock.now += 2.0
        return "result"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_slowed_engine_takes_its_share_longer(share: float) -> None:
    clock = Clock()
    slowed = Slowed(Engine(clock), share, clock)
    clock.now += 7.0  # between two utterances
    slowed.begin()
    begun = clock.now
    assert slowed.run("graph") == {"graph": 1}
    clock.now += 1.0  # what lies between two graphs is slowed as well
    assert slowed.compiled("step", "stateful").create_infer_request().infer({}) == "result"
    assert clock.now - begun == pytest.approx(4.0 * (1 + share), rel=0.01)
    assert slowed.seconds == {"graph": 1.0}
