"""Which tokens may follow: those that are suppressed, and the grammar of timestamps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ovconvert.runtime.decode import log_softmax


class TokenRules:
    """The rule of one window. After a generation, `scores` are the log-probabilities of each step's rows after the rule."""

    def __init__(self, settings: Mapping[str, Any], *, timestamps: bool) -> None:
        self._suppressed = np.array(settings["suppress_tokens"] or [], np.int64)
        self._at_begin = np.array(settings["begin_suppress_tokens"] or [], np.int64)
        self._eos = int(settings["eos_token_id"])
        self._silent = settings["no_timestamps_token_id"] if timestamps else None
        self._latest_start = settings["max_initial_timestamp_index"]
        self.scores: list[np.ndarray] = []

    def __call__(self, scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return float32 (B, V): `scores`, -inf where a token may not follow `codes` (B, n)."""
        result = np.array(scores, np.float32)
        if not codes.shape[1]:
            result[:, self._at_begin] = -np.inf
        result[:, self._suppressed] = -np.inf
        if self._silent is not None:
            self._time(result, codes, self._silent)
        self.scores.append(log_softmax(result))
        return result

    def _time(self, scores: np.ndarray, codes: np.ndarray, silent: int) -> None:
        """Exclude in place what the grammar of timestamps forbids: they come first, in pairs, and never go back.

        Where all timestamps together are likelier than any text token, text is excluded (arXiv 2212.04356, section 2.3 and
        the published decoder).
        """
        begin = silent + 1
        scores[:, silent] = -np.inf
        for row, drawn in zip(scores, codes, strict=True):
            times = drawn[drawn >= begin]
            last = len(drawn) >= 1 and drawn[-1] >= begin
            before = len(drawn) < 2 or drawn[-2] >= begin
            if last and before:
                row[begin:] = -np.inf
            elif last:
                row[: self._eos] = -np.inf
            if len(times):
                earliest = times[-1] if last and not before else times[-1] + 1
                row[begin:earliest] = -np.inf
            if not len(drawn):
                row[:begin] = -np.inf
                if self._latest_start is not None:
                    row[begin + self._latest_start + 1 :] = -np.inf
            logs = log_softmax(row)
            if np.logaddexp.reduce(logs[begin:].astype(np.float64)) > logs[:begin].max():
                row[:begin] = -np.inf
