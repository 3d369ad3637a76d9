"""A calibration set on disk: what entered each component while real texts were spoken, and where it came from.

    calibration/
      manifest.json                  the package, texts, voices and settings behind it; a hash of every sample
      <component>/0000.npz ...       one call's inputs, by port, a step's cache included

Samples are plain NumPy archives, read without pickle. A set fits every precision of the package that it was captured from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ovconvert.errors import IntegrityError, UsageError, listing
from ovconvert.package import Manifest, sha256
from ovconvert.spec import Component

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Sample:
    """One call of a component. `stratum` says which kind of call it was; `text` and `voice` count from 0."""

    component: str
    file: str
    sha256: str
    bytes: int
    stratum: str
    text: int
    voice: int


@dataclass(frozen=True)
class Calibration:
    """The manifest of a set. `texts` and `voices` are the SHA-256 of what was spoken, and of the recordings."""

    package: str  # SHA-256 of the manifest of the package that ran
    architecture: str
    source: str
    texts: tuple[str, ...]
    voices: tuple[str, ...]
    settings: dict[str, object]
    tools: dict[str, str]
    samples: tuple[Sample, ...]
    format: int = FORMAT

    def of(self, component: str) -> tuple[Sample, ...]:
        """Return the samples of a component, in the order in which fewer of them still show every kind of call."""
        return tuple(sample for sample in self.samples if sample.component == component)


def architecture(manifest: Manifest) -> str:
    """Return a hash of what makes samples of one package fit another: components, their ports and caches; no precision."""
    ports = [
        (packed.component.name, packed.component.inputs, packed.component.outputs, packed.component.cache)
        for packed in manifest.components
    ]
    return _hash([manifest.family, manifest.variant, ports])


def source(manifest: Manifest) -> str:
    """Return a hash of the checkpoint files that a package was exported from."""
    return _hash(manifest.lineage.get("source"))


def text_hash(text: str) -> str:
    """Return the hash of a text; case and white space do not count."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()


def save(calibration: Calibration, directory: Path) -> None:
    """Write the manifest of a set, with sorted keys."""
    data = msgspec.json.format(msgspec.json.encode(calibration, order="sorted"), indent=2)
    (directory / MANIFEST).write_bytes(data + b"\n")


def load(directory: Path) -> Calibration:
    """Return the set at `directory`. Raises UsageError if there is none, IntegrityError if its manifest is damaged."""
    path = directory / MANIFEST
    if not path.is_file():
        raise UsageError(f"no calibration set at {directory}: it has no {MANIFEST}; make one with 'ovconvert calibrate'")
    try:
        calibration = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"calibration set {directory}: {MANIFEST} is damaged: {error}; calibrate again") from error
    if calibration.format != FORMAT:
        raise IntegrityError(f"{path} has format {calibration.format}; this version reads {FORMAT}: calibrate again")
    return calibration


def misfits(calibration: Calibration, manifest: Manifest) -> list[str]:
    """Return why a set was not captured from the model in a package, or holds nothing."""
    found = []
    if calibration.architecture != architecture(manifest):
        found.append("it was captured from a model with other components, ports or caches; calibrate this package")
    elif calibration.source != source(manifest):
        found.append("it was captured from another checkpoint, whose activations differ; calibrate this package")
    if not calibration.samples:
        found.append("it is empty; calibrate with more texts or a larger --max-megabytes")
    return found


def read(directory: Path, samples: Sequence[Sample], component: Component) -> list[dict[str, np.ndarray]]:
    """Return the inputs of `samples` of a component, by port.

    Raises IntegrityError naming every sample that is missing, changed, or lacks a port.
    """
    wanted = {port.name for port in component.all_inputs()}
    found, faults = [], []
    for sample in samples:
        path = directory / sample.file
        if not path.is_file():
            faults.append(f"{sample.file}: missing")
        elif sha256(path) != sample.sha256:
            faults.append(f"{sample.file}: changed since it was captured")
        else:
            with np.load(path, allow_pickle=False) as stored:
                found.append({name: stored[name] for name in stored.files})
            if lacking := wanted - set(found[-1]):
                faults.append(f"{sample.file}: lacks {', '.join(sorted(lacking))}")
    if faults:
        raise IntegrityError(listing(f"calibration set {directory} is damaged; copy it again or calibrate anew:", faults))
    return found


def _hash(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
