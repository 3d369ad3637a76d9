"""IndexTTS2, versions 2.0 and 2.5: text and a reference recording to speech."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.package import ASSETS
from ovconvert.runtime import audio
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.overlap import Left, ahead
from ovconvert.runtime.programs.indextts2.classifier import COMPONENT as CLASSIFIER
from ovconvert.runtime.programs.indextts2.classifier import EmotionClassifier
from ovconvert.runtime.programs.indextts2.emotions import EmotionMatrix, blend, scaled
from ovconvert.runtime.programs.indextts2.synthesis import Draft, Synthesis
from ovconvert.runtime.programs.indextts2.texts import Segment, Texts
from ovconvert.runtime.programs.indextts2.voices import Voice, Voices
from ovconvert.runtime.request import Request, Resolved
from ovconvert.runtime.speech import Chunk, Speech

FOREIGN = ("speaker", "instruct_text")

Report = Callable[[str, int, int], None]


def _quiet(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


class Program:
    """Speech by an IndexTTS2 package.

    Voices, and the emotion vectors of recordings, are computed once and remembered. Utterances may run side by side: their
    segments take turns on the graphs. Within one, the next segment is decoded while this one is solved and voiced, if the
    request asks for it.
    """

    def __init__(self, engine: Engine) -> None:
        assets = engine.directory / ASSETS
        self._engine = engine
        self._settings: dict[str, Any] = json.loads((assets / "config.json").read_text(encoding="utf-8"))
        self._assets = assets
        self._texts = Texts(self._settings, assets)
        self._voices = Voices(engine, self._settings)
        self._matrix = EmotionMatrix(self._settings, assets)
        self._synthesis: Synthesis | None = None
        self._classifier: EmotionClassifier | None = None
        # what decodes, and what solves and voices, each serve one segment at a time; a voice needs both
        self._decoding = threading.RLock()
        self._voicing = threading.RLock()

    def register(self, path: Path, max_seconds: float = Request.max_reference_seconds) -> Voice:
        """Compute and remember the voice in the recording at `path`, so that the first request need not."""
        with self._decoding, self._voicing:
            voice = self._voices.voice(path, max_seconds, with_emotion=True)
            self._voices.emotion(path, max_seconds)
            return voice

    def stream(self, text: str, request: Request, on_progress: Report = _quiet) -> Generator[Chunk, None, None]:
        """Yield the audio of `text` chunk by chunk; while one is consumed, the next is made.

        Progress is reported from other threads, one call at a time. Raises UsageError for a text or a recording that cannot
        be spoken (with), before any audio is made.
        """
        asked = self._resolved(request)
        segments = self._texts.segments(text, asked)
        _required(asked.voice)
        left = threading.Event()
        reporting = threading.Lock()

        def report(what: str, done: int, total: int) -> None:
            if left.is_set():
                raise Left
            with reporting:
                on_progress(what, done, total)

        with self._decoding, self._voicing:
            synthesis, voice, emotion = self._prepare(text, asked)

        def drafts() -> Generator[Draft, None, None]:
            for number, segment in enumerate(segments):
                with self._decoding:
                    draft = synthesis.draft(number, segment, voice, emotion, asked, report)
                yield draft

        def chunks() -> Generator[Chunk, None, None]:
            with closing(ahead(drafts(), left, "drafts") if asked.overlap else drafts()) as drafted:
                for draft in drafted:
                    made = synthesis.chunks(draft, voice, asked, report)
                    while (chunk := self._voiced(made)) is not None:
                        yield chunk

        return ahead(chunks(), left, "chunks")

    def _voiced(self, made: Iterator[Chunk]) -> Chunk | None:
        with self._voicing:
            return next(made, None)

    def render(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        """Return the audio (samples,) of given speech codes (n,) for `text`, as if the decoder had chosen them.

        What a recording loses on the way through codes, flow and vocoder can be heard in it. Raises UsageError as `stream`
        does, and for a text of more than one segment.
        """
        with self._decoding, self._voicing:
            synthesis, draft, voice, resolved = self._given(text, codes, request)
            return synthesis.render(draft, voice, resolved)

    def spectrum(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        """Return the mel (1, bands, frames) from which `render` makes audio. Raises UsageError as it does."""
        with self._decoding, self._voicing:
            synthesis, draft, voice, resolved = self._given(text, codes, request)
            return synthesis.spectrum(draft, voice, resolved, _quiet)

    def logits(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        """Return the decoder's logits (codes + 1, vocabulary) before each of given codes (n,) and after the last.

        Step by step, as if the decoder had chosen them for `text`. Raises UsageError as `render` does.
        """
        resolved = self._resolved(request)
        segment = self._only_segment(text, resolved)
        with self._decoding, self._voicing:
            synthesis, voice, emotion = self._prepare(text, resolved)
            return synthesis.logits(segment, codes, voice, emotion, resolved)

    def speak(
        self,
        text: str,
        request: Request,
        on_progress: Report = _quiet,
        on_chunk: Callable[[Chunk], None] = lambda chunk: None,
    ) -> Speech:
        """Return the audio of `text`; hand each chunk to `on_chunk` as soon as it is made. Raises as `stream` does."""
        request = self._resolved(request)
        start = time.perf_counter()
        before = dict(self._engine.seconds)
        first = 0.0
        chunks = []
        with closing(self.stream(text, request, on_progress)) as made:
            for chunk in made:
                if not first and len(chunk.samples):
                    first = time.perf_counter() - start
                chunks.append(chunk)
                on_chunk(chunk)
        passed = time.perf_counter() - start
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in self._engine.seconds.items()}
        parts = [list(part) for _, part in groupby(chunks, lambda chunk: chunk.segment)]  # of each segment
        samples = audio.join([np.concatenate([chunk.samples for chunk in part]) for part in parts], parts[0][-1].silence)
        notes = tuple(
            f"segment {number} {what}: {chunk.text!r}"
            for number, chunk in enumerate((part[-1] for part in parts), 1)
            for what, true in (
                (f"reached the limit of {chunk.tokens} tokens", not chunk.finished),
                ("was ended by the model before it began", not chunk.tokens),
            )
            if true
        )
        timings = {name: seconds for name, seconds in spent.items() if seconds > 0.0}
        return Speech(samples, chunks[0].sample_rate, request, timings, first, notes, passed)

    def _resolved(self, request: Request) -> Resolved:
        """Return the request with what it leaves open decided by the package, else by the original.

        Raises UsageError for what other models are told.
        """
        given = [name for name in FOREIGN if getattr(request, name) is not None]
        if given:
            raise UsageError(f"{' and '.join(given)} given: this model is told nothing of the kind; leave it out")
        return request.resolved(self._settings.get("generation", {}))

    def _prepare(self, text: str, request: Resolved) -> tuple[Synthesis, Voice, np.ndarray]:
        """Return the synthesis, the voice, and the emotion vector (1, width) that a request asks for."""
        own = request.emotion_voice is None or request.emotion_alpha != 1.0
        voice = self._voices.voice(_required(request.voice), request.max_reference_seconds, with_emotion=own)
        emotion = self._emotion(text, voice, request)
        if self._synthesis is None:
            self._synthesis = Synthesis(self._engine, self._settings)
        return self._synthesis, voice, emotion

    def _given(self, text: str, codes: np.ndarray, request: Request) -> tuple[Synthesis, Draft, Voice, Resolved]:
        resolved = self._resolved(request)
        segment = self._only_segment(text, resolved)
        synthesis, voice, emotion = self._prepare(text, resolved)
        return synthesis, synthesis.given(segment, codes, voice, emotion, resolved), voice, resolved

    def _only_segment(self, text: str, request: Resolved) -> Segment:
        segments = self._texts.segments(text, request)
        if len(segments) > 1:
            raise UsageError(f"codes belong to one segment, the text has {len(segments)}: {text[:60]!r}")
        return segments[0]

    def _emotion(self, text: str, voice: Voice, request: Request) -> np.ndarray:
        """Return the emotion vector (1, width) that a request asks for (spec section 9)."""
        path = request.emotion_voice or _required(request.voice)
        heard = self._voices.emotion(path, request.max_reference_seconds)
        rng = np.random.default_rng([request.seed, 2**32])
        weights = request.emotion_vector
        if request.emotion_text is not None:
            weights = self._read_emotion(request.emotion_text or text, rng)
        if weights is not None:
            chosen = scaled(weights, request.emotion_alpha)
            return self._matrix.mix(chosen, voice.style, heard, rng if request.emotion_random else None)
        if request.emotion_voice is None or request.emotion_alpha == 1.0:
            return heard
        own = self._voices.emotion(_required(request.voice), request.max_reference_seconds)
        return blend(own, heard, request.emotion_alpha)

    def _read_emotion(self, text: str, rng: np.random.Generator) -> tuple[float, ...]:
        if not self._engine.manifest.has(CLASSIFIER):
            raise UsageError(
                "this package has no emotion classifier, so emotion cannot be read from text; give an emotion vector, or "
                "export a checkpoint that has one"
            )
        if self._classifier is None:
            self._classifier = EmotionClassifier(self._engine, self._settings[CLASSIFIER], self._assets)
        return self._classifier.scores(text, rng)


def _required(voice: Path | None) -> Path:
    if voice is None:
        raise UsageError("no voice: give a reference recording with --voice")
    return Path(voice)
