"""What of an ONNX graph depends on what: by value, or by nothing but a shape; and where one tensor is all that goes on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

SHAPES = ("Shape", "Size")  # they read no values
# Operation: its inputs that say of which shape or which part, and do not go into the values.
SHAPE_OPERANDS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "Split", "Trilu", "TopK"), (1,)),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"), (1,)),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
}


class Flow:
    """The nodes of a graph in their order, what makes each tensor, and what reads it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.order = {name: number for number, node in enumerate(self.nodes) for name in node.output if name}

    def reached(self, sources: Collection[str], *, by_value: bool) -> set[str]:
        """Return `sources` and the tensors that are computed from them; `by_value`: not from their shapes alone."""
        found = set(sources)
        for node in self.nodes:
            if not (by_value and node.op_type in SHAPES) and found.intersection(node.input):
                found.update(name for name in node.output if name)
        return found

    def sources_of(self, name: str) -> set[str]:
        """Return all tensors that `name` is computed from, itself included."""
        found: set[str] = set()
        pending = [name]
        while pending:
            current = pending.pop()
            if current in found:
                continue
            found.add(current)
            if current in self.maker:
                pending.extend(self.maker[current].input)
        return found - {""}

    def values_read(self, node: onnx.NodeProto) -> Iterator[str]:
        """Yield the inputs of a node whose values go into its outputs."""
        if node.op_type in SHAPES:
            return
        apart = SHAPE_OPERANDS.get(node.op_type, ())
        yield from (name for place, name in enumerate(node.input) if name and place not in apart)

    def bottleneck(self, inputs: Collection[str], targets: Sequence[str]) -> tuple[str | None, list[str]]:
        """Return the last tensor through which the values of `inputs` reach all of `targets`.

        Return (None, candidates) if there is none: the last tensors that some of the targets have in common. These are the
        dominators of a graph: a tensor's parent in their tree is the nearest common ancestor of all that it is made from.
        """
        parent: dict[str, str] = {name: "" for name in inputs}
        depth = {"": 0, **dict.fromkeys(inputs, 1)}

        def common(one: str, other: str) -> str:
            while one != other:
                if depth[one] < depth[other]:
                    one, other = other, one
                one = parent[one]
            return one

        for node in self.nodes:
            read = [name for name in self.values_read(node) if name in parent]
            if not read:
                continue
            nearest = read[0]
            for name in read[1:]:
                nearest = common(nearest, name)
            for name in node.output:
                if name:
                    parent[name], depth[name] = nearest, depth[nearest] + 1
        known = [name for name in targets if name in parent]
        groups: list[str] = []
        for name in known:
            for number, group in enumerate(groups):
                if shared := common(group, name):
                    groups[number] = shared
                    break
            else:
                groups.append(name)
        if len(groups) == 1 and len(known) == len(targets):
            return groups[0], groups
        return None, groups
