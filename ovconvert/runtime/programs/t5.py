"""Text to text: the source is read once, the answer is drawn token by token."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ovconvert.errors import IntegrityError, UsageError
from ovconvert.runtime.cache import Step, open_step
from ovconvert.runtime.decode import Generation, Sampling, generate
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.token_step import TokenStep
from ovconvert.runtime.tokenizers import HFTokenizer
from ovconvert.runtime.writing import Answer, WriteRequest


class Program:
    """Writes with the package of `engine`. Raises IntegrityError if its settings are damaged."""

    def __init__(self, engine: Engine) -> None:
        path = engine.directory / "assets" / "settings.json"
        try:
            self.settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{path} cannot be read: {error}; check the package with 'ovconvert verify'") from error
        self._engine = engine
        self._tokenizer = HFTokenizer(engine.directory / "assets" / "tokenizer.json")
        self._opened: Step | None = None

    def write(
        self, text: str, request: WriteRequest, on_progress: Callable[[str, int, int], None] = lambda *_: None
    ) -> Answer:
        """Return the answer to `text`. Raises UsageError if there is nothing in it."""
        ids = self._tokenizer.encode(text)
        if not ids:
            raise UsageError("the text has no tokens; give one that says something")
        drawn = self.answer([*ids, self.settings["eos_token_id"]], request, on_progress)
        text = self._tokenizer.decode([int(token) for token in drawn.codes], special=False)
        return Answer(text, tuple(int(token) for token in drawn.codes), drawn.finished, dict(self._engine.seconds))

    def answer(
        self, ids: Sequence[int], request: WriteRequest, on_progress: Callable[[str, int, int], None] = lambda *_: None
    ) -> Generation:
        """Return the tokens that answer the source `ids`, its end token included."""
        sampling = Sampling(
            do_sample=request.do_sample,
            num_beams=request.num_beams,
            top_p=request.top_p,
            top_k=request.top_k,
            temperature=request.temperature,
            repetition_penalty=request.repetition_penalty,
            length_penalty=request.length_penalty,
            max_new_tokens=request.max_new_tokens,
            ends_compete=False,
        )
        rng = np.random.default_rng(request.seed)
        return self.generate(ids, sampling, rng, lambda count: on_progress("decoder", count, request.max_new_tokens))

    def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        rng: np.random.Generator | None = None,
        on_token: Callable[[int], None] | None = None,
    ) -> Generation:
        """Return the tokens that follow the source `ids`, read as they are; without an `rng`, drawn with the seed 0."""
        mask = np.ones((1, len(ids)), np.int64)
        states = self._engine.run("encoder", input_ids=np.array([ids], np.int64), attention_mask=mask)["last_hidden_state"]
        if self._opened is None:
            self._opened = open_step(self._engine, "decoder")
        start = self.settings["decoder_start_token_id"]
        source = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
        return generate(
            TokenStep(self._opened, source, sampling.num_beams),
            np.array([[start]], np.int64),
            lambda codes, position: codes,
            sampling,
            eos_token_id=self.settings["eos_token_id"],
            history=[start],
            rng=rng or np.random.default_rng(0),
            on_token=on_token,
        )
