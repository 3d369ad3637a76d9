"""Blocks of units that can be removed from a graph one by one: what they consist of, how much they vary, and their removal.

A block ends in a MatMul that reads all its units. What makes a unit, and nothing else, lies behind constants that are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import openvino as ov

PAIRED = ("Add", "Subtract", "Multiply", "Divide")


@dataclass(frozen=True)
class Cut:
    """A constant that loses what belongs to removed units: input `number` of `node`, along `axis`.

    `parts` of it lie one after the other there, each with all units of `size` values.
    """

    node: Any
    number: int
    axis: int
    parts: int = 1
    size: int = 1


@dataclass(frozen=True)
class Part:
    """A Slice that takes part `place` of a tensor with all units several times."""

    node: Any
    place: int


@dataclass(frozen=True)
class Shape:
    """A Reshape whose wanted shape counts the units at `axis`: each is `size` of the elements there."""

    node: Any
    axis: int
    size: int


@dataclass
class Found:
    """What a search has come across: nodes by name, and what has to change if units go."""

    nodes: dict[str, Any] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    inputs: list[tuple[Any, int]] = field(default_factory=list)  # Parameters, and the axis of their units

    def alone(self) -> bool:
        """Tell whether nothing but these nodes, and results of the graph, reads what they make; the last one may be read."""
        *inner, _ = self.nodes.values()
        readers = (reader.get_node() for node in inner for reader in node.output(0).get_target_inputs())
        return all(reader.get_name() in self.nodes or reader.get_type_name() == "Result" for reader in readers)


@dataclass(frozen=True)
class Block:
    """`units` of `size` values each, read by the MatMul `outgoing`; called as the layer that it is."""

    name: str
    units: int
    size: int
    outgoing: Any
    cuts: tuple[Cut, ...]  # that of `outgoing` first
    parts: tuple[Part, ...] = ()
    shapes: tuple[Shape, ...] = ()
    inputs: tuple[tuple[Any, int], ...] = ()

    def outgoing_norms(self) -> np.ndarray:  # (units, size)
        """Return the norm of what each value is multiplied with on its way out."""
        return np.sqrt(_squares(self.cuts[0])).reshape(self.units, self.size)

    def incoming_norms(self) -> np.ndarray:  # (units,)
        """Return the norm of all weights that make each unit."""
        made = (cut for cut in self.cuts[1:] if cut.node.get_type_name() == "MatMul")
        return np.sqrt(sum(_squares(cut).reshape(cut.parts, self.units, -1).sum((0, 2)) for cut in made))

    def values(self, units: np.ndarray) -> np.ndarray:
        """Return the places of the values of `units`."""
        return _places(units, self.size)

    def sent(self, places: np.ndarray, values: np.ndarray) -> np.ndarray:  # (outputs,)
        """Return what the values at `places` add to the outputs if they are constant."""
        cut = self.cuts[0]
        rows = np.moveaxis(data_of(cut.node, cut.number), cut.axis, 0)[places]
        sent: np.ndarray = values @ rows.astype(np.float64)
        return sent


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of every value of a block over all positions of all samples."""

    mean: np.ndarray  # (units x size,)
    deviation: np.ndarray  # (units x size,)


def importance(block: Block, statistics: Statistics | None) -> np.ndarray:  # (units,)
    """Return how much each unit of a block matters.

    With statistics: the root mean square of what is lost at the outputs if the unit is replaced by its mean, which is the
    standard deviation of its activation times the norm of its outgoing weights. The product is that of Wanda (Sun et al.,
    "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024, arXiv:2306.11695), there with the norm
    of the activation; with its deviation, and the mean given to the bias, that of FLAP (An et al., "Fluctuation-based
    Adaptive Structured Pruning for Large Language Models", AAAI 2024, arXiv:2312.11983). Of a unit of several values the
    squares are summed. Without statistics: the product of the norms of its incoming and its outgoing weights.
    """
    outgoing = block.outgoing_norms()
    if statistics is None:
        scores: np.ndarray = block.incoming_norms() * np.linalg.norm(outgoing, axis=1)
        return scores
    scores = np.linalg.norm(outgoing * statistics.deviation.reshape(outgoing.shape), axis=1)
    return scores


def measure(
    model: ov.Model, find: Callable[[ov.Model], Sequence[Block]], samples: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Statistics]:
    """Return the statistics of every block that `find` finds in `model`, by name, while it runs `samples`."""
    import openvino as ov
    from openvino import opset13 as ops

    probed = model.clone()
    blocks = find(probed)
    own = len(probed.outputs)
    for block in blocks:
        values = block.outgoing.input_value(0)
        places = ops.constant(np.arange(values.get_partial_shape().rank.get_length() - 1))
        sums = [ops.reduce_sum(value, places) for value in (values, ops.multiply(values, values))]
        probed.add_results([ops.result(value) for value in (*sums, ops.shape_of(values))])
    request = ov.compile_model(probed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    wanted = {name for port in probed.inputs for name in port.get_names()}
    totals = {block.name: np.zeros((2, block.units * block.size)) for block in blocks}
    counts = dict.fromkeys(totals, 0)
    for sample in samples:
        request.infer({name: value for name, value in sample.items() if name in wanted})
        for number, name in enumerate(totals):
            first, second, shape = (request.get_output_tensor(own + 3 * number + place).data for place in range(3))
            totals[name] += np.stack([first, second])
            counts[name] += int(np.prod(shape[:-1]))
    return {name: _statistics(total, counts[name]) for name, total in totals.items()}


def shrink(block: Block, kept: np.ndarray, means: np.ndarray | None = None) -> None:
    """Remove all units of `block` but `kept`, in place; the graph has to infer its shapes anew afterwards.

    With `means` (units x size,) the outputs get instead what the removed units gave on average.
    """
    if means is not None:
        removed = block.values(np.setdiff1d(np.arange(block.units), kept))
        _shift(block.outgoing, block.sent(removed, means[removed]))
    for cut in block.cuts:
        places = np.concatenate([part * block.units * cut.size + _places(kept, cut.size) for part in range(cut.parts)])
        _replace(cut.node, cut.number, partial(np.take, indices=places, axis=cut.axis))
    width = len(kept) * block.size
    for part in block.parts:
        for number, place in ((1, part.place), (2, part.place + 1)):
            _replace(part.node, number, partial(np.full_like, fill_value=place * width))
    for shape in block.shapes:
        _replace(shape.node, 1, partial(_resized, shape=shape, units=len(kept)))
    for parameter, axis in block.inputs:
        sizes = parameter.get_partial_shape()
        sizes[axis] = len(kept)
        parameter.set_partial_shape(sizes)


def trace(value: Any, width: int, names: Mapping[str, str], found: Found, *, size: int, through: Sequence[str] = ()) -> bool:
    """Follow a tensor whose last axis holds all units, `width` values, back to the MatMuls that make them.

    What is on the way is added to `found`: operations of the kinds `through`, sums and products with constants or with each
    other, and Slices that part a wider tensor. Tell whether nothing else was met. `names` are the layers that may be cut.
    """
    queue = [(value, 1)]
    while queue:
        value, parts = queue.pop()
        node, kind = value.get_node(), value.get_node().get_type_name()
        if last_axis(value) != parts * width:
            return False
        if node.get_name() in found.nodes:
            continue
        found.nodes = {node.get_name(): node, **found.nodes}
        if kind in through:
            queue.append((node.input_value(0), parts))
        elif kind in PAIRED:
            for number in (0, 1):
                if constant_of(node, number) is not None and last_axis(node.input_value(number)) != 1:
                    axis = len(data_shape(node, number)) - 1
                    found.cuts.append(Cut(node, number, axis, parts, size))
                elif last_axis(node.input_value(number)) != 1:
                    queue.append((node.input_value(number), parts))
        elif kind == "Slice" and parts == 1 and (place := _part(node, width)) is not None:
            found.parts.append(Part(node, place))
            queue.append((node.input_value(0), last_axis(node.input_value(0)) // width))
        elif (
            kind == "MatMul" and node.get_friendly_name() in names and (row := weight_axis(node, incoming=True)) is not None
        ):
            found.cuts.append(Cut(node, 1, row, parts, size))
        else:
            return False
    return True


def weight_axis(node: Any, *, incoming: bool) -> int | None:
    """Return along which axis of a MatMul's weight its units lie, those it makes or those it reads; None without weight."""
    attributes = node.get_attributes()
    if constant_of(node, 1) is None or len(data_shape(node, 1)) != 2 or attributes["transpose_a"]:
        return None
    return int(incoming != attributes["transpose_b"])


def last_axis(value: Any) -> int:
    """Return the size of the last axis of a tensor: 1 for a scalar, -1 where it is dynamic."""
    return axis_size(value.get_partial_shape(), -1)


def axis_size(shape: Any, axis: int) -> int:
    """Return a size of a partial shape: 1 for a scalar, -1 where it is dynamic."""
    if shape.rank.is_dynamic:
        return -1
    if not shape.rank.get_length():
        return 1
    return -1 if shape[axis].is_dynamic else int(shape[axis].get_length())


def constant_of(node: Any, number: int) -> Any:
    """Return the constant that enters a node there, also through a Convert that nobody else reads; None if none does."""
    source = node.input_value(number).get_node()
    if source.get_type_name() == "Convert" and len(source.output(0).get_target_inputs()) == 1:
        source = source.input_value(0).get_node()
    return source if source.get_type_name() == "Constant" else None


def data_of(node: Any, number: int) -> np.ndarray:
    """Return the values of the constant that enters a node there."""
    data: np.ndarray = constant_of(node, number).get_data()
    return data


def data_shape(node: Any, number: int) -> tuple[int, ...]:
    """Return the shape of the constant that enters a node there."""
    return tuple(constant_of(node, number).get_output_shape(0))


def _part(node: Any, width: int) -> int | None:
    """Return which part of its input a Slice takes, the parts being `width` of the last axis; None if it does otherwise."""
    constants = [constant_of(node, number) for number in range(1, node.get_input_size())]
    total, rank = last_axis(node.input_value(0)), node.output(0).get_partial_shape().rank.get_length()
    if None in constants or len(constants) != 4 or total < 0 or total % width:
        return None
    start, stop, step, axis = (constant.get_data().tolist() for constant in constants)
    place = start[0] // width
    fits = len(axis) == 1 and axis[0] % rank == rank - 1 and step == [1]
    return place if fits and [start[0], min(stop[0], total)] == [place * width, (place + 1) * width] else None


def _places(units: np.ndarray, size: int) -> np.ndarray:
    """Return the places of all values of `units`, which have `size` values each."""
    places: np.ndarray = (units[:, None] * size + np.arange(size)).ravel()
    return places


def _squares(cut: Cut) -> np.ndarray:
    """Return the sum of squares of a weight along its axis of units."""
    weight = np.moveaxis(data_of(cut.node, cut.number), cut.axis, 0).astype(np.float64)
    squares: np.ndarray = np.square(weight).sum(1)
    return squares


def _resized(data: np.ndarray, shape: Shape, units: int) -> np.ndarray:
    """Return the wanted shape of a Reshape for `units`; a 0 (as it was) and a -1 (what is left) stay."""
    changed = data.copy()
    if changed[shape.axis] > 0:
        changed[shape.axis] = units * shape.size
    return changed


def _statistics(totals: np.ndarray, count: int) -> Statistics:
    mean, square = totals / max(1, count)
    return Statistics(mean, np.sqrt(np.maximum(square - mean**2, 0.0)))


def _replace(node: Any, number: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Put a changed copy in the place of a constant, for this reader alone."""
    from openvino import opset13 as ops

    constant = constant_of(node, number)
    made = ops.constant(np.ascontiguousarray(change(constant.get_data())))
    made.set_friendly_name(constant.get_friendly_name())
    source = node.input_value(number).get_node()
    reader = source.input(0) if source.get_type_name() == "Convert" else node.input(number)
    reader.replace_source_output(made.output(0))


def _shift(node: Any, amount: np.ndarray) -> None:
    """Add `amount` (outputs,) to what a MatMul gives: to its bias, or to one made here."""
    from openvino import opset13 as ops

    readers = node.output(0).get_target_inputs()
    following = next(iter(readers)).get_node()
    if len(readers) == 1 and following.get_type_name() == "Add":
        for number in (0, 1):
            if constant_of(following, number) is not None and data_of(following, number).size == len(amount):
                _replace(following, number, lambda data: (data + amount.reshape(data.shape)).astype(data.dtype))
                return
    rank = node.output(0).get_partial_shape().rank.get_length()
    moved = ops.add(node, ops.constant(amount.astype(np.float32).reshape([1] * (rank - 1) + [-1])))
    for reader in readers:
        reader.replace_source_output(moved.output(0))
