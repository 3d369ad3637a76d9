"""What the speech programs share: the request held against what they take, and an utterance gathered from its chunks."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from ovconvert.errors import UsageError, listing
from ovconvert.package import ASSETS, Manifest
from ovconvert.runtime import audio
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.request import Request, Resolved
from ovconvert.runtime.speech import Chunk, Speech
from ovconvert.runtime.takes import Takes, held, resolved

Report = Callable[[str, int, int], None]


def quiet(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


class Speaker(ABC):
    """A program that speaks with the package of `engine`. A family's own says `TAKES` and gives `stream`.

    `TAKES` are the fields of a request that it obeys; of these, `OF` names the component that a field speaks to, without
    which a package cannot obey it. `NEEDS` are fields that a request must give.
    """

    TAKES: ClassVar[Takes]
    OF: ClassVar[Mapping[str, str]] = {}
    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._assets = engine.directory / ASSETS
        self._settings: dict[str, Any] = json.loads((self._assets / "config.json").read_text(encoding="utf-8"))
        self.takes = self.taken(engine.manifest)

    @classmethod
    def taken(cls, manifest: Manifest) -> Takes:
        """Return the fields of a request that a package obeys."""
        return {name: values for name, values in cls.TAKES.items() if name not in cls.OF or manifest.has(cls.OF[name])}

    def resolved(self, request: Request) -> Resolved:
        """Return the request with what it leaves open decided by the package, else by the original.

        Raises UsageError with all that it asks for and the package cannot do.
        """
        asked, problems = resolved(request, self.takes, self._settings.get("generation", {}))
        problems += self.contradictions(asked)
        if problems:
            raise UsageError(listing("the request does not fit this model:", problems))
        return asked

    def contradictions(self, asked: Resolved) -> list[str]:
        """Return a line for all that this model can do, but not together."""
        return []

    @abstractmethod
    def stream(self, text: str, request: Request, on_progress: Report = quiet) -> Generator[Chunk, None, None]:
        """Yield the audio of `text` in chunks, each as soon as it is made."""

    def speak(
        self,
        text: str,
        request: Request,
        on_progress: Report = quiet,
        on_chunk: Callable[[Chunk], None] = lambda chunk: None,
    ) -> Speech:
        """Return the audio of `text`; hand each chunk to `on_chunk` as soon as it is made. Raises as `stream` does."""
        asked = self.resolved(request)
        start, first = time.perf_counter(), 0.0
        before = dict(self._engine.seconds)
        chunks: list[Chunk] = []
        with closing(self.stream(text, request, on_progress)) as made:
            for chunk in made:
                if not first and len(chunk.samples):
                    first = time.perf_counter() - start
                chunks.append(chunk)
                on_chunk(chunk)
        passed = time.perf_counter() - start
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in self._engine.seconds.items()}
        segments = [list(parts) for _, parts in groupby(chunks, lambda chunk: chunk.segment)]
        joined = [np.concatenate([chunk.samples for chunk in parts]) for parts in segments]
        return Speech(
            samples=audio.join(joined, segments[0][-1].silence),
            sample_rate=chunks[0].sample_rate,
            request=asked,
            timings={name: seconds for name, seconds in spent.items() if seconds > 0.0},
            first_audio_seconds=first,
            notes=tuple(note for parts in segments for note in _notes(parts[-1])),
            seconds=passed,
            settings=held(asked, self.takes),
        )


def _notes(chunk: Chunk) -> list[str]:
    """Return what is to be said of a segment, whose last chunk is given."""
    noticed = (
        (f"reached the limit of {chunk.tokens} tokens", not chunk.finished),
        ("was ended by the model before it began", not chunk.tokens),
    )
    return [f"segment {chunk.segment + 1} {what}: {chunk.text!r}" for what, true in noticed if true]
