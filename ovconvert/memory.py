"""Resident memory of this process: given back to the system, and counted as the kernel does."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Collection
from pathlib import Path

STATUS = Path("/proc/self/status")
ROLLUP = Path("/proc/self/smaps_rollup")
CLEAR_REFS = Path("/proc/self/clear_refs")
MAPS = Path("/proc/self/maps")
DONT_NEED = 4  # madvise(2): pages of a mapping that is only read come back from the file when they are read again
RESET_PEAK = "5"  # proc(5): resets the peak resident set size to the current one


def give_back() -> None:
    """Give free memory back to the system, where the C library can."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or another C library
        ctypes.CDLL(None).malloc_trim(0)


def drop_mapped(files: Collection[Path]) -> int:
    """Take the pages of memory-mapped `files` out of this process, and return the bytes of those mappings.

    For weights that an engine has packed in a form of its own: the file stays mapped, and what is read again comes back.
    Mappings that can be written to are left alone. Returns 0 where the system does not say what is mapped.
    """
    names = {str(path.resolve()) for path in files}
    try:
        lines, advise = MAPS.read_text().splitlines(), ctypes.CDLL(None).madvise
    except (OSError, AttributeError):  # not Linux
        return 0
    dropped = 0
    for line in lines:
        fields = line.split(maxsplit=5)  # range, permissions, offset, device, inode, path
        if len(fields) == 6 and fields[5] in names and "w" not in fields[1]:
            start, end = (int(number, 16) for number in fields[0].split("-"))
            if advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), DONT_NEED) == 0:
                dropped += end - start
    return dropped


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
