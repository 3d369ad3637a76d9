"""What a process keeps of the files that it has mapped."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from ovconvert import memory

MEGABYTE = 2**20
SMAPS = Path("/proc/self/smaps")

pytestmark = pytest.mark.skipif(not SMAPS.is_file(), reason="the system does not say what is mapped")


def resident_bytes(path: Path) -> int:
    """Return how much of a mapped file is in this process."""
    total, counts = 0, False
    for line in SMAPS.read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            counts = line.endswith(str(path.resolve()))
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def mapped(path: Path, access: int = mmap.ACCESS_READ) -> mmap.mmap:
    """Map a file of a megabyte and read all of it."""
    path.write_bytes(bytes(range(256)) * (MEGABYTE // 256))
    with path.open("r+b") as file:
        region = mmap.mmap(file.fileno(), 0, access=access)
    assert sum(region[::4096]) == 0 and resident_bytes(path) == MEGABYTE
    return region


def test_a_mapped_file_leaves_the_process_and_comes_back_when_it_is_read(tmp_path: Path) -> None:
    named, other = tmp_path / "weights of a layer.bin", tmp_path / "other.bin"
    region, kept = mapped(named), mapped(other)
    assert memory.drop_mapped([named]) == MEGABYTE
    assert (resident_bytes(named), resident_bytes(other)) == (0, MEGABYTE)
    assert region[:256] == bytes(range(256)) and 0 < resident_bytes(named) <= MEGABYTE
    assert kept[:256] == region[:256]


def test_what_can_be_written_to_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    region = mapped(path, mmap.ACCESS_COPY)
    region[0] = 7
    assert memory.drop_mapped([path]) == 0
    assert region[0] == 7 and resident_bytes(path) == MEGABYTE
