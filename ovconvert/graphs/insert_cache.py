"""From a monolithic encoder-decoder to an encoder and a step with a cache.

A decoder without a cache reads a whole text at once. What depends on the values of its words is computed for new words
alone in the step; at every attention to itself, keys and values are joined to those of the words before. What depends on
the number of words alone (positions, masks, distances) is computed for all words, and the rows of the new ones are taken.
Keys and values of the cross attentions depend on the encoder alone and move there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import ConversionError, listing
from ovconvert.graphs.flow import SHAPE_OPERANDS
from ovconvert.graphs.parts import STATES
from ovconvert.graphs.probe import Shapes
from ovconvert.graphs.whole import Attention, Whole

if TYPE_CHECKING:
    import onnx

JOINING = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Where", "Min", "Max", "And", "Or", "Xor", "Mod", "Equal"),
    *("Less", "LessOrEqual", "Greater", "GreaterOrEqual"),
)
LAST = np.iinfo(np.int64).max
MARK = "step/"  # before the names of what is added


@dataclass
class Parts:
    """A graph with all that is needed for both parts, and where each begins and ends. Ports are name, type and shape."""

    nodes: list[onnx.NodeProto]
    initializers: list[onnx.TensorProto]
    encoder_ends: list[tuple[str, Any, list[Any]]] = field(default_factory=list)
    step_starts: list[tuple[str, Any, list[Any]]] = field(default_factory=list)
    step_ends: list[tuple[str, Any, list[Any]]] = field(default_factory=list)


def insert_cache(model: onnx.ModelProto, whole: Whole, shapes: Shapes) -> Parts:
    """Return the parts of `model`, whose nodes are changed on the way.

    Raises ConversionError with everything that keeps a cache out.
    """
    return _Surgeon(model, whole, shapes).parts()


class _Surgeon:
    """Adds nodes, `_made`, to a graph. By old names, `_all` is what is made for all words, `_heard` for the encoder."""

    def __init__(self, model: onnx.ModelProto, whole: Whole, shapes: Shapes) -> None:
        self._whole, self._shapes = whole, shapes
        self._maker = whole.flow.maker
        self._parts = Parts(list(model.graph.node), list(model.graph.initializer))
        constants = ((node.output[0], node.attribute[0].t) for node in whole.flow.nodes if node.op_type == "Constant")
        self._sizes = {name: math.prod(tensor.dims) for name, tensor in constants}
        self._sizes |= {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
        self._between = {
            name: attention for attention in whole.attentions if not attention.crosses for name in attention.between
        }
        self._all: dict[str, str] = {}
        self._heard: dict[str, str] = {}
        self._made: dict[str, onnx.NodeProto] = {}
        self._count = 0
        self._problems: list[str] = []

    def parts(self) -> Parts:
        """Return the parts. Raises ConversionError with all problems."""
        self._check()
        self._refuse()
        number = {False: 0, True: 0}
        reads: list[tuple[Attention, str, str]] = []
        for attention in self._whole.attentions:
            layer = number[attention.crosses]
            number[attention.crosses] += 1
            side = "encoder" if attention.crosses else "decoder"
            reads.append((attention, f"{layer}.{side}.key", f"{layer}.{side}.value"))
        self._new = self._add("Neg", self._part(self._add("Shape", self._whole.words), 1))
        self._seen = self._part(self._add("Shape", "past_key_values.0.decoder.key"), 2)
        joins = list(self._joins())
        for attention, key, value in reads:
            self._attend(attention, key, value)
        for node, place, name in joins:
            node.input[place] = self._new_rows(node, name)
        for node, place in list(self._reshapes()):
            node.input[place] = self._widened(node.input[place], self._shapes.rank(node.output[0]))
        self._refuse()
        self._add("Identity", self._whole.states, to=STATES)
        self._parts.encoder_ends.insert(0, self._port(STATES, self._whole.states))
        self._parts.step_ends.insert(0, self._port(self._whole.logits, self._whole.logits))
        return self._parts

    def _refuse(self) -> None:
        if self._problems:
            raise ConversionError(
                listing(
                    "unsupported attention: the decoder cannot be given a cache (--no-cache cuts it without one):",
                    dict.fromkeys(self._problems),
                )
            )

    def _check(self) -> None:
        """Note what is not as an attention with a cache needs it."""
        shapes = self._shapes
        for attention in self._whole.attentions:
            grown = () if attention.crosses else (-1,)
            key, value = attention.product.input[1], attention.mix.input[1]
            ranks = {shapes.rank(key), shapes.rank(value)}
            if ranks not in ({4}, {3}):
                self._problems.append(f"{key} and {value} have {sorted(ranks)} axes; allowed: (batch, heads, length, size)")
                continue
            if shapes.growing(key) != grown or shapes.growing(value) != tuple(axis - 1 for axis in grown):
                self._problems.append(f"{key} and {value} do not grow as keys and values do")
        for name, attention in self._between.items():
            if shapes.growing(name) != (-2, -1):
                self._problems.append(f"{name}, scores of an attention, has the shape {list(shapes.first[name])}")
            node = self._maker[name]
            for other in self._whole.flow.values_read(node):
                if node is attention.product or other not in self._whole.said or other in self._between:
                    continue
                if -1 in shapes.growing(other):
                    self._problems.append(f"{name}: which words are hidden depends on {other}, on what the words are")
        for node, _, name in self._joins():
            if node.op_type not in JOINING:
                self._problems.append(f"{node.output[0]}: {node.op_type} of what was said and of positions ({name})")

    def _joins(self) -> Iterator[tuple[onnx.NodeProto, int, str]]:
        """Yield where values of positions and masks meet those of words."""
        cached = {node.output[0] for one in self._whole.attentions for node in (one.product, one.mix)}
        for node in self._whole.flow.nodes:
            if node.output[0] not in self._whole.said:
                continue
            for place, name in enumerate(node.input):
                if name not in self._whole.sized or place in SHAPE_OPERANDS.get(node.op_type, ()):
                    continue
                if not (place == 1 and node.output[0] in cached):
                    yield node, place, name

    def _reshapes(self) -> Iterator[tuple[onnx.NodeProto, int]]:
        """Yield the reshapes of scores, whose last axis is longer in the step than the number of new words says."""
        for name in self._between:
            node = self._maker[name]
            if node.op_type == "Reshape":
                yield node, 1

    def _attend(self, attention: Attention, key: str, value: str) -> None:
        """Let an attention read keys and values from the cache: joined with it, or made by the encoder."""
        operand = attention.product.input[1]
        after, inner, turned = self._origin(operand)
        rank = self._shapes.rank(operand)
        swap = [*range(rank - 2), rank - 1, rank - 2]
        order = [turned[axis] for axis in swap] if turned else swap
        laid = inner if order == list(range(rank)) else self._add("Transpose", inner, perm=order)
        name = self._add("Transpose", self._cached(attention, key, laid, operand, -1), perm=swap)
        for node, place in after:
            others = list(node.input)
            others[place] = name
            others[1 - place] = self._for_all(others[1 - place])
            name = self._add(node.op_type, *others)
        attention.product.input[1] = name
        operand = attention.mix.input[1]
        attention.mix.input[1] = self._cached(attention, value, operand, operand, -2)

    def _origin(self, operand: str) -> tuple[list[tuple[onnx.NodeProto, int]], str, list[int]]:
        """Return how keys come to lie as the product reads them.

        (What scales them afterwards, the innermost first; the tensor before they are turned; how it is turned, [] if it
        is not.)
        """
        after: list[tuple[onnx.NodeProto, int]] = []
        name = operand
        while name in self._maker:
            node = self._maker[name]
            if node.op_type == "Transpose":
                turned = [axis for item in node.attribute for axis in item.ints]
                return after[::-1], node.input[0], turned or list(range(self._shapes.rank(name)))[::-1]
            if node.op_type not in ("Mul", "Div"):
                break
            places = [place for place in (0, 1) if self._size(node.input[1 - place]) == 1]
            if not places or (node.op_type == "Div" and places[0] == 1):
                break
            after.append((node, places[0]))
            name = node.input[places[0]]
        return after[::-1], name, []

    def _cached(self, attention: Attention, name: str, made: str, operand: str, axis: int) -> str:
        """Return what the product reads in place of `made` (batch, heads, length, size): what is cached under `name`.

        `operand` has the shape at hand, its axis `axis` is the length. Three axes are (batch * heads, length, size).
        """
        shape = self._shapes.first[operand]
        size = shape[-2] if axis == -1 else shape[-1]
        batch = self._shapes.first[self._whole.words][0]
        heads = shape[1] if len(shape) == 4 else shape[0] // batch
        flat = len(shape) == 3
        if flat:
            length = self._part(self._add("Shape", made), 1)
            target = self._add("Concat", self._constant([-1, heads]), length, self._constant([size]), axis=0)
            made = self._add("Reshape", made, target)
        past, present = f"past_key_values.{name}", f"present.{name}"
        dtype = self._shapes.dtypes[operand]
        if attention.crosses:
            self._add("Identity", self._by_encoder(made), to=present)
            self._parts.encoder_ends.append((present, dtype, ["batch", heads, "encoder_sequence_length", size]))
            self._parts.step_starts.append((past, dtype, ["batch", heads, "encoder_sequence_length", size]))
            read = past
        else:
            self._add("Concat", past, made, axis=2, to=present)
            self._parts.step_starts.append((past, dtype, ["batch", heads, "past_sequence_length", size]))
            self._parts.step_ends.append((present, dtype, ["batch", heads, "total_sequence_length", size]))
            read = present
        if not flat:
            return read
        length = self._part(self._add("Shape", read), 2)
        return self._add("Reshape", read, self._add("Concat", self._constant([-1]), length, self._constant([size]), axis=0))

    def _by_encoder(self, name: str) -> str:
        """Return a tensor of the encoder's values, made without the words: the size of the batch is taken from elsewhere."""
        node = self._made.get(name) or self._maker.get(name)
        if node is None or name in self._whole.heard:
            return name
        if name not in self._heard:
            if node.op_type == "Shape" and node.input[0] in self._whole.said:
                self._heard[name] = self._without_words(node)
            elif name in self._whole.said:
                self._problems.append(f"keys and values that are made from the words too: {name}")
                return name
            elif all(self._by_encoder(one) == one for one in node.input):
                return name
            else:
                copy = self._copy(node, [self._by_encoder(one) for one in node.input])
                self._heard.update(zip(node.output, copy, strict=True))
        return self._heard[name]

    def _without_words(self, node: onnx.NodeProto) -> str:
        """Return the shape of a tensor of words as far as the encoder can know it: their number is 1."""
        source = node.input[0]
        shape, growing = self._shapes.first[source], self._shapes.growing(source)
        batch = self._shapes.first[self._whole.words][0]
        axes = [axis for axis, size in enumerate(shape) if size == batch and axis - len(shape) not in growing]
        known = [1 if axis - len(shape) in growing else size for axis, size in enumerate(shape)]
        sizes = [self._constant([size]) for size in known]
        if axes:
            sizes[axes[0]] = self._part(self._add("Shape", self._whole.encoder_inputs[0]), 0)
        slices = {item.name: item.i for item in node.attribute}
        sizes = sizes[slices.get("start", 0) : slices.get("end", len(shape))]
        return self._add("Concat", *sizes, axis=0)

    def _for_all(self, name: str) -> str:
        """Return what is made from the number of words, made for all words: those before and the new ones."""
        if name not in self._whole.sized or name not in self._maker:
            return name  # a mask that is given covers all words
        if name not in self._all:
            node = self._maker[name]
            if node.op_type in ("Shape", "Size") and node.input[0] in self._whole.said:
                self._all[name] = self._longer(node)
            else:
                copy = self._copy(node, [self._for_all(one) for one in node.input])
                self._all.update(zip(node.output, copy, strict=True))
        return self._all[name]

    def _longer(self, node: onnx.NodeProto) -> str:
        """Return the shape of a tensor of words, with the words before counted too."""
        source = node.input[0]
        rank = self._shapes.rank(source)
        step = self._shapes.growth(self._whole.words, 1)
        grows = [0] * rank
        for axis in self._shapes.growing(source):
            if axis != -1 or source not in self._between:  # scores are as wide as all words already
                grows[axis] = self._shapes.growth(source, axis) // step
        slices = {item.name: item.i for item in node.attribute}
        grows = grows[slices.get("start", 0) : slices.get("end", rank)]
        if node.op_type == "Size":
            self._problems.append(f"{node.output[0]}: the number of values of {source}")
        return self._add("Add", node.output[0], self._add("Mul", self._seen, self._constant(grows)))

    def _new_rows(self, node: onnx.NodeProto, name: str) -> str:
        """Return what meets the new words of positions and masks: the last rows of what is made for all words."""
        found = self._for_all(name)
        for axis in self._shapes.growing(name):
            if axis == -1 and node.output[0] in self._between:
                continue  # the axis of the keys, which are those of all words
            if self._shapes.growth(name, axis) != self._shapes.growth(self._whole.words, 1):
                self._problems.append(f"{name}: an axis that holds words and something else")
            at = self._constant([self._shapes.rank(name) + axis])
            found = self._add("Slice", found, self._new, self._constant([LAST]), at)
        return found

    def _widened(self, target: str, rank: int) -> str:
        """Return the target of a reshape whose last axis is the number of all words."""
        front = self._add("Slice", target, self._constant([0]), self._constant([rank - 1]), self._constant([0]))
        return self._add("Concat", front, self._add("Sub", self._seen, self._new), axis=0)

    def _port(self, name: str, like: str) -> tuple[str, Any, list[Any]]:
        shape = self._shapes.first[like]
        growing = self._shapes.growing(like)
        free: list[Any] = [None if axis - len(shape) in growing or axis == 0 else size for axis, size in enumerate(shape)]
        if like == self._whole.states:
            free[1] = None
        return name, self._shapes.dtypes[like], free

    def _size(self, name: str) -> int:
        return self._sizes[name] if name in self._sizes else math.prod(self._shapes.first.get(name, (0,)))

    def _part(self, shape: str, axis: int) -> str:
        return self._add("Gather", shape, self._constant([axis]), axis=0)

    def _constant(self, values: Sequence[int]) -> str:
        from onnx import numpy_helper

        name = self._name("constant")
        self._parts.initializers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def _add(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node of one output, and return its name."""
        from onnx import helper

        name = to or self._name(kind)
        self._made[name] = helper.make_node(kind, list(inputs), [name], name=f"{MARK}node/{name}", **attributes)
        self._parts.nodes.append(self._made[name])
        return name

    def _copy(self, node: onnx.NodeProto, inputs: Sequence[str]) -> list[str]:
        """Add a copy of a node with other inputs, and return the names of its outputs."""
        copy = type(node)()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.extend(self._name(name) if name else "" for name in node.output)
        copy.name = self._name(node.name or node.op_type)
        self._parts.nodes.append(copy)
        return list(copy.output)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{MARK}{kind.strip('/')}/{self._count}"


def ordered(nodes: Sequence[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """Return `nodes` so that each comes after those that make its inputs; `known` are tensors that no node makes."""
    makers = {name: node for node in nodes for name in node.output if name}
    done: set[int] = set()
    found: list[onnx.NodeProto] = []
    for root in nodes:
        pending = [root]
        while pending:
            node = pending[-1]
            needed = (
                [] if id(node) in done else [makers[name] for name in node.input if name in makers and name not in known]
            )
            waiting = [one for one in needed if id(one) not in done]
            if waiting:
                pending.extend(waiting)
                continue
            pending.pop()
            if id(node) not in done:
                done.add(id(node))
                found.append(node)
    return found
