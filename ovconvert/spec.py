"""What a converted model consists of: plain frozen data, shared by the converter, the judges and the runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ROLES = ("frontend", "encoder", "step", "estimator", "vocoder")
FLOAT_FORMATS = ("fp32", "fp16")
INTEGER_FORMATS = ("int8", "int4")
WEIGHT_FORMATS = FLOAT_FORMATS + INTEGER_FORMATS
FULL_INT8 = "int8-full"  # activations too
PRECISIONS = (*WEIGHT_FORMATS, FULL_INT8)
# dB against PyTorch that a quantized component must reach where its family does not say; reports/notes/quantization.md has
# the runs.
QUANTIZED_FLOORS = {"int8": 18.0, "int4": 8.0, FULL_INT8: 6.0}
# dB against PyTorch for a component of which units were removed, at every precision: below it the graph is broken, above it
# speech has to be judged; reports/notes/pruning.md has the runs.
PRUNED_FLOORS = dict.fromkeys(PRECISIONS, 3.0)


@dataclass(frozen=True)
class Dim:
    """A dynamic axis: the size that the trace sees, and the other sizes that validation must pass."""

    example: int
    trials: tuple[int, ...]


@dataclass(frozen=True)
class Port:
    """One tensor at the border of a graph. A string inside `shape` is a dynamic axis."""

    name: str
    dtype: str  # a NumPy name: float32, int64, int32
    shape: tuple[int | str, ...]

    def dynamic_axes(self) -> dict[int, str]:
        """Return {axis: name} of the dynamic axes."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the concrete shape at `sizes`. Raises KeyError for an axis that `sizes` does not name."""
        return tuple(sizes[size] if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True)
class CacheSpec:
    """Self-attention cache of a step: per layer a key and a value of (batch, heads, past, head_dim).

    `cross` names the input that a second attention of every layer looks at, an encoder's states. Its keys and values
    depend on nothing else, so they are made once per sequence and kept beside the others.
    """

    layers: int
    heads: int
    head_dim: int
    cross: str = ""

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield (past input, present output) per tensor, layer by layer, the key before the value."""
        return self._names("decoder." if self.cross else "")

    def cross_names(self) -> Iterator[tuple[str, str]]:
        """Yield (input, output) per tensor of the cross attention: what the step takes, what is made from the states."""
        return self._names("encoder.") if self.cross else iter(())

    def _names(self, infix: str) -> Iterator[tuple[str, str]]:
        for layer in range(self.layers):
            for kind in ("key", "value"):
                yield f"past_key_values.{layer}.{infix}{kind}", f"present.{layer}.{infix}{kind}"

    def inputs(self) -> tuple[Port, ...]:
        """Return the cache ports that enter the explicit step, those of the cross attention not included."""
        return tuple(
            Port(past, "float32", ("batch", self.heads, "past_sequence_length", self.head_dim)) for past, _ in self.names()
        )

    def outputs(self) -> tuple[Port, ...]:
        """Return the cache ports that leave the explicit step."""
        return tuple(
            Port(present, "float32", ("batch", self.heads, "total_sequence_length", self.head_dim))
            for _, present in self.names()
        )

    def cross_outputs(self) -> tuple[Port, ...]:
        """Return the ports of the keys and values that the cross attention makes."""
        shape = ("batch", self.heads, "encoder_sequence_length", self.head_dim)
        return tuple(Port(present, "float32", shape) for _, present in self.cross_names())


@dataclass(frozen=True)
class Component:
    """One graph of a model: its ports without the cache, its cache, and the precision it must keep.

    `keep_fp` holds patterns of weight names that quantization leaves alone; `floor_db` is the lowest signal-to-noise
    ratio against PyTorch that validation accepts, by precision. `reach` is how many frames of input on each side a frame
    of output depends on: with so many around it, a piece can be computed alone; 0 where that was not stated. Of a `pruned`
    one units were removed, so that it is not quite what PyTorch computed. Of a `weights_only` one quantization leaves the
    activations alone unless it is named: they cannot stand it, or nothing is gained.
    """

    name: str
    role: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    cache: CacheSpec | None = None
    keep_fp: tuple[str, ...] = ()
    floor_db: dict[str, float] = field(default_factory=dict)
    reach: int = 0
    pruned: bool = False
    weights_only: bool = False

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"component {self.name!r} has role {self.role!r}; have: {', '.join(ROLES)}")

    def all_inputs(self) -> tuple[Port, ...]:
        """Return the inputs of the traced graph, in order: the cache comes in."""
        return self.inputs + (self.cache.inputs() if self.cache else ())

    def all_outputs(self) -> tuple[Port, ...]:
        """Return the outputs of the traced graph, in order: the cache goes out, and what the cross attention made."""
        return self.outputs + (self.cache.outputs() + self.cache.cross_outputs() if self.cache else ())


@dataclass(frozen=True)
class Family:
    """A model as components. `dims` names every dynamic axis that validation varies."""

    name: str
    variant: str
    sample_rate: int
    dims: dict[str, Dim]
    components: tuple[Component, ...]

    def component(self, name: str) -> Component:
        """Return the component called `name`. Raises KeyError if there is none."""
        return {component.name: component for component in self.components}[name]
