"""CosyVoice of the first generation: text to speech with stored speakers, or in the voice of a recording."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.cosyvoice.synthesis import OVERLAP, Sound
from ovconvert.runtime.programs.cosyvoice.texts import Piece, Texts
from ovconvert.runtime.programs.cosyvoice.tokens import Prompt, Tokens
from ovconvert.runtime.programs.cosyvoice.voices import Voice, Voices, spoken
from ovconvert.runtime.request import Request, Resolved
from ovconvert.runtime.speaking import Report, Speaker, quiet
from ovconvert.runtime.speech import Chunk
from ovconvert.runtime.takes import FLOW, RECORDING, SAMPLING, whole


class Program(Speaker):
    """Speech by a CosyVoice package: with a stored speaker, told how to speak or not, or in the voice of a recording.

    Where the text of the recording is known, the model goes on from what is said there; else it takes the voice alone, so
    that the recording may be in another language. Utterances take turns, part by part.
    """

    TAKES: ClassVar = {
        **whole(*RECORDING, *SAMPLING, *FLOW, "speaker", "instruct_text", "speed"),
        **whole("prompt_seconds", "silence_ms", "chunk_seconds"),
        "num_beams": (1,),  # it draws one sequence
    }

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._voices = Voices(engine, self._settings, np.load(self._assets / "speakers.npy"))
        self._read: Texts | None = None
        self._turn = threading.RLock()

    def contradictions(self, asked: Resolved) -> list[str]:
        """Return a line for all that this model can do, but not together."""
        problems = [
            f"{name} belongs to a stored speaker; leave out --voice, or it"
            for name in ("speaker", "instruct_text")
            if asked.voice is not None and getattr(asked, name) is not None
        ]
        if asked.voice is None and asked.voice_text is not None:
            problems.append("voice_text is what is said in a recording; give the recording with --voice")
        if asked.chunk_seconds and asked.speed != 1.0:
            problems.append(f"speed is {asked.speed:g}; audio in parts (--stream, chunk_seconds) has speed 1 alone")
        return problems

    def register(self, path: Path, max_seconds: float = Request.max_reference_seconds) -> Voice:
        """Hear and remember the voice in the recording at `path`, so that the first request need not."""
        with self._turn:
            return self._voices.heard(path, max_seconds)

    def stream(self, text: str, request: Request, on_progress: Report = quiet) -> Generator[Chunk, None, None]:
        """Yield the audio of `text`, a piece at a time, or as soon as there are tokens for the seconds that are asked for.

        Raises UsageError for a text that cannot be spoken, for a speaker that is not stored, for a recording that cannot be
        heard, and for what the model does not do, before any audio is made.
        """
        asked = self.resolved(request)
        with self._turn:
            pieces = self._texts.pieces(text)
            prompt = self._prompt(asked)

        def chunks() -> Generator[Chunk, None, None]:
            for number, piece in enumerate(pieces):
                made = self._parts(number, piece, prompt, asked, on_progress)
                while (chunk := self._next(made)) is not None:
                    yield chunk

        return chunks()

    def _next(self, made: Iterator[Chunk]) -> Chunk | None:
        with self._turn:
            return next(made, None)

    def _parts(self, number: int, piece: Piece, prompt: Prompt, request: Resolved, on_progress: Report) -> Iterator[Chunk]:
        """Yield the audio of a piece. Parts are made of other noise than the whole, but of the same tokens."""
        choices, noise = (np.random.default_rng([request.seed, number, use]) for use in (0, 1))
        tokens = Tokens(self._engine, self._settings, piece.ids, prompt, request, choices, on_progress)
        sound = Sound(self._engine, self._settings, prompt.voice, request, noise, on_progress)
        asked = round(request.chunk_seconds * self._settings["token_rate"])
        size = max(asked, OVERLAP) if request.chunk_seconds else None
        rate, start, last = self._engine.manifest.sample_rate, 0, False
        while not last:
            codes = tokens.draw(size and start + size + OVERLAP)
            last = tokens.over
            samples = sound.part(codes[start:], last=last) if len(codes) else np.zeros(0, np.float32)
            start += size or 0
            silence = rate * request.silence_ms // 1000 if last else 0
            done = tokens.finished or not last
            yield Chunk(samples, rate, piece.text, len(codes), silence, done, codes, number)

    @property
    def _texts(self) -> Texts:
        if self._read is None:
            self._read = Texts(self._settings, self._assets)
        return self._read

    def _prompt(self, request: Resolved) -> Prompt:
        """Return what the model knows beside the text, by what the request gives (spec section 3.3)."""
        if request.voice is not None:
            said = spoken(Path(request.voice), request.voice_text)
            voice = self._voices.heard(Path(request.voice), request.max_reference_seconds, whole=bool(said))
            return Prompt(voice, self._texts.heard(said), continued=True) if said else Prompt(voice)
        voice, told = self._voices.stored(request.speaker), request.instruct_text
        return Prompt(voice) if told is None else Prompt(voice, self._texts.instruction(told), named=False)
