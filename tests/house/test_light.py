"""The runtime is light, and the command line starts at once: tried in fresh interpreters."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

import pytest
from imports import PACKAGE, module_name, sources

HEAVY = ("torch", "onnx", "onnxsim", "nncf", "transformers", "safetensors", "click", "matplotlib")
START_SECONDS = 0.3  # the bar for `import ovconvert` and `ovconvert --help`, in CPU time so that a busy machine passes
REPEATS = 5

RUNTIME = [module_name(path, PACKAGE) for path in sources(PACKAGE / "runtime")]


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def cpu_seconds(*arguments: str) -> float:
    """Return the user and system seconds that a Python process with `arguments` takes: the median of several."""
    times = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(times)


def test_the_runtime_has_modules() -> None:
    assert "ovconvert.runtime" in RUNTIME
    assert len(RUNTIME) > 1


@pytest.mark.parametrize("module", RUNTIME)
def test_the_runtime_is_light(module: str) -> None:
    assert loaded_after(f"import {module}").isdisjoint(HEAVY)


def test_the_light_guard_can_fail() -> None:
    assert not loaded_after("import click").isdisjoint(HEAVY)


def test_import_is_instant() -> None:
    assert cpu_seconds("-c", "import ovconvert") < START_SECONDS


def test_help_is_instant() -> None:
    assert cpu_seconds("-c", "from ovconvert.cli import main; main()", "--help") < START_SECONDS


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_after("from click.testing import CliRunner; from ovconvert.cli import cli; "
                          "assert CliRunner().invoke(cli, ['--help']).exit_code == 0")  # fmt: skip
    assert loaded.isdisjoint({*HEAVY, "openvino", "numpy", "rich"} - {"click"})


def test_the_time_guard_can_fail() -> None:
    busy = f"import time\nwhile time.process_time() < {1.2 * START_SECONDS}: pass"
    assert cpu_seconds("-c", busy) > START_SECONDS
