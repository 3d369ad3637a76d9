"""What this machine is: processor, quota, memory and disk, read from the files in which Linux tells it.

Each reader takes the text of a file, so that a test can hand in a machine that it does not own.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
LOADAVG = Path("/proc/loadavg")
CGROUP = Path("/sys/fs/cgroup")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
ASKED = "glibc.malloc.hugetlb=1"  # in GLIBC_TUNABLES: glibc 2.35 or newer asks for all that it allocates
ISA = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
)
NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2**63 where v2 writes "max"
REPORTED = ("openvino", "numpy", "torch", "onnx", "onnxsim", "nncf", "onnxruntime", "transformers")

Reader = Callable[[Path], str]  # the text of a file, "" where there is none


@dataclass(frozen=True)
class Machine:
    """A machine as reports state it. Zero and "" mean that the machine does not tell."""

    processor: str
    isa: tuple[str, ...]
    cores: int  # that the system has
    usable_cores: int  # that this process may be scheduled on
    quota_cores: float  # CPU time the container may use per second of wall time; 0: no quota
    memory_bytes: int  # of the machine, or of the container where that is less
    available_bytes: int
    load: float  # runnable processes, average of the last minute
    governor: str
    system: str
    python: str
    versions: dict[str, str] = field(default_factory=dict)
    huge_pages: str = ""  # who gets pages of 2 MB: always, madvise (who asks, and whether we do), never


def read_text(path: Path) -> str:
    """Return the text of `path`, "" where it does not exist or may not be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Return (name of the processor, all of its flags) from the text of /proc/cpuinfo."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    found: dict[str, str] = {}
    for key, value in pairs:
        found.setdefault(key.strip(), value.strip())
    name = found.get("model name") or found.get("Processor") or platform.machine()
    return name, tuple((found.get("flags") or found.get("Features") or "").split())


def parse_meminfo(text: str) -> dict[str, int]:
    """Return {field: bytes} from the text of /proc/meminfo."""
    rows = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): int(value.split()[0]) * 1024 for key, value in rows if value.split()[:1]}


def cgroup_file(name: str, controller: str, membership: str, read: Reader, root: Path = CGROUP) -> str:
    """Return the text of a cgroup file: of the process's own group, else of the root that a container sees.

    `controller` is "" for cgroup v2; `membership` is the text of /proc/self/cgroup.
    """
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            text = read(root / controller / path.lstrip("/") / name)
            if text:
                return text
    return read(root / controller / name)


def huge_pages(text: str, environment: Mapping[str, str]) -> str:
    """Return who gets huge pages, by the system's text with the choice in brackets, and whether this process asks; or ""."""
    mode = text.partition("[")[2].partition("]")[0]
    if mode != "madvise":
        return mode
    asks = ASKED in environment.get("GLIBC_TUNABLES", "").split(":")
    return f"{mode}, {'asked for' if asks else 'not asked for'}"


def quota_cores(membership: str, read: Reader = read_text) -> float:
    """Return the CPU quota of the container in cores, 0.0 where there is none. Reads cgroup v2, then v1."""
    parts = cgroup_file("cpu.max", "", membership, read).split()
    if len(parts) == 2:
        return 0.0 if parts[0] == "max" else int(parts[0]) / int(parts[1])
    quota = cgroup_file("cpu.cfs_quota_us", "cpu", membership, read)
    period = cgroup_file("cpu.cfs_period_us", "cpu", membership, read)
    return int(quota) / int(period) if quota and period and int(quota) > 0 else 0.0


def memory_limit(membership: str, read: Reader = read_text) -> int:
    """Return the memory limit of the container in bytes, 0 where there is none. Reads cgroup v2, then v1."""
    text = cgroup_file("memory.max", "", membership, read)
    text = text or cgroup_file("memory.limit_in_bytes", "memory", membership, read)
    limit = int(text) if text.isdigit() else 0
    return 0 if limit >= NO_LIMIT else limit


def memory_used(membership: str, read: Reader = read_text) -> int:
    """Return the memory that the container uses, in bytes, 0 where it does not tell."""
    text = cgroup_file("memory.current", "", membership, read)
    text = text or cgroup_file("memory.usage_in_bytes", "memory", membership, read)
    return int(text) if text.isdigit() else 0


def installed(names: tuple[str, ...] = REPORTED) -> dict[str, str]:
    """Return {package: version} of those of `names` that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def free_bytes(path: Path) -> int:
    """Return the free disk space, in bytes, where `path` is or would be."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def describe(read: Reader = read_text, versions: Mapping[str, str] | None = None) -> Machine:
    """Return the machine that this process runs on."""
    processor, flags = parse_cpuinfo(read(CPUINFO))
    memory = parse_meminfo(read(MEMINFO))
    membership = read(Path("/proc/self/cgroup"))
    limit = memory_limit(membership, read)
    total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    if limit:
        available = max(0, min(available, limit - memory_used(membership, read)))
    cores = os.cpu_count() or 1
    return Machine(
        processor=processor,
        isa=tuple(flag for flag in ISA if flag in flags),
        cores=cores,
        usable_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        quota_cores=quota_cores(membership, read),
        memory_bytes=min(total, limit) if limit else total,
        available_bytes=available,
        load=float((read(LOADAVG).split() or ["0"])[0]),
        governor=read(GOVERNOR),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=dict(installed() if versions is None else versions),
        huge_pages=huge_pages(read(HUGE_PAGES), os.environ),
    )
