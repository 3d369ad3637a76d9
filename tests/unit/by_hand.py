"""Pieces of graphs that are made by hand, and what they weigh."""

from __future__ import annotations

from typing import Any

import numpy as np


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def linear(
    x: Any, weight: np.ndarray, bias: np.ndarray | None = None, *, transposed: bool = True, half: bool = False
) -> Any:
    """Return x @ weight.T + bias; the weight is stored (in, out) if not `transposed`, as float16 if `half`."""
    from openvino import opset13 as ops

    stored: Any = np.ascontiguousarray(weight if transposed else weight.T)
    constant = ops.convert(ops.constant(stored.astype(np.float16)), "f32") if half else ops.constant(stored)
    made = ops.matmul(x, constant, False, transposed)
    return made if bias is None else ops.add(made, ops.constant(bias.reshape(1, 1, -1)))


def constants(model: Any) -> int:
    """Return how many values the constants of a graph have."""
    return sum(int(np.prod(node.get_output_shape(0))) for node in model.get_ops() if node.get_type_name() == "Constant")
