"""Each fault of a machine or an installation is seen, and comes with what to do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ovconvert import doctor
from ovconvert.doctor import FAULT, GIB, OK, WARN, Requirement
from ovconvert.errors import EnvironmentFault
from ovconvert.machine import Machine

GOOD = Machine("cpu", ("sse4_2", "avx2"), 4, 4, 0.0, 32 * GIB, 30 * GIB, 0.1, "performance", "Linux", "3.11.7")


def test_a_good_machine_is_ok() -> None:
    checks = (doctor.check_isa(GOOD), doctor.check_cores(GOOD), doctor.check_memory(GOOD))
    assert {check.verdict for check in checks} == {OK}


@pytest.mark.parametrize(
    ("check", "change", "verdict"),
    [
        (doctor.check_isa, {"isa": ("avx2",)}, FAULT),
        (doctor.check_isa, {"isa": ("sse4_2",)}, WARN),
        (doctor.check_isa, {"isa": ()}, WARN),
        (doctor.check_cores, {"quota_cores": 1.5}, WARN),
        (doctor.check_cores, {"quota_cores": 8.0}, OK),
        (doctor.check_cores, {"load": 9.0}, WARN),
        (doctor.check_memory, {"available_bytes": GIB // 2}, FAULT),
        (doctor.check_memory, {"available_bytes": 2 * GIB}, WARN),
        (doctor.check_memory, {"available_bytes": 5 * GIB}, WARN),
        (doctor.check_memory, {"memory_bytes": 0}, WARN),
    ],
)
def test_faults_of_the_machine(check: object, change: dict[str, object], verdict: str) -> None:
    found = check(dataclasses.replace(GOOD, **change))  # type: ignore[operator,arg-type]
    assert found.verdict == verdict
    assert found.advice or verdict == OK


@pytest.mark.parametrize(("free", "verdict"), [(GIB // 2, FAULT), (5 * GIB, WARN), (50 * GIB, OK)])
def test_disk(free: int, verdict: str) -> None:
    assert doctor.check_disk(free, Path("/data")).verdict == verdict


@pytest.mark.parametrize(("version", "verdict"), [((3, 10, 1), FAULT), ((3, 11, 0), OK), ((3, 12, 0), WARN)])
def test_python(version: tuple[int, ...], verdict: str) -> None:
    assert doctor.check_python(version).verdict == verdict


def test_requirements_are_read_from_metadata() -> None:
    lines = [
        "numpy<2.5,>=2.1",
        'torch<2.14,>=2.13; extra == "convert"',
        "ovconvert[convert]; extra == 'dev'",
        "textsearch (>=0.0.21)",
        "bare",
    ]
    assert doctor.parse_requirements(lines) == (
        Requirement("numpy", "<2.5,>=2.1"),
        Requirement("torch", "<2.14,>=2.13", "convert"),
        Requirement("textsearch", ">=0.0.21"),
        Requirement("bare", ""),
    )


NEEDS = (
    Requirement("numpy", ">=2.1,<2.5"),
    Requirement("torch", ">=2.13,<2.14", "convert"),
    Requirement("onnx", ">=1.22,<2", "convert"),
)


@pytest.mark.parametrize(
    ("versions", "verdicts"),
    [
        ({"numpy": "2.4.6"}, {"numpy": OK, "extra convert": OK}),
        ({}, {"numpy": FAULT, "extra convert": OK}),
        ({"numpy": "2.5.0"}, {"numpy": FAULT, "extra convert": OK}),
        ({"numpy": "2.4", "torch": "2.13.0+cpu"}, {"numpy": OK, "extra convert": WARN}),
        ({"numpy": "2.4", "torch": "2.13.0+cpu", "onnx": "1.23"}, {"numpy": OK, "extra convert": OK}),
        ({"numpy": "2.4", "torch": "2.15.0", "onnx": "1.23"}, {"numpy": OK, "torch": FAULT}),
    ],
)
def test_faults_of_the_installation(versions: dict[str, str], verdicts: dict[str, str]) -> None:
    checks = doctor.check_distributions(NEEDS, versions.get)
    assert {check.name: check.verdict for check in checks} == verdicts
    assert all(check.advice for check in checks if check.verdict != OK)


def test_no_metadata_is_a_fault() -> None:
    assert doctor.check_distributions((), {}.get)[0].verdict == FAULT


@pytest.mark.parametrize(
    ("version", "bounds", "kept"),
    [
        ("2.13.0+cpu", ">=2.13,<2.14", True),
        ("2.13", "==2.13.0", True),
        ("2026.4.1", ">=2026.4,<2027", True),
        ("1.0rc1", "!=1.0", False),
        ("0.10", ">0.9,<=0.10.0", True),
        ("3", "", True),
    ],
)
def test_bounds(version: str, bounds: str, kept: bool) -> None:
    assert doctor.within(version, bounds) is kept


def test_faults_are_raised_all_at_once_and_warnings_are_not() -> None:
    warning = doctor.check_cores(dataclasses.replace(GOOD, load=9.0))
    doctor.refuse_faults((warning,))
    faults = doctor.check_distributions((Requirement("a", ">=1"), Requirement("b", ">=1")), {}.get)
    with pytest.raises(EnvironmentFault, match=r"(?s)a: missing.*b: missing"):
        doctor.refuse_faults((warning, *faults))


def test_this_installation_is_examined() -> None:
    checks = doctor.examine()
    assert {"Python", "cores", "memory", "disk"} <= {check.name for check in checks}
    assert len(json.loads(doctor.to_json(checks))) == len(checks)
    assert "what to do" in doctor.to_text(checks)
