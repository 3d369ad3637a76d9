"""What else the machine did while something was measured: the CPU time of others, stolen and throttled time, clock rate.

Counters of the kernel are read before and after (`look`), and what lies between two looks is judged (`between`,
`complaints`). Each reader takes the text of a file, so that a test can hand in a machine that it does not own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovconvert.machine import CPUINFO, LOADAVG, Reader, cgroup_file, read_text

STAT = Path("/proc/stat")
BUSY = (0, 1, 2, 5, 6)  # columns of /proc/stat: user, nice, system, irq, softirq; guests are counted in the first two
STEAL = 7
OWN = (11, 12, 13, 14)  # columns of /proc/PID/stat behind the name: user and system time, own and of ended children

FOREIGN_SHARE = 0.03  # of the usable cores: below it a run was called quiet when the machine's limits were measured
STEAL_SHARE = 0.01
SLOWER_CLOCK = 0.9  # of the clock rate at the start


@dataclass(frozen=True)
class Moment:
    """The counters at one moment: seconds since some start, clock rate in MHz; 0 where the system does not tell."""

    seconds: float  # wall time
    busy_seconds: float  # CPU time of all processes
    own_seconds: float  # CPU time of the measuring processes
    steal_seconds: float  # CPU time that the hypervisor gave to other machines
    throttled_seconds: float  # in which the container's quota kept us waiting
    mhz: float
    load: float


@dataclass(frozen=True)
class Spell:
    """What happened between two moments, per second of wall time; the clock rate at the end over that at the start."""

    foreign_cores: float
    steal_cores: float
    throttled_share: float
    clock_ratio: float


def look(
    pids: Iterable[int], read: Reader = read_text, clock: Callable[[], float] = time.monotonic, tick: float | None = None
) -> Moment:
    """Return the counters now. `pids` are the processes that measure; `tick` is the unit of the kernel's CPU times."""
    tick = tick or 1.0 / os.sysconf("SC_CLK_TCK")
    busy, steal = parse_stat(read(STAT))
    own = sum(parse_process(read(Path(f"/proc/{pid}/stat"))) for pid in pids)
    membership = read(Path("/proc/self/cgroup"))
    return Moment(
        seconds=clock(),
        busy_seconds=busy * tick,
        own_seconds=own * tick,
        steal_seconds=steal * tick,
        throttled_seconds=throttled_seconds(membership, read),
        mhz=parse_mhz(read(CPUINFO)),
        load=float((read(LOADAVG).split() or ["0"])[0]),
    )


def parse_stat(text: str) -> tuple[int, int]:
    """Return (busy, stolen) ticks of all cores since the system started, from the text of /proc/stat."""
    for line in text.splitlines():
        if line.startswith("cpu "):
            columns = [*map(int, line.split()[1:]), *[0] * STEAL]
            return sum(columns[number] for number in BUSY), columns[STEAL]
    return 0, 0


def parse_process(text: str) -> int:
    """Return the ticks that a process and its ended children used, from the text of /proc/PID/stat; 0 if it is gone."""
    columns = text.rpartition(")")[2].split()  # the name before it may hold spaces
    return sum(int(columns[number]) for number in OWN) if len(columns) > OWN[-1] else 0


def throttled_seconds(membership: str, read: Reader = read_text) -> float:
    """Return how long the quota of the container has kept its threads waiting. Reads cgroup v2, then v1."""
    text = cgroup_file("cpu.stat", "", membership, read) or cgroup_file("cpu.stat", "cpu", membership, read)
    counters: Mapping[str, str] = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2)
    if "throttled_usec" in counters:
        return int(counters["throttled_usec"]) / 1e6
    return int(counters.get("throttled_time", 0)) / 1e9


def parse_mhz(text: str) -> float:
    """Return the mean clock rate of the cores in MHz from the text of /proc/cpuinfo, 0 where it does not tell."""
    rates = [float(line.split(":", 1)[1]) for line in text.splitlines() if line.startswith("cpu MHz")]
    return sum(rates) / len(rates) if rates else 0.0


def between(before: Moment, after: Moment) -> Spell:
    """Return what happened from one moment to the other."""
    wall = max(after.seconds - before.seconds, 1e-9)
    foreign = (after.busy_seconds - before.busy_seconds) - (after.own_seconds - before.own_seconds)
    return Spell(
        foreign_cores=max(foreign, 0.0) / wall,
        steal_cores=max(after.steal_seconds - before.steal_seconds, 0.0) / wall,
        throttled_share=max(after.throttled_seconds - before.throttled_seconds, 0.0) / wall,
        clock_ratio=after.mhz / before.mhz if before.mhz else 1.0,
    )


def complaints(spells: Sequence[Spell], cores: int, what: str = "rounds") -> tuple[str, ...]:
    """Return in sentences what disturbed the `spells` of a measurement on `cores` cores; nothing if it was quiet."""
    checks = (
        ("other processes used", "cores", [spell.foreign_cores for spell in spells], FOREIGN_SHARE * cores),
        ("the hypervisor took away", "cores", [spell.steal_cores for spell in spells], STEAL_SHARE * cores),
        ("the container's quota made threads wait for", "of the time", [spell.throttled_share for spell in spells], 0.0),
    )
    found = []
    for action, unit, values, bound in checks:
        above = [value for value in values if value > bound]
        if above:
            found.append(
                f"in {len(above)} of {len(spells)} {what} {action} up to {max(above):.2f} {unit} ({bound:.2f} allowed)"
            )
    slower = [spell.clock_ratio for spell in spells if spell.clock_ratio < SLOWER_CLOCK]
    if slower:
        found.append(f"in {len(slower)} of {len(spells)} {what} the clock rate fell to {min(slower):.0%} of that before")
    return tuple(found)
