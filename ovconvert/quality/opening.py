"""Opens what speaks: a package, or the checkpoint that a package was made from, in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from ovconvert import package
from ovconvert.quality.speaking import Program


def open_program(package_dir: Path, threads: int | None = None) -> Program:
    """Return the program of a package. Raises as `runtime.open_package` does."""
    from ovconvert.runtime import open_package

    return cast(Program, open_package(package_dir, threads=threads))


def open_reference(place: Path, package_dir: Path, threads: int | None = None) -> Program:
    """Return the program of the package at `place`, or of the checkpoint there that the package at `package_dir` is of.

    Raises as `open_program` does, and UsageError if it is neither.
    """
    if (place / package.MANIFEST).is_file():
        return open_program(place, threads)
    from ovconvert.baselines.pytorch import TorchEngine
    from ovconvert.runtime import find_program

    engine = TorchEngine(place, package_dir, threads=threads)
    return cast(Program, find_program(engine.manifest.family)(engine))
