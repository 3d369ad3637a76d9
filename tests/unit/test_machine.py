"""The machine is read from texts, so other machines than this one can be handed in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ovconvert import machine

CPUINFO = """processor\t: 0
model name\t: Test CPU @ 2.0GHz
flags\t\t: fpu sse4_2 avx avx2 fma amx_int8

processor\t: 1
model name\t: Other
flags\t\t: fpu
"""


def reader(files: dict[str, str]) -> Callable[[Path], str]:
    return lambda path: files.get(str(path), "")


def test_cpuinfo() -> None:
    name, flags = machine.parse_cpuinfo(CPUINFO)
    assert name == "Test CPU @ 2.0GHz"
    assert "amx_int8" in flags


def test_meminfo() -> None:
    assert machine.parse_meminfo("MemTotal:  1024 kB\nHugePages_Total: 0\n")["MemTotal"] == 2**20


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/", {"/sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"/sys/fs/cgroup/cpu.max": "max 100000"}, 0.0),
        ("0::/a/b", {"/sys/fs/cgroup/a/b/cpu.max": "200000 100000", "/sys/fs/cgroup/cpu.max": "max 1"}, 2.0),
        (
            "4:cpu,cpuacct:/x\n",
            {"/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000", "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        (
            "4:cpu:/",
            {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            0.0,
        ),
        ("", {}, 0.0),
    ],
)
def test_quota_of_both_cgroup_versions(membership: str, files: dict[str, str], cores: float) -> None:
    assert machine.quota_cores(membership, reader(files)) == cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"/sys/fs/cgroup/memory.max": "1073741824"}, 2**30),
        ({"/sys/fs/cgroup/memory.max": "max"}, 0),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912"}, 2**29),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 0),
        ({}, 0),
    ],
)
def test_memory_limit_of_both_cgroup_versions(files: dict[str, str], limit: int) -> None:
    assert machine.memory_limit("0::/\n3:memory:/", reader(files)) == limit


def test_a_limit_of_the_container_counts() -> None:
    files = {
        "/proc/cpuinfo": CPUINFO,
        "/proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB",
        "/proc/self/cgroup": "0::/",
        "/sys/fs/cgroup/memory.max": str(2**30),
        "/sys/fs/cgroup/memory.current": str(2**29),
    }
    found = machine.describe(reader(files), versions={})
    assert (found.memory_bytes, found.available_bytes) == (2**30, 2**29)
    assert found.isa == ("sse4_2", "avx", "avx2", "fma", "amx_int8")


def test_a_machine_that_tells_nothing_is_described_too() -> None:
    found = machine.describe(reader({}), versions={})
    assert found.memory_bytes == 0
    assert found.usable_cores >= 1


@pytest.mark.parametrize(
    ("text", "tunables", "told"),
    [
        ("[always] madvise never", "", "always"),
        ("always [madvise] never", "", "madvise, not asked for"),
        ("always [madvise] never", "glibc.malloc.hugetlb=0", "madvise, not asked for"),
        ("always [madvise] never", "glibc.malloc.check=1:glibc.malloc.hugetlb=1", "madvise, asked for"),
        ("always madvise [never]", "glibc.malloc.hugetlb=1", "never"),
        ("", "", ""),
    ],
)
def test_who_gets_huge_pages(text: str, tunables: str, told: str) -> None:
    assert machine.huge_pages(text, {"GLIBC_TUNABLES": tunables}) == told


def test_this_machine() -> None:
    found = machine.describe()
    assert found.versions["numpy"]
    assert machine.free_bytes(Path("/nowhere/at/all")) > 0
