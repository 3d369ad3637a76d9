"""Everything that is measured of one utterance, as one flat row that JSON can hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demo_voice import failures, prosody, recognise
from demo_voice.durations import Durations
from demo_voice.spoken import Spoken
from demo_voice.voices import Voices
from ovconvert.quality.dnsmos import Listener

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Instruments:
    """What a meter measures with.

    `language_model` is the ARPA file of the domain; `references` are recordings (count,) at 16 kHz by speaker. `general`
    asks for the general language model too, whose search takes four times as long; `opinions` for DNSMOS; `voices` for the
    speakers' cosines.
    """

    durations: Durations
    language_model: Path
    references: Mapping[str, Sequence[np.ndarray]]
    general: bool = True
    opinions: bool = True
    voices: bool = True

    def fingerprint(self, spoken: Spoken) -> str:
        """Return a name for the utterance, its target and these instruments."""
        digest = hashlib.sha256()
        digest.update(np.ascontiguousarray(spoken.samples, np.float32).tobytes())
        digest.update(self.language_model.read_bytes())
        for name, waves in sorted(self.references.items()):
            digest.update(name.encode() + b"".join(np.ascontiguousarray(wave, np.float32).tobytes() for wave in waves))
        target = (spoken.text, spoken.speaker, spoken.style, spoken.finished, spoken.speed)
        digest.update(repr((target, self.durations.seconds, self.general, self.opinions, self.voices)).encode())
        return digest.hexdigest()[:32]


class Meter:
    """Measures utterances; what needs a package that is not installed is left out and named in `missing`."""

    def __init__(self, instruments: Instruments) -> None:
        self.missing: dict[str, str] = {}
        self._durations = instruments.durations
        self._domain = recognise.Recogniser(instruments.language_model)
        self._general = recognise.Recogniser() if instruments.general else None
        self._listener = self._open("speechmos", Listener) if instruments.opinions else None
        self._voices = self._open("resemblyzer", lambda: Voices(instruments.references)) if instruments.voices else None
        self._pitch = self._open("pyworld", prosody.open_tracker)

    def measure(self, spoken: Spoken) -> Row:
        """Return the row of an utterance. Raises KeyError if a word, the speaker or the style is not of the corpus."""
        expected = self._durations.expected(spoken.text, spoken.speaker, spoken.style, spoken.speed)
        row: Row = {"text": spoken.text, "speaker": spoken.speaker, "style": spoken.style, "speed": spoken.speed}
        row |= {"seconds": round(spoken.seconds, 3), "expected_seconds": round(expected, 3)}
        for name, value in self._measure(spoken, expected):
            row[name] = value
        return row

    def _measure(self, spoken: Spoken, expected: float) -> Iterator[tuple[str, object]]:
        sound = bool(np.isfinite(spoken.samples).all())
        heard = self._domain.hear(spoken.samples) if sound else ""
        yield from _recognised(spoken.text, heard, "domain")
        if self._general:
            yield from _recognised(spoken.text, self._general.hear(spoken.samples) if sound else "", "general")
        found = failures.find(spoken, heard, expected)
        yield "failures", [asdict(failure) for failure in found]
        if any(failure.name == "silent" for failure in found):
            return  # nothing to hear
        if self._listener:
            yield "opinion", asdict(self._listener.judge(spoken.samples))
        if self._voices:
            yield "cosines", self._voices.cosines(spoken.samples)
        if self._pitch:
            yield "prosody", asdict(prosody.measure(spoken, self._durations, self._pitch))

    def _open(self, package: str, instrument: Callable[[], Any]) -> Any:
        try:
            return instrument()
        except ImportError as error:
            self.missing[package] = str(error)
            return None


def _recognised(text: str, heard: str, model: str) -> Iterator[tuple[str, object]]:
    errors, words = recognise.word_errors(text, heard)
    yield model, {"heard": heard, "errors": errors, "words": words}
