"""What this process spends, whoever else uses the machine: CPU time of all its threads, and instructions where counted.

Wall time counts what others take; CPU time does not, though a busy machine still slows caches and memory; instructions do
not even feel that. The processor counts them, and the system hands them out (perf_event_open(2)) on bare metal and on
virtual machines with a counter unit. Hosted CI runners have none, and nothing is said of instructions there.

A thread that waits in a loop for others spends both. Measure on one thread to count the work alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import time
from dataclasses import dataclass

SYSCALL = {"x86_64": 298, "aarch64": 241}  # perf_event_open
INSTRUCTIONS = (0, 1)  # PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS
ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")  # perf_event_attr as first published, 64 bytes; later fields are 0 by its rule
TIMES = 0b11  # read_format: also how long the counter was wanted and how long it ran
INHERIT, NO_KERNEL, NO_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6


@dataclass(frozen=True)
class Spent:
    """CPU seconds and instructions in user space since some start; None where they are not counted."""

    cpu_seconds: float
    instructions: float | None = None

    def since(self, before: Spent) -> Spent:
        """Return what was spent between two moments of one process."""
        if self.instructions is None or before.instructions is None:
            return Spent(self.cpu_seconds - before.cpu_seconds)
        instructions = self.instructions - before.instructions
        return Spent(self.cpu_seconds - before.cpu_seconds, instructions)


class Effort:
    """Tells what this process has spent. Make it before the engine: a thread is counted with the one that made it."""

    def __init__(self, event: tuple[int, int] = INSTRUCTIONS) -> None:
        self._counters = open_counters(event)

    def now(self) -> Spent:
        """Return what was spent so far."""
        return Spent(time.process_time(), sum(map(count, self._counters)) if self._counters else None)


def open_counters(event: tuple[int, int]) -> tuple[int, ...]:
    """Return a descriptor per thread of this process that counts `event` (type, config) in it and in those it will make.

    None at all if the system lets us count in none.
    """
    number = SYSCALL.get(platform.machine())
    if number is None or not os.path.isdir("/proc/self/task"):
        return ()
    flags = INHERIT | NO_KERNEL | NO_HYPERVISOR
    attributes = ATTRIBUTES.pack(event[0], ATTRIBUTES.size, event[1], 0, 0, TIMES, flags, 0, 0, 0)
    call = ctypes.CDLL(None, use_errno=True).syscall
    opened: list[int] = []
    for thread in map(int, os.listdir("/proc/self/task")):
        descriptor = call(number, attributes, thread, -1, -1, 0)
        if descriptor < 0:
            for other in opened:
                with contextlib.suppress(OSError):
                    os.close(other)
            return ()
        opened.append(descriptor)
    return tuple(opened)


def count(descriptor: int) -> float:
    """Return the count of a descriptor, scaled to all the time where it had to share the counter with others."""
    value, wanted, ran = struct.unpack("=QQQ", os.read(descriptor, 24))
    return float(value) * wanted / ran if ran else 0.0
