"""A model of the user's own: a script describes its components as a family does, and is opened like a checkpoint."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert import golden
from ovconvert.errors import ConversionError, OvconvertError, UsageError, listing
from ovconvert.package import plain
from ovconvert.spec import Component, Family

if TYPE_CHECKING:
    import torch

FLOORS = {"fp32": 80.0, "fp16": 50.0}  # dB against PyTorch where a component does not say
MASK = "mask"  # how the names of integer inputs end that are 1 where something is to be seen

Example = Callable[[Mapping[str, int], np.random.Generator], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Model:
    """What a script offers: components, and by their names their networks.

    A network is a PyTorch module, or a function without arguments that makes one, so that one at a time is in memory. It
    takes its component's `all_inputs()` and returns its `all_outputs()`, both by position. `examples` make valid inputs of
    a component at given sizes, its cache not included; without one, floats are drawn from the normal distribution,
    integers are 0 or 1, and those whose names end with "mask" are 1. `assets` writes what a program needs besides graphs
    into a directory. `files` are what weights were read from.
    """

    family: Family
    networks: Mapping[str, Any]
    examples: Mapping[str, Example] = field(default_factory=dict)
    assets: Callable[[Path], None] | None = None
    files: tuple[Path, ...] = ()


def open_script(given: str, source: Path | None) -> Scripted:
    """Return the model that `given`, "script.py:NAME", describes; NAME is a `Model`, or makes one from `source`.

    A relative path begins at `source`, the directory of the weights, if the script is there, else in the working directory.
    Raises UsageError if there is no such script or name, or it is no model; ConversionError if the script raises an error or
    what it describes does not fit together, with all that does not.
    """
    text, _, name = given.rpartition(":")
    if not text or not name.isidentifier():
        raise UsageError(f"model script {given!r} is not understood; allowed: SCRIPT.py:NAME, as my_model.py:SPEC")
    script = Path(text)
    if source is not None and (source / script).is_file():
        script = source / script
    if not script.is_file():
        raise UsageError(f"model script {text}: no such file; give the path of a Python file, a colon, and the name in it")
    script = script.absolute()
    with _importable(script) as module_name, _told(script, "cannot be read"):
        module = _execute(script, module_name)
    if not hasattr(module, name):
        have = ", ".join(key for key, value in vars(module).items() if isinstance(value, Model)) or "none"
        raise UsageError(f"model script {text} has no {name!r}; models in it: {have}")
    found = getattr(module, name)
    if isinstance(found, FunctionType):
        with _importable(script), _told(script, f"{name}({source}) failed"):
            found = found(source)
    if not isinstance(found, Model):
        raise UsageError(
            f"model script {text}: {name} is {type(found).__name__!r}; allowed: ovconvert.scripted.Model, or a function "
            "that takes the path given with --model (None without) and returns one"
        )
    problems = misfits(found)
    if problems:
        raise ConversionError(listing(f"what {given} describes does not fit together:", problems))
    return Scripted(script, found)


class Scripted:
    """The model of a script, opened: it offers what an opened checkpoint does."""

    def __init__(self, script: Path, model: Model) -> None:
        self._script, self._model = script, model
        components = (replace(one, floor_db={**FLOORS, **one.floor_db}) for one in model.family.components)
        self.family = replace(model.family, components=tuple(components))
        self.files = (script, *(Path(path).absolute() for path in model.files))
        self.unused: tuple[str, ...] = ()

    def build(self, component: str) -> torch.nn.Module:
        """Return the network of a component. Raises ConversionError if it does not do what its ports say."""
        import torch

        network = self._model.networks[component]
        with _importable(self._script), _told(self._script, f"the network of {component} failed"):
            made = network if isinstance(network, torch.nn.Module) else network()
            if not isinstance(made, torch.nn.Module):
                raise ConversionError(
                    f"the network of {component} is {type(made).__name__!r}; allowed: torch.nn.Module, or a function "
                    "without arguments that returns one"
                )
            made = made.eval().requires_grad_(False)
            self._try(made, self.family.component(component))
        return made

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return inputs of a component at `sizes`, its cache not included. Raises ConversionError if they do not fit."""
        ports = self.family.component(component).inputs
        maker = self._model.examples.get(component)
        if maker is None:
            return {port.name: _draw(port.name, port.dtype, port.sized(sizes), rng) for port in ports}
        with _importable(self._script), _told(self._script, f"the example of {component} failed"):
            made = maker(sizes, rng)
        problems = []
        for port in ports:
            value = made.get(port.name)
            if not isinstance(value, np.ndarray) or value.dtype != port.dtype or value.shape != port.sized(sizes):
                said = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)
                problems.append(f"{port.name} is {said}; expected {port.dtype} {list(port.sized(sizes))}")
        if problems:
            raise ConversionError(listing(f"the example of {component} does not fit its ports:", problems))
        return {port.name: made[port.name] for port in ports}

    def write_assets(self, dest: Path) -> None:
        """Write what the script's model wants to have beside the graphs."""
        if self._model.assets is None:
            return
        dest.mkdir(parents=True, exist_ok=True)
        with _importable(self._script), _told(self._script, "its assets cannot be written"):
            self._model.assets(dest)

    def _try(self, network: torch.nn.Module, component: Component) -> None:
        """Run a network once at the traced sizes. Raises ConversionError if its outputs are not as its ports say."""
        import torch

        sizes = next(golden.sizes(component, self.family.dims))
        rng = np.random.default_rng(0)
        inputs = self.example(component.name, sizes, rng)
        for port in component.cache.inputs() if component.cache else ():
            inputs[port.name] = rng.standard_normal(port.sized(sizes), dtype=np.float32)
        ports = component.all_inputs()
        given = ", ".join(f"{port.name} {list(inputs[port.name].shape)}" for port in ports)
        with torch.inference_mode(), _told(self._script, f"the network of {component.name}, given {given}, failed"):
            result = network(*(torch.from_numpy(inputs[port.name]) for port in ports))
        values = result if isinstance(result, tuple | list) else (result,)
        wanted = component.all_outputs()
        if len(values) != len(wanted) or not all(isinstance(value, torch.Tensor) for value in values):
            said = ", ".join(type(value).__name__ for value in values)
            names = ", ".join(port.name for port in wanted)
            raise ConversionError(
                f"the network of {component.name} returns {len(values)} values ({said}); "
                f"expected {len(wanted)} tensors: {names}"
            )
        problems = [
            f"{port.name} is {str(value.dtype).removeprefix('torch.')} {list(value.shape)}; "
            f"expected {port.dtype} {list(port.sized(sizes))}"
            for port, value in zip(wanted, values, strict=True)
            if str(value.dtype).removeprefix("torch.") != port.dtype or tuple(value.shape) != port.sized(sizes)
        ]
        if problems:
            raise ConversionError(listing(f"the outputs of the network of {component.name} are not its ports:", problems))


def misfits(model: Model) -> list[str]:
    """Return what of a description does not fit together."""
    family = model.family
    names = [component.name for component in family.components]
    problems = [] if family.name.isidentifier() else [f"the name {family.name!r} is no word of letters, digits and _"]
    problems += [] if names else ["no components"]
    problems += [f"two components are called {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    problems += [f"the component name {name!r} is no plain file name" for name in names if not plain(name)]
    problems += [f"component {name} has no network" for name in names if name not in model.networks]
    for what, given in (("network", model.networks), ("example", model.examples)):
        problems += [
            f"a {what} for {name!r}, which is no component; have: {', '.join(names)}" for name in given if name not in names
        ]
    if len({len(dim.trials) for dim in family.dims.values()}) > 1:
        trials = ", ".join(f"{name} {len(dim.trials)}" for name, dim in family.dims.items())
        problems.append(f"every dim needs as many trials as the others; have: {trials}")
    problems += [problem for component in family.components for problem in _component_misfits(component, family)]
    return problems


def _component_misfits(component: Component, family: Family) -> Iterator[str]:
    ports = (*component.all_inputs(), *component.all_outputs())
    names = [port.name for port in ports]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"component {component.name}: two ports are called {name!r}"
    for axis in sorted({axis for port in ports for axis in port.dynamic_axes().values()}):
        if axis not in family.dims and axis != golden.TOTAL:
            yield f"component {component.name}: the axis {axis!r} has no Dim; have: {', '.join(family.dims) or 'none'}"
    if component.cache and component.cache.cross and component.cache.cross not in {port.name for port in component.inputs}:
        yield f"component {component.name}: its cache says cross={component.cache.cross!r}, which is none of its inputs"


def _draw(name: str, dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if np.issubdtype(np.dtype(dtype), np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return np.ones(shape, dtype) if name.endswith(MASK) else rng.integers(0, 2, shape).astype(dtype)


def _execute(script: Path, module_name: str) -> Any:
    spec = importlib.util.spec_from_file_location(module_name, script)
    assert spec is not None and spec.loader is not None  # of a path that is a file
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(script: Path) -> Iterator[str]:
    """Let what lies beside the script be imported in the block; give the name that the script has as a module."""
    name = f"ovconvert_script_{script.stem}"
    sys.path.insert(0, str(script.parent))
    try:
        yield name
    finally:
        sys.path.remove(str(script.parent))


@contextmanager
def _told(script: Path, what: str) -> Iterator[None]:
    """Turn an error of the user's code into a ConversionError that says what it is and in which line of the script."""
    try:
        yield
    except OvconvertError:
        raise
    except Exception as error:  # the script may raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script)]
        place = f", line {lines[-1]}" if lines else ""
        raise ConversionError(f"model script {script}{place}: {what}: {type(error).__name__}: {error}") from error
