"""The tiny seeded checkpoint of each version and its package, made once per test run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ovconvert import families
from ovconvert.stages import export

FAMILY = "indextts2"


def make(directory: Path, variant: str) -> Path:
    """Write the tiny checkpoint of a version below `directory`."""
    dest = directory / "checkpoint"
    families.find(FAMILY).make_checkpoint(dest, size="tiny", seed=7, variant=variant)
    return dest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2.0."""
    return make(tmp_path_factory.mktemp("v20"), "2.0")


@pytest.fixture(scope="session")
def checkpoint25(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2.5."""
    return make(tmp_path_factory.mktemp("v25"), "2.5")


@pytest.fixture(scope="session")
def package_dir(checkpoint: Path) -> Path:
    """Version 2.0 in float32."""
    return export.run(checkpoint, checkpoint.with_name("package"), export.Options(weight_format="fp32"))


@pytest.fixture(scope="session")
def package25_dir(checkpoint25: Path) -> Path:
    """Version 2.5 in float16."""
    return export.run(checkpoint25, checkpoint25.with_name("package"), export.Options(weight_format="fp16"))


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may damage."""
    return shutil.copytree(checkpoint, tmp_path / "copy")
