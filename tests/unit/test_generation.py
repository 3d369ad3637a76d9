"""The settings that a checkpoint may ask for are read, and everything wrong with them is told at once."""

from __future__ import annotations

from typing import Any

import pytest

from ovconvert.generation import KNOWN, read_generation
from ovconvert.runtime.request import DECIDED

GOOD = {"num_beams": 1, "repetition_penalty": 1, "do_sample": False, "top_k": 0, "segment_tokens": 24, "guidance": 0.5}
USUAL = {
    "_from_model_config": True, "bos_token_id": 1, "eos_token_id": [1, 2], "pad_token_id": None, "transformers_version": "5"
}  # fmt: skip


def read(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    problems: list[str] = []
    return read_generation(content, problems), problems


def test_settings_are_read_and_what_such_files_usually_carry_is_left_out() -> None:
    found, problems = read(USUAL | GOOD)
    assert (found, problems) == (GOOD, [])
    assert isinstance(found["repetition_penalty"], float)
    assert read({}) == ({}, [])


def test_every_setting_that_a_package_may_decide_is_known() -> None:
    assert set(KNOWN) == DECIDED
    assert not {"seed", "voice", "speed"} & set(KNOWN)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"num_beam": 1}, "unknown key 'num_beam'; did you mean 'num_beams'?"),
        ({"penalty_alpha": 0.5}, "unknown key 'penalty_alpha'"),
        ({"seed": 1}, "unknown key 'seed'; have: do_sample"),
        ({"num_beams": 0}, "num_beams is 0; allowed: 1 to 10"),
        ({"temperature": float("nan")}, "temperature is nan; allowed"),
        ({"top_p": 10**400}, "top_p = "),
        ({"num_beams": 1.5}, "num_beams = 1.5 is not a whole number"),
        ({"num_beams": True}, "num_beams = True is not a whole number"),
        ({"do_sample": 1}, "do_sample = 1 is not true or false"),
        ({"top_p": "0.8"}, "top_p = '0.8' is not a number"),
        ({"steps": None}, "steps = None is not a whole number"),
        ({"solver": "rk4"}, "solver = 'rk4' is not one of euler"),
        ({"guidance_interval": [0.5]}, "guidance_interval is [0.5]; allowed: two times"),
    ],
)
def test_what_is_wrong_is_told(content: dict[str, Any], problem: str) -> None:
    found, problems = read(content | {"silence_ms": 100})
    assert len(problems) == 1
    assert problems[0].startswith("generation_config.json: ") and problem in problems[0]
    assert found["silence_ms"] == 100


def test_everything_that_is_wrong_is_told_at_once() -> None:
    _, problems = read({"nonsense": 1, "steps": "many", "num_beams": 99, "top_p": 2.0, "segment_tokens": 3} | USUAL)
    assert len(problems) == 5
