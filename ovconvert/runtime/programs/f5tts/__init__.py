"""F5-TTS: speech that continues a reference recording, whose text is known."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import ClassVar

import numpy as np

from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.f5tts.synthesis import Synthesis
from ovconvert.runtime.programs.f5tts.texts import Texts, checked, pieces, size
from ovconvert.runtime.programs.f5tts.voices import Voice, read_voice
from ovconvert.runtime.request import Request, Resolved
from ovconvert.runtime.speaking import Report, Speaker, quiet
from ovconvert.runtime.speech import Chunk
from ovconvert.runtime.takes import FLOW, RECORDING, whole

WHOLE_SECONDS = 22.0  # of recording and piece together; the original cuts its text so
FADE_SECONDS = 0.15  # over which pieces fade into each other, if there is no silence between them


class Program(Speaker):
    """Speech by an F5-TTS package. Utterances take turns, piece by piece."""

    TAKES: ClassVar = whole(*RECORDING, *FLOW, "speed", "segment_by", "silence_ms")
    NEEDS = ("voice",)

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._synthesis = Synthesis(engine, self._settings, Texts(self._assets / "vocab.txt"))
        self._turn = threading.Lock()

    def stream(self, text: str, request: Request, on_progress: Report = quiet) -> Generator[Chunk, None, None]:
        """Yield the audio of `text`, a piece at a time.

        Raises UsageError for a text or a recording that cannot be spoken (with), and for what the model does not do, before
        any audio is made.
        """
        asked = self.resolved(request)
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

        def chunks() -> Generator[Chunk, None, None]:
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
