"""Every tiny recipe from seeded weights to what the family says, in FP16 and INT8; `-rA` shows what each took."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ovconvert import families

RECIPES = Path(__file__).parents[2] / "recipes"
ROAD = ["make-checkpoint", "export", "validate", "quantize", "validate"]  # then it speaks, transcribes or writes


def recipe(family: str) -> Path:
    return RECIPES / f"{family}-tiny.toml"


@pytest.mark.parametrize("family", families.names())
def test_the_road_is_whole(family: str) -> None:
    steps = tomllib.loads(recipe(family).read_text(encoding="utf-8"))["step"]
    verbs = [step["verb"] for step in steps]
    assert verbs[:-1] == ROAD
    assert verbs[-1] in ("speak", "transcribe", "generate")
    assert (steps[0]["family"], steps[0]["size"], steps[3]["weight_format"]) == (family, "tiny", "int8")


@pytest.mark.slow
@pytest.mark.parametrize("family", families.names())
def test_the_road_is_walked(family: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ovconvert", "run", str(recipe(family)), "--output", str(tmp_path / "road")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, spent = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    made = Path(said.splitlines()[-1])
    assert made.is_file() and made.stat().st_size > 0
    cpu_seconds = spent.ru_utime + spent.ru_stime
    print(f"{family}: {cpu_seconds:.0f} CPU seconds, at most {spent.ru_maxrss / 2**20:.2f} GiB")
