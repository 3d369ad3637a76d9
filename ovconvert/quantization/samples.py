"""What a component is calibrated with: its samples, and the statistics that were made of them and are kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from ovconvert import calibration, package
from ovconvert.errors import IntegrityError, OvconvertError
from ovconvert.graphs.compress import Compression
from ovconvert.package import Manifest, PackedComponent
from ovconvert.quantization.asked import Asked, asked_of, full
from ovconvert.spec import Component

SAMPLES = {"weights": 128, "activations": 300}
KEY, STATISTICS = "key.json", "statistics"


@dataclass(frozen=True)
class Dataset:
    """A calibration set."""

    directory: Path
    manifest: calibration.Calibration
    digest: str

    @classmethod
    def open(cls, directory: Path) -> Dataset:
        """Open the set at `directory`. Raises UsageError if there is none, IntegrityError if it is damaged."""
        return cls(directory, calibration.load(directory), package.sha256(directory / calibration.MANIFEST))

    def chosen(self, component: Component, settings: Compression) -> tuple[calibration.Sample, ...]:
        """Return the samples of a component, as many as the settings use."""
        limit = settings.num_samples or SAMPLES["activations" if settings.quant_mode else "weights"]
        return self.manifest.of(component.name)[:limit]

    def samples(self, component: Component, settings: Compression) -> list[dict[str, Any]]:
        """Return the inputs of the component. Raises IntegrityError if a sample is missing or changed."""
        return calibration.read(self.directory, self.chosen(component, settings), component)


def dataset_problems(directory: Path, manifest: Manifest, chosen: Sequence[PackedComponent], options: Asked) -> list[str]:
    """Return why the set at `directory` is not for a package, or not for the components that are chosen."""
    try:
        dataset = calibration.load(directory)
    except OvconvertError as error:
        return [str(error)]
    found = [f"--dataset {directory}: {fault}" for fault in calibration.misfits(dataset, manifest)]
    if found:
        return found
    have = {sample.component for sample in dataset.samples}
    named = [(packed.component, asked_of(packed.component, options)) for packed in chosen]
    asked = [
        component
        for component, mine in named
        if component.name in options.components or (mine.quant_mode and full(component, mine))
    ]
    return [
        f"--dataset {directory} has no sample of {component.name}, which its texts did not use"
        for component in asked
        if component.name not in have
    ]


def statistics_place(
    room: Path, model: tuple[str, str], component: Component, settings: Compression, dataset: Dataset
) -> Path | None:
    """Return where in `room` the statistics of a component are or shall be kept: named by model, data and settings.

    `model` are the hashes of its files. None if the component was not heard. Raises IntegrityError if what is there does not
    belong to them, or was changed.
    """
    if not dataset.manifest.of(component.name):
        return None
    key = {
        "model": model,
        "samples": [sample.sha256 for sample in dataset.chosen(component, settings)],
        "settings": {name: getattr(settings, name) for name in Compression.__dataclass_fields__},
        "nncf": version("nncf"),
    }
    digest = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
    place = room / f"{component.name}-{digest[:16]}"
    if place.exists():
        _require_own_statistics(place, digest)
    else:
        place.mkdir(parents=True)
        (place / KEY).write_text(json.dumps({"key": digest}) + "\n")
    return place


def seal_statistics(place: Path) -> None:
    """Note the hashes of the statistics at `place`, so that changed ones are refused."""
    said = json.loads((place / KEY).read_text())
    (place / KEY).write_text(json.dumps(said | {"files": _hashes(place / STATISTICS)}, sort_keys=True) + "\n")


def _require_own_statistics(place: Path, digest: str) -> None:
    """Raise IntegrityError unless the statistics at `place` are whole and belong to the key `digest`."""
    try:
        said = json.loads((place / KEY).read_text())
    except (OSError, ValueError):
        said = {}
    if said.get("key") != digest:
        raise IntegrityError(f"{place} holds statistics of another model, dataset or settings; delete it")
    if "files" in said and said["files"] != _hashes(place / STATISTICS):
        raise IntegrityError(f"{place} holds statistics that were changed since they were made; delete it")
    if "files" not in said:  # of a run that was cut off
        shutil.rmtree(place / STATISTICS, ignore_errors=True)


def _hashes(directory: Path) -> dict[str, str]:
    return {path.name: package.sha256(path) for path in sorted(directory.glob("*")) if path.is_file()}
