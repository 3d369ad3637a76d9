"""A request leaves settings open; what is given holds before what the package says, and that before the original's."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from ovconvert import fields as options
from ovconvert import recipe, speak
from ovconvert.errors import UsageError
from ovconvert.options import left_open, option
from ovconvert.runtime import Request
from ovconvert.runtime.request import DECIDED, PROFILES, RANGES, WORDS, Defaults, Resolved

PACKAGE = {"num_beams": 1, "repetition_penalty": 1.0, "do_sample": False, "segment_tokens": 24}
ORIGINAL = {field.name: field.default for field in fields(Defaults)}


@pytest.mark.parametrize(
    ("given", "package", "expected"),
    [
        ({}, {}, ORIGINAL),
        ({}, PACKAGE, ORIGINAL | PACKAGE),
        ({"num_beams": 2}, PACKAGE, ORIGINAL | PACKAGE | {"num_beams": 2}),
        (ORIGINAL, PACKAGE, ORIGINAL),  # a value that is given holds, also where it is the original's
        (
            {"guidance": 0.0, "silence_ms": 0},
            {"guidance": 0.5, "silence_ms": 9},
            ORIGINAL | {"guidance": 0, "silence_ms": 0},
        ),
    ],
)
def test_given_before_the_packages_before_the_originals(
    given: dict[str, Any], package: dict[str, Any], expected: dict[str, Any]
) -> None:
    resolved = Request(seed=5, **given).resolved(package)
    assert {name: getattr(resolved, name) for name in DECIDED} == expected
    assert resolved.seed == 5
    assert resolved.resolved({"num_beams": 9}) == resolved


def test_a_package_decides_no_more_than_it_may() -> None:
    assert Request().resolved({"seed": 3, "speed": 2.0, "unheard_of": 1}) == Resolved()


def test_options_of_the_command_resolve_to_a_plain_request() -> None:
    resolved = speak.Options(text="Hello.", steps=3).resolved(PACKAGE)
    assert type(resolved) is Resolved
    assert (resolved.steps, resolved.num_beams) == (3, 1)


def test_ranges_hold_for_what_the_package_says_too() -> None:
    with pytest.raises(UsageError, match="num_beams is 99; allowed: 1 to 10"):
        Request().resolved({"num_beams": 99})
    assert Request(num_beams=2).resolved({"num_beams": 99}).num_beams == 2


def undeclared(request: type) -> list[str]:
    """Return what a package may decide without a request leaving it open, or without the help telling the original's."""
    declared = {field.name: field for field in options.read(request)}
    shown = ORIGINAL | {"do_sample": "yes", "guidance_interval": "0.0,1.0"}
    return [
        name
        for name in ORIGINAL
        if name not in declared
        or declared[name].default is not None
        or not declared[name].help.endswith(f"(default: the package's, else {shown[name]}).")
    ]


def test_all_that_a_package_may_decide_is_open_and_tells_the_originals() -> None:
    assert undeclared(Request) == []
    checked = {name for name, _, _ in RANGES} | set(WORDS) | {"guidance_interval"}
    assert {name for name, value in ORIGINAL.items() if not isinstance(value, bool)} <= checked


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"solver": "rk4"}, "solver is 'rk4'; allowed: euler, midpoint, ab2, dpm"),
        ({"latents": "third-pass"}, "latents is 'third-pass'; allowed: second-pass, step"),
        ({"guidance_interval": (0.5,)}, "guidance_interval is .0.5.; allowed: two times from 0 to 1"),
        ({"guidance_interval": (0.6, 0.2)}, "guidance_interval"),
        ({"profile": "slow"}, "profile is 'slow'; allowed: exact, fast"),
        ({"sway": -1.5}, "sway is -1.5; allowed: -1.0 to 1.0"),
    ],
)
def test_what_the_solver_cannot_be_told(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Request(**given)


def test_a_profile_holds_before_the_package_and_after_what_is_given() -> None:
    fast = Request(profile="fast", steps=3).resolved(PACKAGE | {"steps": 10, "solver": "midpoint"})
    assert (fast.num_beams, fast.steps, fast.solver) == (1, 3, PROFILES["fast"]["solver"])
    assert fast.repetition_penalty == PACKAGE["repetition_penalty"]  # of which the profile says nothing
    assert Request().resolved({"solver": "midpoint"}).solver == "midpoint"
    assert set(PROFILES["fast"]) <= DECIDED


def test_the_guard_can_fail() -> None:
    @dataclass(frozen=True)
    class Wrong(Request):
        steps: int = option(25, "Steps of the solver (default: the package's, else 25).")
        num_beams: int | None = left_open(4, "Beams")

    assert undeclared(Wrong) == ["num_beams", "steps"]


def test_recipes_may_leave_settings_open(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    text = 'name = "r"\n[[step]]\nverb = "speak"\nsource = "package"\ntext = "Hi."\nnum_beams = 3\ndo_sample = true\n'
    step = recipe.parse(text, tmp_path).steps[0]
    resolved = step.options.resolved(PACKAGE)
    assert (resolved.num_beams, resolved.do_sample, resolved.segment_tokens) == (3, True, 24)
