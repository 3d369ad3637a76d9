"""Runs packages: OpenVINO and NumPy, no PyTorch.

from ovconvert.runtime import Request, open_package

model = open_package(Path("my-package"))
speech = model.speak("Good morning.", Request(voice=Path("voice.wav")))
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ovconvert import package
from ovconvert.errors import UsageError
from ovconvert.runtime.request import Request

if TYPE_CHECKING:
    from ovconvert.runtime.speech import SpeechProgram

__all__ = ["Request", "open_package"]


def open_package(directory: Path, *, threads: int | None = None, cache_dir: Path | None = None) -> SpeechProgram:
    """Return the program of the package at `directory`; graphs are compiled when first used.

    `threads` limits the inference engine, `cache_dir` keeps compiled graphs between runs. Raises UsageError if there is no
    package or no program for its family, IntegrityError if the package is damaged.
    """
    from ovconvert.runtime.engine import Engine

    engine = Engine(Path(directory), threads=threads, cache_dir=cache_dir)
    package.verify(engine.directory, only=[name for name in engine.manifest.files if name.startswith(f"{package.ASSETS}/")])
    name = f"{__name__}.programs.{engine.manifest.family}"
    if not engine.manifest.family.isidentifier() or importlib.util.find_spec(name) is None:
        raise UsageError(f"this version has no program for packages of the family {engine.manifest.family!r}")
    return cast("SpeechProgram", importlib.import_module(name).Program(engine))
