"""One piece of text to audio: the mel of the recording is continued by what the piece says, then voiced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.guidance import Guided
from ovconvert.runtime.programs.f5tts.texts import Texts, size
from ovconvert.runtime.programs.f5tts.voices import Voice
from ovconvert.runtime.request import Resolved
from ovconvert.runtime.solve import initial_noise, solve, sway_times

LONGEST = 4096  # frames of recording and speech together; the model knows no positions of text beyond
SHORT, SLOW = 10, 0.3  # a piece of fewer bytes is spoken at this speed: by its length alone it would get too few frames

Report = Callable[[str, int, int], None]


class Synthesis:
    """Makes the audio of pieces, one at a time."""

    def __init__(self, engine: Engine, settings: Mapping[str, Any], texts: Texts) -> None:
        self._engine = engine
        self._settings = settings
        self._texts = texts

    def lay_out(self, piece: str, voice: Voice, speed: float) -> np.ndarray:
        """Return int64 (frames,): the symbols of the recording and the piece, counted from 1, and zeros behind them.

        As many frames are new as the recording takes for so many bytes. Raises UsageError for a piece that is too long, or
        that the vocabulary cannot write.
        """
        ids = np.array(self._texts.ids(voice.text + piece), np.int64) + 1
        pace = SLOW if size(piece) < SHORT else speed
        new = int(voice.before / size(voice.text) * size(piece) / pace)
        frames = max(voice.before + new, max(len(ids), voice.mel.shape[2]) + 1)
        if frames > LONGEST:
            mel = self._settings["mel"]
            seconds = LONGEST * mel["hop_length"] / mel["sample_rate"]
            raise UsageError(
                f"recording and speech would be longer than {seconds:.0f} s together; put marks into the text, at which it "
                f"can be cut: {piece[:60]!r}"
            )
        return np.pad(ids, (0, frames - len(ids)))

    def mel(
        self, laid: np.ndarray, voice: Voice, request: Resolved, rng: np.random.Generator, on_progress: Report
    ) -> np.ndarray:
        """Return the mel (1, bands, frames) behind the recording's, of symbols as `lay_out` gives them."""
        known, bands = voice.mel.shape[2], voice.mel.shape[1]
        seen = (laid > 0 if self._settings["text_masked"] else np.ones_like(laid)).astype(np.int64)
        # the second branch of guidance hears nothing and reads nothing, but its mask is that of the text
        text = self._engine.run(
            "text_embedding", text_ids=np.stack([laid, np.zeros_like(laid)]), text_mask=np.stack([seen, seen])
        )["text"]
        cond = np.zeros((1, bands, len(laid)), np.float32)
        cond[:, :, :known] = voice.mel

        def branches(x: np.ndarray, t: float, mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
            asked = {"x": x, "t": np.array([t], np.float32), "branch_mask": mask, "branch_weights": weights}
            return self._engine.run("flow_estimator", **asked, cond=cond, text=text[: len(mask)])["velocity"]

        start, end = request.guidance_interval
        found = solve(
            request.solver,
            Guided(branches, request.guidance, (start, end), request.guidance_every),
            initial_noise(rng, cond.shape),
            sway_times(request.steps, request.sway),
            on_step=lambda step: on_progress("flow_estimator", step, request.steps),
        )
        found[:, :, :known] = voice.mel
        return found[:, :, voice.before :]

    def wave(self, mel: np.ndarray, voice: Voice) -> np.ndarray:
        """Return the audio (samples,) of a mel (1, bands, frames), as loud as the recording."""
        samples = self._engine.run("vocoder", mel=np.ascontiguousarray(mel))["waveform"].reshape(-1)
        quieter: np.ndarray = samples * np.float32(voice.gain)
        return quieter
