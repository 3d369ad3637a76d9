"""Runs packages: OpenVINO and NumPy, no PyTorch.

from ovconvert.runtime import Request, open_package

model = open_package(Path("my-package"))
speech = model.speak("Good morning.", Request(voice=Path("voice.wav")))
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ovconvert import package
from ovconvert.errors import UsageError
from ovconvert.runtime.request import Request

if TYPE_CHECKING:
    from ovconvert.runtime.listening import ListeningProgram
    from ovconvert.runtime.speech import SpeechProgram
    from ovconvert.runtime.takes import Takes
    from ovconvert.runtime.writing import WritingProgram

__all__ = [
    "Request",
    "find_program",
    "needs_of",
    "open_listener",
    "open_package",
    "open_writer",
    "speaks",
    "takes_of",
]


def open_package(directory: Path, *, threads: int | None = None, cache_dir: Path | None = None) -> SpeechProgram:
    """Return the program of the package at `directory`; graphs are compiled when first used.

    `threads` limits the inference engine, `cache_dir` keeps compiled graphs between runs. Raises UsageError if there is no
    package or no program for its family, IntegrityError if the package is damaged.
    """
    return cast("SpeechProgram", _open(directory, "speak", threads, cache_dir))


def open_listener(directory: Path, *, threads: int | None = None, cache_dir: Path | None = None) -> ListeningProgram:
    """Return the program of a package that turns speech into text; as `open_package` otherwise."""
    return cast("ListeningProgram", _open(directory, "transcribe", threads, cache_dir))


def open_writer(directory: Path, *, threads: int | None = None, cache_dir: Path | None = None) -> WritingProgram:
    """Return the program of a package that answers text with text; as `open_package` otherwise."""
    return cast("WritingProgram", _open(directory, "write", threads, cache_dir))


def find_program(family: str) -> Any:
    """Return the class of the program for packages of a family. Raises UsageError if there is none."""
    if not _has_program(family):
        raise UsageError(
            f"this version has no program for packages of the family {family!r}; its components run with "
            "ovconvert.runtime.engine and ovconvert.runtime.cache"
        )
    return importlib.import_module(f"{__name__}.programs.{family}").Program


def speaks(manifest: package.Manifest) -> bool:
    """Tell whether this version has a program that speaks with packages of that family."""
    return _has_program(manifest.family) and hasattr(find_program(manifest.family), "speak")


def takes_of(manifest: package.Manifest) -> Takes:
    """Return the fields of a request that a package obeys, none if it does not speak."""
    return find_program(manifest.family).taken(manifest) if speaks(manifest) else {}


def needs_of(manifest: package.Manifest) -> tuple[str, ...]:
    """Return the fields of a request that a package wants to be given."""
    return find_program(manifest.family).NEEDS if speaks(manifest) else ()


def _has_program(family: str) -> bool:
    return family.isidentifier() and importlib.util.find_spec(f"{__name__}.programs.{family}") is not None


def _open(directory: Path, ability: str, threads: int | None, cache_dir: Path | None) -> object:
    """Return the program of a package. Raises UsageError if it lacks the method `ability`."""
    from ovconvert.runtime.engine import Engine

    engine = Engine(Path(directory), threads=threads, cache_dir=cache_dir)
    package.verify(engine.directory, only=[name for name in engine.manifest.files if name.startswith(f"{package.ASSETS}/")])
    program = find_program(engine.manifest.family)
    if not hasattr(program, ability):
        known = {"speak": "speak", "transcribe": "transcribe", "write": "generate"}
        offered = ", ".join(verb for method, verb in known.items() if hasattr(program, method))
        raise UsageError(f"the package {directory} cannot {known[ability]}; it is for: {offered}")
    opened: object = program(engine)
    return opened
