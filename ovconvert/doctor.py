"""Checks the machine and the installation, and says what to do about each fault.

The checks are functions of what was read, so that tests can hand in machines and installations that are not here.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ovconvert.errors import EnvironmentFault, listing
from ovconvert.machine import Machine, describe, free_bytes
from ovconvert.screen import draw

OK, WARN, FAULT = "ok", "warn", "fault"
DISTRIBUTION = "ovconvert"
PYTHON = (3, 11)
GIB = 2**30
SPEAK_MEMORY, CONVERT_MEMORY = 4 * GIB, 10 * GIB  # below the second, a full-size export may be killed
SPEAK_DISK, CONVERT_DISK = 1 * GIB, 20 * GIB
REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*\(?(?P<bounds>[^;)]*)\)?\s*(;(?P<marker>.*))?$")
EXTRA = re.compile(r"""extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")

Versions = Callable[[str], str | None]  # the installed version of a distribution, None where it is absent


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, whether that is ok, and what to do if it is not."""

    name: str
    verdict: str
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Requirement:
    """A distribution that ours needs, with bounds as in `>=1,<2`, for an extra or, if that is "", always."""

    name: str
    bounds: str
    extra: str = ""


def examine() -> tuple[Check, ...]:
    """Return all checks of this machine and installation."""
    try:
        needs = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        needs = []
    machine = describe()
    return (
        check_python(sys.version_info[:3]),
        check_isa(machine),
        check_cores(machine),
        check_memory(machine),
        check_disk(free_bytes(Path.cwd()), Path.cwd()),
        *check_distributions(parse_requirements(needs), version_of),
    )


def version_of(name: str) -> str | None:
    """Return the installed version of a distribution, None if it is absent."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python(version: tuple[int, ...]) -> Check:
    """Check the version of Python."""
    found = ".".join(map(str, version))
    if version[:2] < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        return Check("Python", FAULT, found, f"make the virtual environment with Python {wanted} or newer")
    if version[:2] > PYTHON:
        return Check("Python", WARN, found, "only 3.11 is tested; constraints.txt holds versions for it")
    return Check("Python", OK, found)


def check_isa(machine: Machine) -> Check:
    """Check the instruction sets: AVX2 is the least that gives useful speed; without SSE4.2 OpenVINO does not start."""
    found = " ".join(machine.isa) or "none known"
    if not machine.isa:
        return Check("instruction sets", WARN, found, "not an x86-64 processor as tested; expect surprises")
    if "sse4_2" not in machine.isa:
        return Check("instruction sets", FAULT, found, "OpenVINO needs SSE4.2: run on another machine")
    if "avx2" not in machine.isa:
        advice = "without AVX2 speech is slow; in a virtual machine, pass the host's processor through"
        return Check("instruction sets", WARN, found, advice)
    return Check("instruction sets", OK, found)


def check_cores(machine: Machine) -> Check:
    """Check that threads match the CPU time there is: OpenVINO counts cores, not the quota of a container."""
    found = f"{machine.usable_cores} usable of {machine.cores}"
    if machine.quota_cores:
        found += f", quota {machine.quota_cores:g}"
    if machine.quota_cores and machine.quota_cores < machine.usable_cores:
        threads = max(1, int(machine.quota_cores))
        advice = f"the container is throttled below its cores: give --threads {threads}, or raise the quota"
        return Check("cores", WARN, found, advice)
    if machine.load > machine.usable_cores:
        advice = f"load {machine.load:g}: others use the machine, so times measured now mean little"
        return Check("cores", WARN, found, advice)
    return Check("cores", OK, found)


def check_memory(machine: Machine) -> Check:
    """Check the memory: that of the container where it has a limit."""
    found = f"{machine.available_bytes / GIB:.1f} GiB available of {machine.memory_bytes / GIB:.1f}"
    if not machine.memory_bytes:
        return Check("memory", WARN, "unknown", "the system does not tell its memory")
    if machine.available_bytes < SPEAK_MEMORY // 4:
        return Check("memory", FAULT, found, "close other programs or raise the container's limit")
    if machine.available_bytes < SPEAK_MEMORY:
        return Check("memory", WARN, found, "enough for tiny models; full-size models may be killed")
    if machine.available_bytes < CONVERT_MEMORY:
        return Check("memory", WARN, found, f"exporting a full-size model wants {CONVERT_MEMORY // GIB} GiB")
    return Check("memory", OK, found)


def check_disk(free: int, where: Path) -> Check:
    """Check the free disk space, in bytes, at `where`."""
    found = f"{free / GIB:.1f} GiB free at {where}"
    if free < SPEAK_DISK:
        return Check("disk", FAULT, found, "make room, or work in a directory on another disk")
    if free < CONVERT_DISK:
        return Check("disk", WARN, found, f"exporting a full-size model wants {CONVERT_DISK // GIB} GiB")
    return Check("disk", OK, found)


def parse_requirements(lines: Iterable[str]) -> tuple[Requirement, ...]:
    """Return the requirements that a distribution's metadata declares, those on itself left out."""
    found = []
    for line in lines:
        match = REQUIREMENT.match(line.strip())
        if match is None or match["name"].lower() == DISTRIBUTION:
            continue
        extra = EXTRA.search(match["marker"] or "")
        found.append(Requirement(match["name"], match["bounds"].strip(), extra["extra"] if extra else ""))
    return tuple(found)


def check_distributions(requirements: tuple[Requirement, ...], version: Versions) -> tuple[Check, ...]:
    """Check that what the deployment install needs is there, and whether each extra is whole."""
    if not requirements:
        advice = "install it: pip install -c constraints.txt -e ."
        return (Check(DISTRIBUTION, FAULT, "not installed as a distribution", advice),)
    checks = [check_distribution(need, version(need.name)) for need in requirements if not need.extra]
    extras = dict.fromkeys(need.extra for need in requirements if need.extra)
    for extra in extras:
        checks += check_extra(extra, [need for need in requirements if need.extra == extra], version)
    return tuple(checks)


def check_distribution(need: Requirement, found: str | None) -> Check:
    """Check one distribution against its bounds."""
    wanted = f"{need.name}{need.bounds}"
    if found is None:
        return Check(need.name, FAULT, "missing", f"pip install -c constraints.txt '{wanted}'")
    if not within(found, need.bounds):
        return Check(need.name, FAULT, found, f"outside of {need.bounds}: pip install -c constraints.txt '{wanted}'")
    return Check(need.name, OK, found)


def check_extra(extra: str, needs: list[Requirement], version: Versions) -> list[Check]:
    """Check an extra: absent as a whole is fine, wrong versions and halves are told one by one."""
    found = {need: version(need.name) for need in needs}
    missing = [need.name for need, there in found.items() if there is None]
    install = f"pip install -c constraints.txt -e '.[{extra}]'"
    if len(missing) == len(needs):
        return [Check(f"extra {extra}", OK, "not installed", f"if wanted: {install}")]
    wrong = [check_distribution(need, there) for need, there in found.items() if there is not None]
    wrong = [check for check in wrong if check.verdict != OK]
    if missing:
        return [Check(f"extra {extra}", WARN, f"without {', '.join(missing)}", install), *wrong]
    return wrong or [Check(f"extra {extra}", OK, ", ".join(f"{need.name} {there}" for need, there in found.items()))]


COMPARE: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


def within(version: str, bounds: str) -> bool:
    """Tell whether `version` keeps bounds such as `>=1.2,<2`; local and pre-release marks are not looked at."""
    have = release(version)
    for bound in filter(None, (part.strip() for part in bounds.split(","))):
        match = re.match(r"(>=|<=|==|!=|>|<)\s*(.+)", bound)
        if match is None:
            raise ValueError(f"bound {bound!r} is not of the kind this project declares")
        limit = release(match[2])
        width = max(len(have), len(limit))
        if not COMPARE[match[1]](have + (0,) * (width - len(have)), limit + (0,) * (width - len(limit))):
            return False
    return True


def release(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: (2, 13, 0) of 2.13.0+cpu."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def refuse_faults(checks: tuple[Check, ...]) -> None:
    """Raise EnvironmentFault with every fault and what to do about it."""
    faults = [f"{check.name}: {check.found}; {check.advice}" for check in checks if check.verdict == FAULT]
    if faults:
        raise EnvironmentFault(listing(f"{len(faults)} of {len(checks)} checks found a fault:", faults))


def to_json(checks: tuple[Check, ...]) -> str:
    """Return the checks as JSON."""
    return msgspec.json.format(msgspec.json.encode(checks), indent=2).decode()


def to_text(checks: tuple[Check, ...]) -> str:
    """Return the checks as a table."""
    from rich.table import Table

    table = Table("check", "verdict", "found", "what to do")
    for check in checks:
        table.add_row(check.name, check.verdict, check.found, check.advice)
    return draw(table)
