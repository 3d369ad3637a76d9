"""The whole road at true size, with seeded weights: minutes, 25 GB of disk. Run with `pytest -m full`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from ovconvert import report
from ovconvert.judges.validate import SNR

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]
MEMORY = 10 * 10**9  # bytes, the bound that export must keep
RELATIVE_ERROR_DB = 60.0  # 1e-3
PARAMETERS = 1.7e9  # of the components without the emotion classifier, about


def ovconvert(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "ovconvert", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("full") / "checkpoint"
    ovconvert("make-checkpoint", "--family", "indextts2", "--size", "full", "--seed", 7, dest)
    return dest


@pytest.fixture(scope="module")
def package_dir(checkpoint: Path) -> Path:
    dest = checkpoint.with_name("package")
    ovconvert("export", "--split", "-m", checkpoint, dest, "--weight-format", "fp32")
    return dest


def test_export_keeps_the_memory_bound(package_dir: Path) -> None:
    costs = json.loads((package_dir / "export_report.json").read_text())
    for cost in costs:
        print(f"{cost['component']}: {cost['seconds']} s, peak {cost['peak_bytes'] / 2**30:.2f} GiB")
    assert max(cost["peak_bytes"] for cost in costs) < MEMORY
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < MEMORY  # also between components
    speaking = [cost["parameters"] for cost in costs if cost["component"] != "emotion_classifier"]
    # the unused half of w2v-BERT and of the codec is not counted
    assert sum(speaking) == pytest.approx(PARAMETERS, rel=0.2)


def test_every_graph_is_within_a_thousandth_of_pytorch(package_dir: Path) -> None:
    dest = package_dir.with_name("validate.json")
    ovconvert("validate", package_dir, "--report", dest)
    rows = report.from_json(dest.read_bytes()).rows
    errors = [row for row in rows if row.metric.startswith(SNR)]
    assert errors
    assert min(row.value for row in errors) >= RELATIVE_ERROR_DB


def test_it_speaks(package_dir: Path, checkpoint: Path) -> None:
    dest = package_dir.with_name("speech.wav")
    voice = checkpoint / "voices/sample.wav"
    short = ("--max-new-tokens", 40, "--steps", 4)
    done = ovconvert("speak", package_dir, "Good morning.", "--voice", voice, "-o", dest, "--timings", *short)
    print(done.stderr)
    assert soundfile.info(dest).frames > 0
