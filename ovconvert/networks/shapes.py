"""What a checkpoint's tensor shapes say about a network's size."""

from __future__ import annotations

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]


def count(shapes: Shapes, prefix: str) -> int:
    """Number of consecutive integers n = 0, 1, ... (or 1, 2, ...) for which a key starts with `prefix` + n + '.'."""
    heads = {key[len(prefix) :].split(".", 1)[0] for key in shapes if key.startswith(prefix)}
    return sum(head.isdecimal() for head in heads)


def below(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the keys that start with `prefix`, without it."""
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}
