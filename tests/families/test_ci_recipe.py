"""The recipe for CI, run once as it stands, and a small rehearsal on a real package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ovconvert.judges import rehearse
from ovconvert.report import from_json

pytestmark = pytest.mark.slow  # a minute and more: two exports, processes, rounds

SCRIPT = Path(__file__).parents[2] / "recipes" / "ci-benchmark" / "compare.sh"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What starts the command line of this installation."""
    program = tmp_path / "ovconvert"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ovconvert "$@"\n')
    program.chmod(0o755)
    return program


def test_the_recipe_for_ci_runs_and_finds_nothing_where_nothing_changed(installed: Path, tmp_path: Path) -> None:
    work = tmp_path / "speed"
    command = ["bash", str(SCRIPT), str(installed), str(installed), str(work), "--rounds", "8"]
    command += ["--max-rounds", "24", "--fail-over", "50%"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**No regression of more than 50 %" in (work / "compare.md").read_text()
    suite = ElementTree.parse(work / "compare.xml").getroot()
    assert suite.get("failures") == "0" and int(suite.get("tests", 0)) > 5
    kept = [from_json((work / "reports" / name).read_bytes()) for name in ("base.json", "new.json")]
    assert kept[0].run == kept[1].run
    judged = {row.metric for row in kept[0].rows if row.subject == "end to end"}
    assert {"RTF", "CPU seconds", "seconds to first audio"} <= judged
    assert not any("new voice" in row.case for row in kept[0].rows)


def test_a_slowed_package_is_caught_and_the_same_is_not(checkpoint: Path, package_dir: Path) -> None:
    asked = rehearse.Options(
        voice=checkpoint / "voices/sample.wav",
        text="Good morning.",
        num_beams=1,
        steps=2,
        max_new_tokens=8,
        slowdown=0.5,  # few rounds on a machine that may be doing anything
        fail_over=0.15,
        trials=3,
        rounds=12,
        processes=1,
        metrics=("end to end:RTF", "end to end:CPU seconds"),
    )
    report = rehearse.run(package_dir, asked)
    verdicts = {row.metric: row for row in report.rows if row.passed is not None}
    assert verdicts["caught: worse"].value == 3, report.rows
    assert verdicts["not called different"].value == 3, report.rows
    slowed = next(row for row in report.rows if row.subject == "slowed by 50 %" and "CPU seconds" in row.metric)
    assert 1.3 < slowed.value < 1.7
