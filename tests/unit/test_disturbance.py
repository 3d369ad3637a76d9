"""What disturbs a measurement is seen in the counters of the kernel; machines are handed in as texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ovconvert import disturbance
from ovconvert.disturbance import Spell, between, complaints, look

TICK = 0.01
QUIET = Spell(foreign_cores=0.0, steal_cores=0.0, throttled_share=0.0, clock_ratio=1.0)


def machine(
    busy: int = 0, own: int = 0, steal: int = 0, throttled_usec: int = 0, mhz: float = 2400.0
) -> Callable[[Path], str]:
    """Return the texts of a machine of two cores; times in ticks of 10 ms."""
    files = {
        "/proc/stat": f"cpu  {busy} 0 0 1000 0 0 0 {steal} 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n",
        "/proc/7/stat": f"7 (python -m (x) y) R 1 7 7 0 -1 0 0 0 0 0 {own} 0 0 0 20 0",
        "/proc/self/cgroup": "0::/",
        "/sys/fs/cgroup/cpu.stat": f"usage_usec 5\nnr_throttled 1\nthrottled_usec {throttled_usec}",
        "/proc/cpuinfo": f"cpu MHz\t\t: {mhz}\ncpu MHz\t\t: {mhz}\n",
        "/proc/loadavg": "1.5 1 1 1/100 7",
    }
    return lambda path: files.get(str(path), "")


def spell(after: Callable[[Path], str]) -> Spell:
    """Return what happened in ten seconds on a machine whose counters began at zero."""
    times = iter((0.0, 10.0))
    moments = [look([7], read, lambda: next(times), TICK) for read in (machine(), after)]
    return between(*moments)


def test_our_own_work_is_no_disturbance() -> None:
    assert spell(machine(busy=2000, own=2000)) == QUIET
    assert complaints([spell(machine(busy=2000, own=2000))], cores=2) == ()


def test_a_busy_neighbour_is_reported() -> None:
    found = spell(machine(busy=1500, own=1000))
    assert found.foreign_cores == pytest.approx(0.5)
    assert complaints([QUIET, found], cores=2) == ("in 1 of 2 rounds other processes used up to 0.50 cores (0.06 allowed)",)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (machine(steal=50), "hypervisor took away up to 0.05 cores"),
        (machine(throttled_usec=2_000_000), "quota made threads wait for up to 0.20 of the time"),
        (machine(mhz=1800.0), "clock rate fell to 75%"),
    ],
)
def test_what_the_machine_takes_away_is_reported(after: Callable[[Path], str], said: str) -> None:
    (text,) = complaints([spell(after)], cores=2)
    assert said in text


def test_a_machine_that_tells_nothing_is_not_accused() -> None:
    moment = look([7], lambda path: "", lambda: 1.0, TICK)
    assert (moment.busy_seconds, moment.mhz, moment.throttled_seconds) == (0.0, 0.0, 0.0)
    assert complaints([between(moment, moment)], cores=2) == ()


def test_throttling_of_the_first_cgroup_version() -> None:
    files = {"/sys/fs/cgroup/cpu/box/cpu.stat": "nr_periods 5\nthrottled_time 1500000000"}
    assert disturbance.throttled_seconds("4:cpu,cpuacct:/box", lambda path: files.get(str(path), "")) == pytest.approx(1.5)
    assert disturbance.throttled_seconds("4:cpu:/other", lambda path: files.get(str(path), "")) == 0.0


def test_a_process_that_is_gone_used_nothing() -> None:
    assert disturbance.parse_process("") == 0
    assert disturbance.parse_process("7 (a) b) R 1 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0") == 10
