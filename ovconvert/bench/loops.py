"""What stands beside whole engines: our decoding loop on a package's language model, and programs that hear or answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ovconvert.bench.variants import form_of
from ovconvert.language_model import POSITION_IDS, Parts, parts_of
from ovconvert.package import PackedComponent
from ovconvert.runtime import find_program
from ovconvert.runtime.cache import Step, open_step
from ovconvert.runtime.decode import Sampling, generate


class Loop:
    """Our own decoding loop on the language model of a package, as a whole engine would be asked."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._parts: Parts = parts_of(engine.manifest)
        decoder = self._parts.decoder.name
        self._step: Step = open_step(engine, decoder)
        self.vocabulary = self._parts.vocabulary
        self.settings = described(engine.manifest.packed(decoder))

    def reset(self) -> None:
        """Forget the sequence."""
        self._step.reset()

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (logits (rows, ids) of the last position, hidden states), as the decoding loop asks."""
        result = self._step(beam_idx, **{self._parts.embedded: inputs_embeds})
        logits = result["logits"]
        return (logits if logits.ndim == 2 else logits[:, -1]), result["last_hidden_state"]

    def generate(self, source: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return the `tokens` ids of the best sequence after the prompt `source`."""
        ids = np.array([source], np.int64)
        found = generate(
            self,
            self._embed(ids, np.arange(ids.shape[1])[None]),
            lambda codes, position: self._embed(codes, np.full(codes.shape, position)),
            so_many(tokens, beams),
            eos_token_id=self.vocabulary - 1,  # never drawn, as `min_new_tokens` forbids it
            history=(),
            rng=np.random.default_rng(0),
            start=ids.shape[1],
        )
        return [int(code) for code in found.codes]

    def _embed(self, ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return (rows, columns, width) of ids at positions, both (rows, columns)."""
        inputs = {self._parts.ids: ids.astype(np.int64), POSITION_IDS: positions.astype(np.int64)}
        embedded: np.ndarray = self._engine.run(self._parts.embeddings.name, **inputs)[self._parts.embedded]
        return embedded


class Program:
    """The program of a package, from the source to the ids: front end and encoder included."""

    def __init__(self, engine: Any) -> None:
        self._program = find_program(engine.manifest.family)(engine)
        self.settings = "; ".join(map(described, engine.manifest.components))

    def generate(self, source: Any, tokens: int, beams: int) -> list[int]:
        """Return the `tokens` ids of the best sequence after `source`."""
        return [int(code) for code in self._program.generate(source, so_many(tokens, beams)).codes]


def so_many(tokens: int, beams: int) -> Sampling:
    """Return what asks for the likeliest sequence of `tokens` ids that does not end."""
    return Sampling(do_sample=False, num_beams=beams, repetition_penalty=1.0, max_new_tokens=tokens, min_new_tokens=tokens)


def described(packed: PackedComponent) -> str:
    """Return what a report says of a component: its form, its weights, and what its engine is told."""
    options = "".join(f", {name} {value}" for name, value in sorted(packed.runtime_options.items()))
    what = f"{form_of(packed)} step" if packed.component.cache else packed.component.name
    return f"the package's {what}, weights {packed.weight_format}{options}"
