"""Reading checkpoint files as they are published: memory-mapped, without running any code that a pickle may carry."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovconvert.errors import ConversionError

if TYPE_CHECKING:
    import torch

PICKLES = (".pth", ".pt", ".bin")
# (magnitude, direction) of a weight-normed tensor, in the older and the newer naming of PyTorch
WEIGHT_NORM = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))


def read_pickle(path: Path) -> Any:
    """Return the content of a PyTorch file, tensors memory-mapped where its format allows.

    Raises ConversionError if the file is missing, damaged, or holds anything but plain data and tensors.
    """
    import torch

    _require_file(path)
    try:
        return torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error).lower() and "unsupported" not in str(error).lower():
            raise ConversionError(f"{path} is not a readable PyTorch file: {error}") from error
        reason = next((line for line in str(error).splitlines() if "GLOBAL" in line or "Unsupported" in line), "")
        raise ConversionError(
            f"{path} holds more than tensors and plain data, so reading it could run code: {reason.strip()} "
            "It was not opened. Save the state dict alone, as .safetensors if you can."
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise ConversionError(f"{path} is damaged or truncated, or is not a PyTorch file: {error}") from error


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a .safetensors file, memory-mapped. Raises ConversionError if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    _require_file(path)
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ConversionError(f"{path} is damaged or truncated, or is not a safetensors file: {error}") from error


def read_tensors(path: Path, *keys: str) -> dict[str, torch.Tensor]:
    """Return the state dict in a file of either kind.

    `keys` lead to it through nested dicts; a leading key in parentheses, like "(model)", is followed only if it is there.
    A `module.` prefix, which data-parallel training leaves, is removed. Raises ConversionError if there is no state dict.
    """
    import torch

    content: Any = read_pickle(path) if path.suffix in PICKLES else read_safetensors(path)
    for key in keys:
        name = key.strip("()")
        if isinstance(content, Mapping) and name in content:
            content = content[name]
        elif not key.startswith("("):
            have = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else type(content).__name__
            raise ConversionError(f"{path} has no entry {name!r}; it holds: {have}. Is it the right file?")
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ConversionError(f"{path} holds no state dict where one is expected{' in ' + keys[-1] if keys else ''}")
    return {key.removeprefix("module."): value for key, value in content.items()}


class Tensors(Mapping[str, "torch.Tensor"]):
    """A state dict whose weight-normed tensors appear folded: w = g * v / |v|, the norm over all axes but the first.

    Nothing is computed or copied before a tensor is asked for (spec section 2).
    """

    def __init__(self, stored: Mapping[str, torch.Tensor]) -> None:
        self._stored = stored
        self._folds: dict[str, tuple[str, str]] = {}
        for magnitude, direction in WEIGHT_NORM:
            for key in stored:
                if key.endswith(magnitude) and key.removesuffix(magnitude) + direction in stored:
                    base = key.removesuffix(magnitude)
                    self._folds[f"{base}.weight"] = (key, base + direction)
        parts = {part for pair in self._folds.values() for part in pair}
        self._keys = [*(key for key in stored if key not in parts), *self._folds]

    def __getitem__(self, key: str) -> torch.Tensor:
        if key not in self._folds:
            return self._stored[key]
        magnitude, direction = (self._stored[part].float() for part in self._folds[key])
        norm = direction.flatten(1).norm(dim=1).reshape(-1, *[1] * (direction.ndim - 1))
        return direction * (magnitude.reshape(norm.shape) / norm)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor, folded ones included, without computing any."""
        return {key: tuple(self._stored[self._folds.get(key, (key, key))[1]].shape) for key in self._keys}


def construct(network: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Build a network without memory for its parameters; `fill` gives it those of a checkpoint."""
    import torch

    with torch.device("meta"):
        return network().eval()


def mismatches(module: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]], where: str) -> list[str]:
    """Return every key that `module` needs and `shapes` lacks or has in another shape."""
    problems = []
    for key, parameter in module.state_dict().items():
        if key not in shapes:
            problems.append(f"{where}: {key} {list(parameter.shape)} is missing")
        elif shapes[key] != tuple(parameter.shape):
            problems.append(f"{where}: {key} is {list(shapes[key])}, must be {list(parameter.shape)}")
    return problems


def fill(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """Give `module` its parameters from `tensors`: the mapped file itself where it is float32, a float32 copy elsewhere."""
    state = {key: tensors[key] for key in module.state_dict()}
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    module.load_state_dict(state, strict=True, assign=True)
    return module.requires_grad_(False)


def unexplained(keys: Iterable[str], used: set[str], unused: Iterable[str]) -> tuple[list[str], list[str]]:
    """Sort the keys that no network reads into (known to be unused, unexplained) by the patterns of `unused`."""
    patterns = list(unused)
    rest = [key for key in keys if key not in used]
    known = [key for key in rest if any(fnmatchcase(key, pattern) for pattern in patterns)]
    return known, [key for key in rest if key not in set(known)]


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ConversionError(f"{path} is missing")
