"""Competitors in a process: do what they are for and run their components when it is their turn, and say what that cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert import memory
from ovconvert.bench.abilities import Asked, Outcome, ability_for
from ovconvert.bench.alone import Alone, timed, used
from ovconvert.bench.effort import Effort
from ovconvert.bench.published import per_call, with_loop
from ovconvert.bench.reading import Reading
from ovconvert.bench.side_by_side import side_by_side
from ovconvert.bench.spoken import Taken, readings
from ovconvert.bench.subject import Subject, open_engine, open_program
from ovconvert.bench.texts import Text
from ovconvert.runtime.audio import wav_bytes

NEW_VOICE = "new voice"
PROCESS = "process"
MEGABYTE = 1e6


class Bench:
    """An engine, opened as its first competitor wants it. Graphs are compiled when first used, which the warm-up does."""

    def __init__(self, subject: Subject) -> None:
        self._effort = Effort()  # before the engine makes its threads
        self._watched = open_engine(subject)
        self._program: Any = None  # one that knows the voice
        self._per_call: dict[str, float] = {}  # of every component, as it hears a voice and speaks
        self._settings: Mapping[str, object] = {}
        self._sounds: dict[str, tuple[np.ndarray, int]] = {}  # of the last turn: samples and rate by text

    def warm_up(
        self, asked: Asked, texts: Sequence[Text], keep: Path | None = None, contexts: Sequence[int] = ()
    ) -> list[Alone]:
        """Speak every text once; return the sizes at which each component spent most, their inputs written below `keep`.

        Without `keep` nothing is written or returned, without `texts` nothing is spoken. `contexts` say how much the cache
        of a step shall hold, instead of what it held.
        """
        if not texts:
            return []
        self._watched.keep = keep
        self._watched.calls.clear()
        program = open_program(self._watched)
        for text in texts:
            self._settings = done(program, asked, text).settings
        self._watched.keep = None
        self._program = program
        self._per_call = per_call(self._watched.calls)
        return used(self._watched, contexts)

    def remark(self) -> str:
        """Return what must be known to read the figures of the engine; "" if nothing."""
        return str(getattr(self._watched.engine, "remark", ""))

    def settings(self) -> Mapping[str, object]:
        """Return the settings that held in the warm-up, those that the package decided included."""
        return self._settings

    def turn(self, asked: Asked, texts: Sequence[Text], new_voice: bool = True) -> list[Reading]:
        """Speak the first text with a voice that is new, then every text with the voice known.

        Without `new_voice` only the latter, with the voice of the warm-up.
        """
        found: list[Reading] = []
        self._sounds.clear()
        heard = ""
        if new_voice or self._program is None:
            self._program = open_program(self._watched)
            heard = f"{texts[0].name}, {NEW_VOICE}"
            found = self._speak(self._program, asked, Text(heard, texts[0].text))
            self._per_call = per_call(self._watched.calls)
        for text in texts:
            found += self._speak(self._program, asked, text)
        original = getattr(self._watched.engine, "original", None)
        return with_loop(found, original, self._per_call, heard) if original else found

    def streams(self, asked: Asked, text: Text, counts: Sequence[int]) -> list[Reading]:
        """Speak a text so many times at a time as each of `counts` says, with the voice of the warm-up."""
        assert self._program is not None
        program = self._program

        def speak() -> float:
            return done(program, asked, text).audio_seconds or 0.0

        found = [reading for count in counts for reading in side_by_side(speak, text.name, count)]
        self._watched.calls.clear()
        return found

    def sounds(self) -> dict[str, bytes]:
        """Return what the last turn spoke, by text, as WAV files; what holds samples that are not finite is left out."""
        return {
            name: wav_bytes(samples, rate) for name, (samples, rate) in self._sounds.items() if np.isfinite(samples).all()
        }

    def memory(self) -> list[Reading]:
        """Return what memory this process takes."""
        return memory_readings("all texts")

    def components(self, cases: Sequence[Alone]) -> list[Reading]:
        """Run every case alone."""
        return [timed(self._watched.engine, case) for case in cases]

    def _speak(self, program: Any, asked: Asked, text: Text) -> list[Reading]:
        ability = ability_for(asked)
        self._watched.calls.clear()
        if begin := getattr(self._watched.engine, "begin", None):
            begin()
        compiled, before, begun = self._watched.compile_seconds, self._effort.now(), time.perf_counter()
        result = ability.call(program, text.text, asked)
        seconds, spent = time.perf_counter() - begun, self._effort.now().since(before)
        outcome = ability.outcome(result, text.text)
        if outcome.sound is not None:
            self._sounds[text.name] = outcome.sound
        taken = Taken(seconds, self._watched.compile_seconds - compiled, tuple(self._watched.calls), spent)
        return list(readings(text.name, outcome, taken, self._watched.manifest))


def done(program: Any, asked: Asked, text: Text) -> Outcome:
    """Return what comes of a text, or of the recording that it names."""
    ability = ability_for(asked)
    return ability.outcome(ability.call(program, text.text, asked), text.text)


def memory_readings(case: str) -> list[Reading]:
    """Return the memory of this process: its peak since it began, and its share now."""
    sizes = (("peak RSS", memory.peak_bytes()), ("PSS", memory.proportional_bytes()))
    return [Reading(PROCESS, case, name, size / MEGABYTE, "MB", "lower") for name, size in sizes if size is not None]
