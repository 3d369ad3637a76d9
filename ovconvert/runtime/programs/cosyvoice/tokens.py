"""Text to speech tokens: what the language model reads first, and the tokens that it draws (spec section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovconvert.errors import QualityError, UsageError
from ovconvert.runtime.cache import open_step
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.cosyvoice.repetition import draw
from ovconvert.runtime.programs.cosyvoice.voices import Voice
from ovconvert.runtime.request import Resolved

LEAST, MOST = 2, 20  # speech tokens per text token

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Prompt:
    """What the language model knows beside the text (spec section 3.3).

    `before` are the ids of a recording's text, or of an instruction. `named` tells whether it reads the speaker's vector,
    `continued` whether it goes on from the speech tokens of the recording.
    """

    voice: Voice
    before: tuple[int, ...] = ()
    named: bool = True
    continued: bool = False


class Tokens:
    """The speech tokens of one piece of text, drawn as far as they are asked for, through a cache of their own.

    Raises UsageError where the text leaves no room for any.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Mapping[str, Any],
        ids: tuple[int, ...],
        prompt: Prompt,
        request: Resolved,
        rng: np.random.Generator,
        on_progress: Report,
        form: str | None = None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._rng = rng
        self._report = on_progress
        self._end: int = settings["codes"]
        self._step = open_step(engine, "decoder", form)
        self._step.reset()
        self._given = self._first(ids, prompt)
        room = settings["positions"] - self._given.shape[1]
        if room < 1:
            raise UsageError(
                f"the text and what stands before it take {self._given.shape[1]} of the model's {settings['positions']} "
                "positions, which leaves none for speech; give less"
            )
        self._least = max(LEAST * len(ids), request.min_new_tokens)
        self._most = min(MOST * len(ids), request.max_new_tokens, room)
        self.codes: list[int] = []
        self.finished = False  # by the model

    @property
    def over(self) -> bool:
        """Tell whether no more tokens come."""
        return self.finished or len(self.codes) >= self._most

    def draw(self, count: int | None = None) -> np.ndarray:
        """Draw until there are `count`, or all if it is None, and return all (n,). Raises QualityError for NaN."""
        while not self.over and (count is None or len(self.codes) < count):
            code = self._next()
            if code == self._end:
                self.finished = True
            else:
                self.codes.append(code)
                self._given = self._embed([code])
                self._report("decoder", len(self.codes), self._most)
        return np.array(self.codes, np.int64)

    def _next(self) -> int:
        logits = self._step(inputs_embeds=self._given)["logits"]
        scores = logits.reshape(-1, logits.shape[-1])[-1] / np.float32(self._request.temperature)
        if np.isnan(scores).any():
            raise QualityError(f"the decoder gives NaN at step {len(self.codes)}; its precision overflows: try float32")
        if len(self.codes) < self._least:
            scores[self._end] = -np.inf
        if not self._request.do_sample:
            return int(np.argmax(scores))
        return draw(scores, self.codes, self._rng, self._request.top_p, self._request.top_k)

    def _first(self, ids: tuple[int, ...], prompt: Prompt) -> np.ndarray:
        """Return what is read before the first token, (1, positions, width)."""
        text = np.array([[*prompt.before, *ids]], np.int64)
        parts = [self._embed([self._end]), self._engine.run("text_encoder", text_ids=text)["states"]]
        if prompt.named:
            parts.insert(1, self._engine.run("speaker_projection", speaker=prompt.voice.speaker)["row"])
        parts.append(self._embed([self._end + 1]))  # the ids of the two marks begin where those of the speech end
        if prompt.continued:
            parts.append(self._embed(prompt.voice.codes))
        return np.concatenate(parts, 1)

    def _embed(self, codes: np.ndarray | list[int]) -> np.ndarray:
        return self._engine.run("speech_embeddings", codes=np.array([codes], np.int64))["inputs_embeds"]
