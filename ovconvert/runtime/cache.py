"""A decoder step and its cache: in the model, explicit, or none at all. All three are called alike."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.runtime.engine import Engine, named
from ovconvert.spec import CacheSpec, Component

if TYPE_CHECKING:
    import openvino as ov

ATTENTION_MASK = "attention_mask"
NEW = "sequence_length"  # the axis of new positions


class Step(Protocol):
    """Continues sequences: the named inputs of the new positions in, the outputs of the component out.

    `beam_idx` (batch,) int32 says which row of the previous call each row continues; None keeps the order. The
    `attention_mask` over cache and new positions is made here unless given. Encoder states that a cross attention looks at
    are given at every call, with as many rows as all later calls have, but read by the first after a reset alone.
    """

    def reset(self) -> None:
        """Forget the sequence."""

    def __call__(self, beam_idx: np.ndarray | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the new positions."""


def open_step(engine: Engine, name: str, form: str | None = None) -> Step:
    """Return the step of component `name`, in `form` or else in the fastest form that the package has."""
    packed = engine.manifest.packed(name)
    if form is None:
        form = next((form for form in FORMS if form in packed.graphs), None)
    if form not in FORMS:
        raise UsageError(f"component {name!r} is no decoder step: it has the forms {', '.join(packed.graphs)}")
    return FORMS[form](engine, packed.component)


class _Step:
    """What the three forms share: the request, the length so far, the mask and the clock."""

    form = ""

    def __init__(self, engine: Engine, component: Component) -> None:
        self._engine = engine
        self._component = component
        self._request = engine.compiled(component.name, self.form).create_infer_request()
        self._axes = {port.name: port.shape for port in component.inputs}
        self._length = 0
        self._past: dict[str, np.ndarray] = {}  # what the forms without in-model state carry from call to call
        self._cross: dict[str, np.ndarray] = {}  # keys and values that the first call made

    def reset(self) -> None:
        """Forget the sequence."""
        self._length = 0
        self._past = {}
        self._cross = {}

    def _infer(self, inputs: dict[str, np.ndarray], request: ov.InferRequest | None = None) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        result = (request or self._request).infer(inputs, share_inputs=True)
        self._engine.seconds[self._component.name] += time.perf_counter() - start
        return named(self._component, result)

    def _grow(self, inputs: dict[str, np.ndarray]) -> int:
        """Count the new positions, add the mask over all positions if it is wanted, and return the batch."""
        first = self._component.inputs[0]
        batch, new = inputs[first.name].shape[:2]
        self._length += new
        if ATTENTION_MASK in self._axes and ATTENTION_MASK not in inputs:
            inputs[ATTENTION_MASK] = np.ones((batch, self._length), np.int64)
        return int(batch)


class StatefulStep(_Step):
    """The cache lives in the model."""

    form = "stateful"

    def reset(self) -> None:
        """Forget the sequence."""
        super().reset()
        self._request.reset_state()

    def __call__(self, beam_idx: np.ndarray | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the new positions."""
        batch = self._grow(inputs)
        inputs["beam_idx"] = np.arange(batch, dtype=np.int32) if beam_idx is None else beam_idx.astype(np.int32)
        return self._infer(inputs)


class ExplicitStep(_Step):
    """The cache goes in as `past_key_values.*` and comes out as `present.*`."""

    form = "with_past"

    def __init__(self, engine: Engine, component: Component) -> None:
        super().__init__(engine, component)
        crosses = component.cache is not None and component.cache.cross
        self._maker = engine.compiled(component.name, "cross").create_infer_request() if crosses else None

    def __call__(self, beam_idx: np.ndarray | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the new positions."""
        cache = self._component.cache
        assert cache is not None
        batch = self._grow(inputs)
        if self._maker is not None:
            states = inputs.pop(cache.cross)
            if not self._cross:
                made = self._infer({cache.cross: states}, self._maker)
                self._cross = {past: made[present] for past, present in cache.cross_names()}
        past = self._past or empty_cache(cache, batch)
        if beam_idx is not None and self._past:
            past = {name: value[beam_idx] for name, value in past.items()}
        result = self._infer({**inputs, **past, **self._cross})
        self._past = {name: result.pop(present) for name, present in cache.names()}
        return result


class FullSequenceStep(_Step):
    """No cache: every call runs the whole sequence again. Kept for comparison."""

    form = "full_sequence"

    def __call__(self, beam_idx: np.ndarray | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the whole sequence; return the outputs of the new positions."""
        batch = self._grow(inputs)
        new = next(iter(inputs.values())).shape[1]
        grows = {name for name, axes in self._axes.items() if NEW in axes and name != ATTENTION_MASK}
        whole = {}
        for name, value in inputs.items():
            if name not in grows or name not in self._past:
                whole[name] = value
                continue
            rows = np.arange(batch) if beam_idx is None else beam_idx
            whole[name] = np.concatenate([self._past[name][rows], value], 1)
        self._past = {name: value for name, value in whole.items() if name in grows}
        result = self._infer(whole)
        kept = {}
        for port in self._component.outputs:
            value = result[port.name]
            # logits are those of the last position, as a split step gives them
            kept[port.name] = value[:, -new:] if NEW in port.shape else value
        return kept


def empty_cache(cache: CacheSpec, batch: int) -> dict[str, np.ndarray]:
    """Return past tensors of zero positions."""
    return {name: np.zeros((batch, cache.heads, 0, cache.head_dim), np.float32) for name, _ in cache.names()}


FORMS = {step.form: step for step in (StatefulStep, ExplicitStep, FullSequenceStep)}
