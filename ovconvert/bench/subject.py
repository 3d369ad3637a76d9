"""What competes: a package with an engine and settings, and how its program is opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovconvert.bench.abilities import Asked
from ovconvert.bench.slowed import Slowed
from ovconvert.bench.variants import Variant
from ovconvert.bench.watch import Watched
from ovconvert.errors import UsageError
from ovconvert.runtime import find_program


@dataclass(frozen=True)
class Subject:
    """One competitor. `label` is what reports call it, "" for the package that the report is about.

    `slower` makes it slower on purpose by that share: 0.1 is 10 %.
    """

    label: str
    package: Path
    request: Asked
    engine: str = "openvino"
    checkpoint: Path | None = None
    script: str = ""  # that describes the model, in place of a family
    threads: int | None = None
    variant: Variant = field(default_factory=Variant)
    slower: float = 0.0

    @property
    def opening(self) -> tuple[object, ...]:
        """Return what decides how the engine is opened; the request does not."""
        options = tuple(sorted(self.variant.runtime_options.items()))
        model = self.checkpoint, self.script
        return self.package, self.engine, model, _threads(self), self.variant.form, options, self.slower

    @property
    def asked(self) -> Asked:
        """Return the request as the variant changes it."""
        return dataclasses.replace(self.request, **self.variant.request)


def open_engine(subject: Subject, cache_dir: Path | None = None) -> Watched:
    """Return the engine of a subject, watched. Only OpenVINO keeps compiled graphs in `cache_dir`."""
    engine = ENGINES[subject.engine](subject, cache_dir)
    engine.manifest = subject.variant.apply(engine.manifest)
    # a program that gives its front end back compiles it again for the next voice; the others' own programs keep theirs
    slowed = Slowed(engine, subject.slower) if subject.slower else engine
    return Watched(slowed, releases=subject.engine == "openvino")


def open_program(watched: Watched) -> Any:
    """Return a program on an engine, one that remembers no voice yet: the family's, or the engine's own if it brings one."""
    own = getattr(watched.engine, "program", None)
    return (own or find_program(watched.manifest.family))(watched)


def _threads(subject: Subject) -> int | None:
    return subject.variant.threads or subject.threads


def _openvino(subject: Subject, cache_dir: Path | None) -> Any:
    from ovconvert.runtime.engine import Engine

    return Engine(subject.package, threads=_threads(subject), cache_dir=cache_dir)


def _pytorch(subject: Subject, cache_dir: Path | None) -> Any:
    from ovconvert.baselines.pytorch import TorchEngine

    if subject.checkpoint is None and not subject.script:
        raise UsageError("the baseline pytorch needs the checkpoint that the package was made from; give it with --model")
    return TorchEngine(
        subject.checkpoint, subject.package, threads=_threads(subject), as_published=True, script=subject.script
    )


def _onnxruntime(subject: Subject, cache_dir: Path | None) -> Any:
    from ovconvert.baselines.onnxruntime import OnnxEngine

    return OnnxEngine(subject.package, threads=_threads(subject), int8=False)


def _onnxruntime_int8(subject: Subject, cache_dir: Path | None) -> Any:
    from ovconvert.baselines.onnxruntime import OnnxEngine

    return OnnxEngine(subject.package, threads=_threads(subject), int8=True)


def _transformers(subject: Subject, cache_dir: Path | None) -> Any:
    from ovconvert.baselines.transformers import LibraryEngine

    if subject.checkpoint is None:
        raise UsageError(
            "the baseline transformers needs the checkpoint that the package was made from; give it with --model"
        )
    return LibraryEngine(subject.checkpoint, subject.package, threads=_threads(subject))


ENGINES: dict[str, Callable[[Subject, Path | None], Any]] = {
    "openvino": _openvino,
    "pytorch": _pytorch,
    "onnxruntime": _onnxruntime,
    "onnxruntime-int8": _onnxruntime_int8,
    "transformers": _transformers,
}
BASELINES = tuple(name for name in ENGINES if name != "openvino")
LIBRARIES = ("transformers",)  # engines that bring a program of their own, and run no component alone
