"""IndexTTS2, versions 2.0 and 2.5: text and a reference recording to speech."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.overlap import Left, ahead
from ovconvert.runtime.programs.indextts2.classifier import COMPONENT as CLASSIFIER
from ovconvert.runtime.programs.indextts2.classifier import EmotionClassifier
from ovconvert.runtime.programs.indextts2.emotions import EmotionMatrix, blend, scaled
from ovconvert.runtime.programs.indextts2.synthesis import Draft, Synthesis
from ovconvert.runtime.programs.indextts2.texts import Segment, Texts
from ovconvert.runtime.programs.indextts2.voices import Voice, Voices
from ovconvert.runtime.request import Request, Resolved
from ovconvert.runtime.speaking import Report, Speaker, quiet
from ovconvert.runtime.speech import Chunk
from ovconvert.runtime.takes import BEAMS, EMOTION, FLOW, SAMPLING, whole


class Program(Speaker):
    """Speech by an IndexTTS2 package.

    Voices, and the emotion vectors of recordings, are computed once and remembered. Utterances may run side by side: their
    segments take turns on the graphs. Within one, the next segment is decoded while this one is solved and voiced, if the
    request asks for it.
    """

    TAKES: ClassVar = {
        **whole("voice", "max_reference_seconds", "language", "speed", *EMOTION, *SAMPLING, *BEAMS, *FLOW),
        **whole("latents", "positions", "prompt_seconds", "segment_by", "segment_tokens", "silence_ms"),
        **whole("chunk_seconds", "overlap"),
    }
    OF: ClassVar = {"latents": "latent_projector"}  # version 2.5 makes content from the codes alone
    NEEDS = ("voice",)

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._texts = Texts(self._settings, self._assets)
        self._voices = Voices(engine, self._settings)
        self._matrix = EmotionMatrix(self._settings, self._assets)
        self._synthesis: Synthesis | None = None
        self._classifier: EmotionClassifier | None = None
        # what decodes, and what solves and voices, each serve one segment at a time; a voice needs both
        self._decoding = threading.RLock()
        self._voicing = threading.RLock()

    def contradictions(self, asked: Resolved) -> list[str]:
        """Return a line for what shapes an emotion where none is given."""
        drawn = asked.emotion_vector is not None or asked.emotion_text is not None
        problems = []
        if asked.emotion_alpha != 1.0 and not drawn and asked.emotion_voice is None:
            problems.append("emotion_alpha is the strength of an emotion; give emotion_voice, _vector or _text")
        if asked.emotion_random and not drawn:
            problems.append("emotion_random draws vectors of an emotion that is weighed; give emotion_vector or _text")
        return problems

    def register(self, path: Path, max_seconds: float = Request.max_reference_seconds) -> Voice:
        """Compute and remember the voice in the recording at `path`, so that the first request need not."""
        with self._decoding, self._voicing:
            voice = self._voices.voice(path, max_seconds, with_emotion=True)
            self._voices.emotion(path, max_seconds)
            return voice

    def stream(self, text: str, request: Request, on_progress: Report = quiet) -> Generator[Chunk, None, None]:
        """Yield the audio of `text` chunk by chunk; while one is consumed, the next is made.

        Progress is reported from other threads, one call at a time. Raises UsageError for a text or a recording that cannot
        be spoken (with), before any audio is made.
        """
        asked = self.resolved(request)
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
            return synthesis.spectrum(draft, voice, resolved, quiet)

    def logits(self, text: str, codes: np.ndarray, request: Request) -> np.ndarray:
        """Return the decoder's logits (codes + 1, vocabulary) before each of given codes (n,) and after the last.

        Step by step, as if the decoder had chosen them for `text`. Raises UsageError as `render` does.
        """
        resolved = self.resolved(request)
        segment = self._only_segment(text, resolved)
        with self._decoding, self._voicing:
            synthesis, voice, emotion = self._prepare(text, resolved)
            return synthesis.logits(segment, codes, voice, emotion, resolved)

    def _prepare(self, text: str, request: Resolved) -> tuple[Synthesis, Voice, np.ndarray]:
        """Return the synthesis, the voice, and the emotion vector (1, width) that a request asks for."""
        own = request.emotion_voice is None or request.emotion_alpha != 1.0
        voice = self._voices.voice(_required(request.voice), request.max_reference_seconds, with_emotion=own)
        emotion = self._emotion(text, voice, request)
        if self._synthesis is None:
            self._synthesis = Synthesis(self._engine, self._settings)
        return self._synthesis, voice, emotion

    def _given(self, text: str, codes: np.ndarray, request: Request) -> tuple[Synthesis, Draft, Voice, Resolved]:
        resolved = self.resolved(request)
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
