"""CosyVoice of the first generation: text to speech with stored speakers, or in the voice of a recording."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.errors import UsageError, listing
from ovconvert.package import ASSETS
from ovconvert.runtime import audio
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.cosyvoice.synthesis import OVERLAP, Sound
from ovconvert.runtime.programs.cosyvoice.texts import Piece, Texts
from ovconvert.runtime.programs.cosyvoice.tokens import Prompt, Tokens
from ovconvert.runtime.programs.cosyvoice.voices import Voice, Voices, spoken
from ovconvert.runtime.request import Request, Resolved
from ovconvert.runtime.speech import Chunk, Speech

EMOTION = ("emotion_voice", "emotion_vector", "emotion_text")

Report = Callable[[str, int, int], None]


def _quiet(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


class Program:
    """Speech by a CosyVoice package: with a stored speaker, told how to speak or not, or in the voice of a recording.

    Where the text of the recording is known, the model goes on from what is said there; else it takes the voice alone, so
    that the recording may be in another language. Utterances take turns, part by part.
    """

    def __init__(self, engine: Engine) -> None:
        assets = engine.directory / ASSETS
        self._engine = engine
        self._settings: dict[str, Any] = json.loads((assets / "config.json").read_text(encoding="utf-8"))
        self._assets = assets
        self._voices = Voices(engine, self._settings, np.load(assets / "speakers.npy"))
        self._read: Texts | None = None
        self._turn = threading.RLock()

    def register(self, path: Path, max_seconds: float = Request.max_reference_seconds) -> Voice:
        """Hear and remember the voice in the recording at `path`, so that the first request need not."""
        with self._turn:
            return self._voices.heard(path, max_seconds)

    def stream(self, text: str, request: Request, on_progress: Report = _quiet) -> Iterator[Chunk]:
        """Yield the audio of `text`, a piece at a time, or as soon as there are tokens for the seconds that are asked for.

        Raises UsageError for a text that cannot be spoken, for a speaker that is not stored, for a recording that cannot be
        heard, and for what the model does not do, before any audio is made.
        """
        asked = request.resolved(self._settings["generation"])
        _refuse(asked)
        with self._turn:
            pieces = self._texts.pieces(text)
            prompt = self._prompt(asked)

        def chunks() -> Iterator[Chunk]:
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
        parts = [list(part) for _, part in groupby(chunks, lambda chunk: chunk.segment)]  # of each piece
        notes = tuple(
            f"piece {number} reached the limit of {chunk.tokens} tokens: {chunk.text!r}"
            for number, chunk in enumerate((part[-1] for part in parts), 1)
            if not chunk.finished
        )
        return Speech(
            samples=audio.join([np.concatenate([chunk.samples for chunk in part]) for part in parts], chunks[-1].silence),
            sample_rate=chunks[0].sample_rate,
            request=request.resolved(self._settings["generation"]),
            timings={name: seconds for name, seconds in spent.items() if seconds > 0.0},
            first_audio_seconds=first,
            notes=notes,
            seconds=time.perf_counter() - start,
        )


def _refuse(request: Resolved) -> None:
    """Raise UsageError with all that a request asks for and this model does not do."""
    problems = [f"{name} is given; this model takes no emotion" for name in EMOTION if getattr(request, name) is not None]
    if request.num_beams > 1:
        problems.append(f"num_beams is {request.num_beams}; this model draws one sequence: leave it at 1")
    if request.voice is None and request.voice_text is not None:
        problems.append("voice_text is what is said in a recording; give the recording with --voice")
    problems += [
        f"{name} belongs to a stored speaker; leave out --voice, or it"
        for name in ("speaker", "instruct_text")
        if request.voice is not None and getattr(request, name) is not None
    ]
    if request.chunk_seconds and request.speed != 1.0:
        problems.append(f"speed is {request.speed:g}; audio in parts (--stream, chunk_seconds) has speed 1 alone")
    if problems:
        raise UsageError(listing("the request does not fit this model:", problems))
