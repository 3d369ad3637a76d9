"""A decoder step that reads token ids, as the decoding loop calls it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ovconvert.runtime.cache import Step


class TokenStep:
    """Continues token sequences by one source: `source` holds the step's inputs of one row that stay the same.

    All `rows` beams are read from the first call on, since keys and values of the source are kept for as many rows.
    """

    def __init__(self, step: Step, source: Mapping[str, np.ndarray], rows: int) -> None:
        self._step = step
        self._rows = rows
        self._source = {name: np.repeat(value, rows, 0) for name, value in source.items()}
        self._begun = False

    def reset(self) -> None:
        """Forget the sequences."""
        self._begun = False
        self._step.reset()

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read the ids `inputs_embeds` (rows, S), which the step embeds itself.

        Return (logits (rows, V) of the last position, no hidden states); the first call gives one row, that of all.
        """
        first, self._begun = not self._begun, True
        if first:
            inputs_embeds, beam_idx = np.repeat(inputs_embeds, self._rows, 0), np.arange(self._rows, dtype=np.int32)
        logits = self._step(beam_idx, input_ids=inputs_embeds, **self._source)["logits"][:, -1]
        return logits[:1] if first else logits, np.zeros((len(logits), 1, 0), np.float32)
