"""Golden tensors: inputs and outputs of a component, recorded from PyTorch at several sizes, kept in the package.

They judge every later stage, and the machine that the package is deployed on, without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ovconvert.errors import IntegrityError
from ovconvert.spec import Component, Dim

PAST = "past_sequence_length"
NEW = "sequence_length"
TOTAL = "total_sequence_length"
TRACE = (9, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1)  # positions per call of the token trace: a prefill, then steps


class Cases:
    """Named cases of inputs and outputs, stored in one .npz: `<case>/in/<port>` and `<case>/out/<port>`."""

    def __init__(self, arrays: Mapping[str, np.ndarray] | None = None) -> None:
        self._arrays = dict(arrays or {})

    @classmethod
    def load(cls, path: Path) -> Cases:
        """Read the cases at `path`. Raises IntegrityError if the file is missing or damaged."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls({key: stored[key] for key in stored.files})
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise IntegrityError(f"golden tensors at {path} cannot be read: {error}; copy the package again") from error

    def add(self, name: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Add a case."""
        self._arrays |= {f"{name}/in/{port}": value for port, value in inputs.items()}
        self._arrays |= {f"{name}/out/{port}": value for port, value in outputs.items()}

    def names(self) -> list[str]:
        """Return the names of the cases, in the order of recording."""
        return list(dict.fromkeys(key.split("/", 1)[0] for key in self._arrays))

    def inputs(self, name: str) -> dict[str, np.ndarray]:
        """Return the inputs of a case by port."""
        return self._below(f"{name}/in/")

    def outputs(self, name: str) -> dict[str, np.ndarray]:
        """Return the outputs of a case by port."""
        return self._below(f"{name}/out/")

    def save(self, path: Path) -> None:
        """Write all cases to `path`, not compressed: random numbers do not compress, and the bytes stay the same."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, **self._arrays)

    def _below(self, start: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(start): value for key, value in self._arrays.items() if key.startswith(start)}


def sizes(component: Component, dims: Mapping[str, Dim]) -> Iterator[dict[str, int]]:
    """Yield the sizes of every case of a component: the traced ones first, then the trials of its axes together."""
    trials = len(next(iter(dims.values())).trials)
    for number in range(1 + trials):
        chosen = {name: (dim.example, *dim.trials)[number] for name, dim in dims.items()}
        past = chosen.get(PAST, 0) if component.cache else 0
        yield chosen | {PAST: past, TOTAL: past + chosen.get(NEW, 0)}


def sizes_of_trace(dims: Mapping[str, Dim], length: int) -> dict[str, int]:
    """Return the sizes of a whole sequence of `length` positions in one row."""
    chosen = {name: dim.example for name, dim in dims.items()}
    return chosen | {"batch": 1, NEW: length, PAST: 0, TOTAL: length}


def chunked(
    component: Component, inputs: Mapping[str, np.ndarray], chunks: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the inputs of successive calls: new positions where a port has them, all so far where it has all."""
    start = 0
    for size in chunks:
        stop = start + size
        part = {}
        for port in component.inputs:
            value = inputs[port.name]
            if TOTAL in port.shape:
                part[port.name] = np.take(value, range(stop), port.shape.index(TOTAL))
            elif NEW in port.shape:
                part[port.name] = np.take(value, range(start, stop), port.shape.index(NEW))
            else:
                part[port.name] = value
        yield part
        start = stop


def empty_past(component: Component, batch: int) -> dict[str, np.ndarray]:
    """Return the cache inputs of a component at zero positions."""
    chosen = {"batch": batch, PAST: 0}
    ports = component.cache.inputs() if component.cache else ()
    return {port.name: np.zeros(port.sized(chosen), np.float32) for port in ports}
