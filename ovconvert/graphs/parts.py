"""An encoder and a decoder as two ONNX files, run beside the one file that they were cut from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovconvert.errors import ParityError
from ovconvert.graphs.probe import Runner
from ovconvert.graphs.whole import Whole, is_mask

if TYPE_CHECKING:
    import onnx

STATES = "last_hidden_state"  # as the encoder says it
HEARD = "encoder_hidden_states"  # as the decoder reads it
CALLS = (4, 1, 1, 1)  # words per call
BATCH, OTHER = 2, 11  # sizes of dynamic axes that nobody set
TOLERANCE = 1e-3  # of the largest logit; float32 in another order of operations


def draw(
    ports: Sequence[onnx.ValueInfoProto], found: Whole, words: int, sizes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return seeded inputs of the whole with so many words: integers are 0 or 1, masks 1, the last row half masked."""
    from onnx import helper

    rng = np.random.default_rng(0)
    values = {}
    for port in ports:
        tensor = port.type.tensor_type
        shape = sizes.get(port.name) or tuple(
            size.dim_value or (BATCH if axis == 0 else OTHER) for axis, size in enumerate(tensor.shape.dim)
        )
        if port.name in (found.words, *found.masks):
            shape = (shape[0], words, *shape[2:])
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if is_mask(port.name):
            values[port.name] = np.ones(shape, dtype)
            if port.name not in found.masks and len(shape) == 2:
                values[port.name][-1, shape[1] // 2 + 1 :] = 0
        elif np.issubdtype(dtype, np.floating):
            values[port.name] = rng.standard_normal(shape).astype(dtype)
        else:
            values[port.name] = rng.integers(0, 2, shape).astype(dtype)
    return values


class Pair:
    """The two parts at `encoder` and `decoder`, whose inputs are named after those of the whole."""

    def __init__(self, encoder: Path, decoder: Path, names: Mapping[str, str]) -> None:
        self._encoder, self._decoder, self._names = Runner(encoder), Runner(decoder), names

    def say(self, found: Whole, inputs: Mapping[str, np.ndarray], calls: Sequence[int]) -> np.ndarray:
        """Return the logits of all words of `inputs`, so many in a call as `calls` says if there is a cache, else in one."""
        heard = self._encoder.run(inputs)
        given = {self._names.get(name, name): value for name, value in inputs.items()} | heard
        given |= {name.replace("present.", "past_key_values.", 1): value for name, value in heard.items()}
        given[HEARD] = heard[STATES]
        cached = {name: shape for name, shape in self._decoder.shapes().items() if name.startswith("past_key_values.")}
        batch = inputs[found.words].shape[0]
        for name, shape in cached.items():
            if name not in given:
                given[name] = np.zeros((batch, shape[1], 0, shape[3]), self._decoder.dtype(name))
        said, start = [], 0
        for count in calls if cached else (sum(calls),):
            stop = start + count
            given[self._names[found.words]] = inputs[found.words][:, start:stop]
            given |= {name: inputs[name][:, :stop] for name in found.masks}
            result = self._decoder.run(given)
            given |= {name.replace("present.", "past_key_values.", 1): value for name, value in result.items()}
            said.append(result[found.logits])
            start = stop
        return np.concatenate(said, 1) if said[0].ndim == 3 else said[-1]


def require_equal(expected: np.ndarray, said: np.ndarray) -> float:
    """Return the largest error of logits, relative to the largest. Raises ParityError above the tolerance."""
    if expected.shape != said.shape:
        said = said[:, -expected.shape[1] :] if expected.ndim == said.ndim else said  # of the last word alone
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    same = expected.shape == said.shape and np.array_equal(np.isfinite(expected), np.isfinite(said))
    fine = np.isfinite(expected)
    error = float(np.abs(expected[fine] - said[fine]).max(initial=0.0)) / max(scale, 1e-30) if same else np.inf
    if not error <= TOLERANCE:
        raise ParityError(
            f"the parts do not say what the whole says: relative error {error:.1e}, allowed {TOLERANCE:.0e}; nothing was "
            "written. Something but attention goes from word to word (a convolution, a recurrence, a sum), or words are "
            "counted by what they are; --no-cache cuts without a cache"
        )
    return error
