"""Validation passes on what export made, and fails on everything that is worse."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from ovconvert import package
from ovconvert.errors import IntegrityError
from ovconvert.judges import validate
from ovconvert.judges.validate import snr_db


def test_the_float32_package_passes(package_dir: Path) -> None:
    report = validate.run(package_dir, validate.Options())
    assert report.rows
    assert not report.failed, [row.line() for row in report.failed]
    names = {packed.component.name for packed in package.load(package_dir).components}
    assert {row.subject.split(" ")[0] for row in report.rows} == names
    assert any("stateful = with_past" in row.case for row in report.rows)


def test_the_float16_package_of_version_25_passes(package25_dir: Path) -> None:
    report = validate.run(package25_dir, validate.Options())
    assert not report.failed, [row.line() for row in report.failed]


def test_one_component_alone(package_dir: Path) -> None:
    report = validate.run(package_dir, validate.Options(components=("length_regulator",)))
    assert {row.subject for row in report.rows} == {"length_regulator (plain)"}
    assert validate.requires(package_dir, validate.Options(components=("decoder", "juggler"))) != []


def test_a_floor_that_cannot_be_reached(package_dir: Path) -> None:
    report = validate.run(package_dir, validate.Options(components=("vocoder",), floor_db=300.0))
    assert report.failed


def damaged(package_dir: Path, tmp_path: Path, component: str) -> Path:
    """Return a copy in which the weights of a component are slightly off, sealed as if nothing had happened."""
    copy = shutil.copytree(package_dir, tmp_path / "copy")
    manifest = package.load(copy)
    path = copy / next(iter(manifest.packed(component).graphs.values())).bin
    values = np.fromfile(path, np.float32, count=path.stat().st_size // 4 - 64)
    middle = values[len(values) // 2 : len(values) // 2 + 2000]
    middle[np.isfinite(middle) & (np.abs(middle) > 1e-6)] *= 1.5  # whole numbers, the axes of slices, look like tiny ones
    with path.open("r+b") as file:
        file.write(values.tobytes())
    package.save(dataclasses.replace(manifest, files=package.seal(copy)), copy)
    return copy


@pytest.mark.parametrize("component", ["decoder", "flow_estimator", "vocoder"])
def test_damaged_weights_fall_below_the_floor(package_dir: Path, tmp_path: Path, component: str) -> None:
    copy = damaged(package_dir, tmp_path, component)
    assert validate.run(copy, validate.Options(components=(component,))).failed


def test_all_changed_files_are_an_integrity_error_before_anything_runs(package_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(package_dir, tmp_path / "copy")
    changed = ["golden/decoder.npz", "openvino_vocoder_model.bin"]
    for name in changed:
        data = bytearray((copy / name).read_bytes())
        data[100] ^= 1
        (copy / name).write_bytes(bytes(data))
    told: list[str] = []
    with pytest.raises(IntegrityError) as error:
        validate.run(copy, validate.Options(), lambda what, *_: told.append(what))
    assert all(f"{name}: changed" in str(error.value) for name in changed) and told == []


def test_snr() -> None:
    signal = np.ones(1000, np.float32)
    assert snr_db(signal, signal) == np.inf
    assert snr_db(signal, signal * 1.001) == pytest.approx(60.0, abs=0.01)
    assert snr_db(signal, signal[:10]) == -np.inf
    assert snr_db(signal, np.full(1000, np.nan, np.float32)) == -np.inf
    assert snr_db(np.zeros(3), np.ones(3)) == -np.inf
