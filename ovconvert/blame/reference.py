"""The reference as a package: as it is, or exported from the checkpoint in float32."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovconvert import package
from ovconvert.options import Progress, silent
from ovconvert.package import Manifest


@contextmanager
def as_package(place: Path, of: Manifest, progress: Progress = silent) -> Iterator[Path]:
    """Give the directory of the package at `place`, or a passing one that the checkpoint there is exported to.

    `of` is the manifest of the package that is judged. Raises as `export` does for what is no checkpoint of its family.
    """
    if (place / package.MANIFEST).is_file():
        yield place
        return
    from ovconvert.stages import export

    steps = any(packed.component.cache for packed in of.components)
    options = export.Options(weight_format="fp32", family=of.family, split=steps)
    with tempfile.TemporaryDirectory(prefix="ovconvert-blame-") as room:
        yield export.run(place, Path(room) / "reference", options, progress)
