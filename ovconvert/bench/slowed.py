"""An engine made slower on purpose, by a known share: to see whether a comparison notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class Slowed:
    """Takes the place of an engine. After every call of a graph it works for `share` of the CPU time since the call before.

    So all that an utterance spends on one thread, in graphs and between them, it spends 1 + `share` times; only what comes
    behind the last call it does not. The clock is the CPU time of the process: by wall time, work would be added for the
    time in which others had the machine. Between utterances time does not count: `begin` says that one begins.
    """

    def __init__(self, engine: Any, share: float, clock: Callable[[], float] = time.process_time) -> None:
        self.engine = engine
        self._share, self._clock = share, clock
        self._mark = clock()

    def begin(self) -> None:
        """Forget the time until now."""
        self._mark = self._clock()

    def catch_up(self) -> None:
        """Work for the share of the time since the last call of this."""
        now = self._clock()
        until = now + self._share * (now - self._mark)
        while now < until:
            now = self._clock()
        self._mark = now

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a component as the engine does, and be slow."""
        result: dict[str, np.ndarray] = self.engine.run(name, **inputs)
        self.catch_up()
        return result

    def compiled(self, name: str, form: str = "plain") -> SlowedModel:
        """Return what a decoder step asks for a request."""
        return SlowedModel(self, self.engine.compiled(name, form))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


class SlowedModel:
    """A compiled graph whose requests are slow."""

    def __init__(self, slowed: Slowed, model: Any) -> None:
        self._slowed, self._model = slowed, model

    def create_infer_request(self) -> SlowedRequest:
        """Return a request that is slow."""
        return SlowedRequest(self._slowed, self._model.create_infer_request())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class SlowedRequest:
    """A request whose calls are slow."""

    def __init__(self, slowed: Slowed, request: Any) -> None:
        self._slowed, self._request = slowed, request

    def infer(self, inputs: Mapping[str, np.ndarray], **settings: Any) -> Any:
        """Run the request as it would run by itself, and be slow."""
        result = self._request.infer(inputs, **settings)
        self._slowed.catch_up()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)
