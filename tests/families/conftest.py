"""The tiny seeded checkpoint of each version and its package, made once per test run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from ovconvert import families, package
from ovconvert.stages import export

FAMILY = "indextts2"


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark as slow what needs one of the packages that take most of a minute to make, but for that of version 2.0."""
    for item in items:
        if {"package25_dir", "tokens_dir"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


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
def other_dir(package_dir: Path, tmp_path: Path) -> Path:
    """The package of version 2.0, which says that it is of another."""
    other = shutil.copytree(package_dir, tmp_path / "other")
    package.save(dataclasses.replace(package.load(other), variant="another"), other)
    return other


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may damage."""
    return shutil.copytree(checkpoint, tmp_path / "copy")
