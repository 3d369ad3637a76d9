"""The shapes of all tensors of an ONNX file at two lengths of one axis, found by running it small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovconvert.errors import ConversionError

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


@dataclass(frozen=True)
class Shapes:
    """Shapes of tensors by name at two lengths, and their types; `growing` says which axes differ."""

    first: Mapping[str, tuple[int, ...]]
    second: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]

    def rank(self, name: str) -> int:
        """Return the number of axes of a tensor."""
        return len(self.first[name])

    def growing(self, name: str) -> tuple[int, ...]:
        """Return the axes of a tensor that grow with the length, counted from the last, which is -1."""
        pairs = zip(self.first[name], self.second[name], strict=True)
        return tuple(axis - self.rank(name) for axis, (one, other) in enumerate(pairs) if one != other)

    def growth(self, name: str, axis: int) -> int:
        """Return by how much an axis differs."""
        return self.second[name][axis] - self.first[name][axis]


def probe(path: Path, names: Sequence[str], inputs: Sequence[Mapping[str, np.ndarray]]) -> Shapes:
    """Return the shapes of the inputs and of the tensors `names` of the ONNX file at `path` on two sets of inputs.

    Raises ConversionError if OpenVINO cannot run it on them.
    """
    runner = Runner(path, names)
    results = [{**values, **runner.run(values)} for values in inputs]
    first, second = ({name: value.shape for name, value in result.items()} for result in results)
    return Shapes(first, second, {name: value.dtype for name, value in results[0].items()})


class Runner:
    """The ONNX file at a path, compiled. Raises ConversionError if OpenVINO cannot."""

    def __init__(self, path: Path, names: Sequence[str] = ()) -> None:
        import openvino as ov

        self._path = path
        core = ov.Core()
        try:
            model = core.read_model(path)
            outputs = {name for output in model.outputs for name in output.get_names()}
            model.add_outputs([name for name in names if name not in outputs])
            self._compiled = core.compile_model(model, "CPU", EXACT)
        except RuntimeError as error:
            raise ConversionError(f"OpenVINO cannot read {path}: {str(error).strip()[:500]}") from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the inputs by name, -1 for what is dynamic."""
        return {
            port.get_any_name(): tuple(-1 if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
            for port in self._compiled.inputs
        }

    def dtype(self, name: str) -> np.dtype:
        """Return the type of an input."""
        return np.dtype(self._compiled.input(name).get_element_type().to_dtype())

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs, by every name that they have; inputs that it lacks are left out.

        Raises ConversionError if it does not run on them.
        """
        wanted = {name for port in self._compiled.inputs for name in port.get_names()}
        given = {name: value for name, value in inputs.items() if name in wanted}
        try:
            result = self._compiled(given)
        except RuntimeError as error:
            sizes = ", ".join(f"{name} {list(value.shape)}" for name, value in given.items())
            raise ConversionError(
                f"{self._path} does not run on {sizes[:500]}. It must take any length of the decoder: export it with "
                f"dynamic axes; other sizes of the other inputs are set with --input-shape. {str(error).strip()[:300]}"
            ) from error
        return {name: value for output, value in result.items() for name in output.get_names()}
