"""F5-TTS: speech that continues a reference recording, whose text is known."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.package import ASSETS
from ovconvert.runtime import audio
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.f5tts.synthesis import Synthesis
from ovconvert.runtime.programs.f5tts.texts import Texts, checked, pieces, size
from ovconvert.runtime.programs.f5tts.voices import Voice, read_voice
from ovconvert.runtime.request import Request, Resolved
from ovconvert.runtime.speech import Chunk, Speech

EMOTION = ("emotion_voice", "emotion_vector", "emotion_text")
WHOLE_SECONDS = 22.0  # of recording and piece together; the original cuts its text so
FADE_SECONDS = 0.15  # over which pieces fade into each other, if there is no silence between them

Report = Callable[[str, int, int], None]


def _quiet(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


class Program:
    """Speech by an F5-TTS package. Utterances take turns, piece by piece."""

    def __init__(self, engine: Engine) -> None:
        assets = engine.directory / ASSETS
        self._engine = engine
        self._settings: dict[str, Any] = json.loads((assets / "config.json").read_text(encoding="utf-8"))
        self._synthesis = Synthesis(engine, self._settings, Texts(assets / "vocab.txt"))
        self._turn = threading.Lock()

    def stream(self, text: str, request: Request, on_progress: Report = _quiet) -> Iterator[Chunk]:
        """Yield the audio of `text`, a piece at a time.

        Raises UsageError for a text or a recording that cannot be spoken (with), and for what the model does not do, before
        any audio is made.
        """
        asked = request.resolved(self._settings["generation"])
        given = [name for name in EMOTION if getattr(asked, name) is not None]
        if given:
            raise UsageError(f"{' and '.join(given)} given: this model takes no emotion; leave it out")
        said = checked(text)
        voice = read_voice(asked, self._settings["mel"])
        cut = pieces(said, most_bytes(voice, asked))
        laid = [self._synthesis.lay_out(piece, voice, asked.speed) for piece in cut]
        rate = self._engine.manifest.sample_rate
        fade = 0 if asked.silence_ms else int(FADE_SECONDS * rate)

        def voiced() -> Iterator[tuple[np.ndarray, int]]:
            for number, symbols in enumerate(laid):
                rng = np.random.default_rng([asked.seed, number])
                with self._turn:
                    mel = self._synthesis.mel(symbols, voice, asked, rng, on_progress)
                    samples = self._synthesis.wave(mel, voice)
                yield samples, mel.shape[2]

        def chunks() -> Iterator[Chunk]:
            held = np.zeros(0, np.float32)
            for number, (made, frames) in enumerate(voiced()):
                samples = faded(held, made)
                kept = fade if number + 1 < len(cut) else 0
                done, held = np.split(samples, [max(len(samples) - kept, 0)])
                yield Chunk(done, rate, cut[number], frames, rate * asked.silence_ms // 1000, True, segment=number)

        return chunks()

    def render(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        """Return the audio (samples,) of a text of one piece: there are no codes to give, but the seed gives the same noise.

        Raises UsageError as `stream` does.
        """
        return np.concatenate([chunk.samples for chunk in self.stream(text, request)])

    def speak(
        self,
        text: str,
        request: Request,
        on_progress: Report = _quiet,
        on_chunk: Callable[[Chunk], None] = lambda chunk: None,
    ) -> Speech:
        """Return the audio of `text`; hand each piece to `on_chunk` as soon as it is made. Raises as `stream` does."""
        start, first = time.perf_counter(), 0.0
        before = dict(self._engine.seconds)
        chunks: list[Chunk] = []
        for chunk in self.stream(text, request, on_progress):
            first = first or time.perf_counter() - start
            chunks.append(chunk)
            on_chunk(chunk)
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in self._engine.seconds.items()}
        return Speech(
            samples=audio.join([chunk.samples for chunk in chunks], chunks[-1].silence),
            sample_rate=chunks[0].sample_rate,
            request=request.resolved(self._settings["generation"]),
            timings={name: seconds for name, seconds in spent.items() if seconds > 0.0},
            first_audio_seconds=first,
            seconds=time.perf_counter() - start,
        )


def most_bytes(voice: Voice, request: Resolved) -> int:
    """Return how many bytes of text a piece may have, so that it and the recording stay within WHOLE_SECONDS."""
    if request.segment_by == "sentence":
        return 0
    return int(size(voice.text) / voice.seconds * max(WHOLE_SECONDS - voice.seconds, 0.0) * request.speed)


def faded(before: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Return the end of one piece, `before`, faded into the next, `behind`, over as many samples as both have."""
    count = min(len(before), len(behind))
    rise = np.linspace(0.0, 1.0, count, dtype=np.float32)
    kept, over = np.split(before, [len(before) - count])
    return np.concatenate([kept, over * (1.0 - rise) + behind[:count] * rise, behind[count:]])
