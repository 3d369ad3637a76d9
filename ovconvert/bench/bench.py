"""Competitors in a process: speaks texts and runs its components when it is its turn, and says what that cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ovconvert import memory
from ovconvert.bench.alone import Alone, timed, used
from ovconvert.bench.published import with_loop
from ovconvert.bench.reading import Reading
from ovconvert.bench.spoken import Taken, readings
from ovconvert.bench.subject import Subject, open_engine, open_program
from ovconvert.bench.texts import Text
from ovconvert.runtime.request import DECIDED, Request
from ovconvert.runtime.speech import SpeechProgram

NEW_VOICE = "new voice"
PROCESS = "process"
MEGABYTE = 1e6


class Bench:
    """An engine, opened as its first competitor wants it. Graphs are compiled when first used, which the warm-up does."""

    def __init__(self, subject: Subject) -> None:
        self._watched = open_engine(subject)
        self._settings: dict[str, object] = {}

    def warm_up(
        self, asked: Request, texts: Sequence[Text], keep: Path | None = None, contexts: Sequence[int] = ()
    ) -> list[Alone]:
        """Speak every text once; return the sizes at which each component spent most, their inputs written below `keep`.

        Without `keep` nothing is written or returned. `contexts` say how much the cache of a step shall hold, instead of
        what it held.
        """
        self._watched.keep = keep
        self._watched.calls.clear()
        program = open_program(self._watched)
        for text in texts:
            speech = program.speak(text.text, asked)
            self._settings = {name: value for name, value in vars(speech.request).items() if name in DECIDED}
        self._watched.keep = None
        return used(self._watched, contexts)

    def settings(self) -> dict[str, object]:
        """Return the settings that held in the warm-up, those that the package decided included."""
        return self._settings

    def turn(self, asked: Request, texts: Sequence[Text]) -> list[Reading]:
        """Speak the first text with a voice that is new, then every text with the voice known."""
        program = open_program(self._watched)
        first = Text(f"{texts[0].name}, {NEW_VOICE}", texts[0].text)
        found = self._speak(program, asked, first)
        for text in texts:
            found += self._speak(program, asked, text)
        original = getattr(self._watched.engine, "original", None)
        return with_loop(found, original, first.name) if original else found

    def memory(self) -> list[Reading]:
        """Return what memory this process takes."""
        return memory_readings("all texts")

    def components(self, cases: Sequence[Alone]) -> list[Reading]:
        """Run every case alone."""
        return [timed(self._watched.engine, case) for case in cases]

    def _speak(self, program: SpeechProgram, asked: Request, text: Text) -> list[Reading]:
        self._watched.calls.clear()
        compiled, begun = self._watched.compile_seconds, time.perf_counter()
        speech = program.speak(text.text, asked)
        taken = Taken(time.perf_counter() - begun, self._watched.compile_seconds - compiled, tuple(self._watched.calls))
        return list(readings(text.name, speech, taken, self._watched.manifest))


def memory_readings(case: str) -> list[Reading]:
    """Return the memory of this process: its peak since it began, and its share now."""
    sizes = (("peak RSS", memory.peak_bytes()), ("PSS", memory.proportional_bytes()))
    return [Reading(PROCESS, case, name, size / MEGABYTE, "MB", "lower") for name, size in sizes if size is not None]
