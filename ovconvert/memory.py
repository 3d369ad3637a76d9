"""Resident memory of this process, as the kernel counts it: its peak, and its share of what is shared."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

STATUS = Path("/proc/self/status")
ROLLUP = Path("/proc/self/smaps_rollup")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): resets the peak resident set size to the current one


def give_back() -> None:
    """Give free memory back to the system, where the C library can."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or another C library
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    """Give free memory back to the system and start the measurement of `peak_bytes` anew."""
    give_back()
    with contextlib.suppress(OSError):  # not Linux: the peak is then the process's
        CLEAR_REFS.write_text(RESET_PEAK)


def peak_bytes() -> int | None:
    """Return the largest resident size since `reset_peak`, memory-mapped files included; None where unknown."""
    if not STATUS.is_file():
        return None
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def proportional_bytes() -> int | None:
    """Return the resident size now, pages shared with other processes counted in part (PSS); None where unknown."""
    try:
        text = ROLLUP.read_text()
    except OSError:
        return None
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")) or None
