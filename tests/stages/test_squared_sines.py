"""Squared sines as the CPU plugin computes them fast: equal to the sine's, and no call of the C library left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from ovconvert.graphs.sine import rewrite_squared_sines

Squared = Callable[[ov.Node], ov.Node]


def product(sine: ov.Node) -> ov.Node:
    return ops.multiply(sine, sine)


def power(sine: ov.Node) -> ov.Node:
    return ops.power(sine, ops.constant(np.float32(2)))


def cube(sine: ov.Node) -> ov.Node:
    return ops.power(sine, ops.constant(np.float32(3)))


def by_another(sine: ov.Node) -> ov.Node:
    return ops.multiply(sine, ops.add(sine, ops.constant(np.float32(1))))


def snake(square: Squared) -> ov.Model:
    x = ops.parameter([1, 3, -1], np.float32)
    alpha = ops.constant(np.array([[0.5], [1.0], [3.0]], np.float32))
    return ov.Model([ops.add(x, square(ops.sin(ops.multiply(x, alpha))))], [x])


def executed(model: ov.Model) -> list[str]:
    """The kinds of nodes that the plugin runs; one that calls the C library per value is `Math`."""
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [str(node.get_rt_info()["layerType"].value) for node in compiled.get_runtime_model().get_ops()]


def run(model: ov.Model, x: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result: np.ndarray = compiled(x)[0]
    return result


@pytest.mark.parametrize("square", [product, power])
def test_a_squared_sine_is_rewritten_and_stays_the_same(square: Squared) -> None:
    model = snake(square)
    assert rewrite_squared_sines(model) == 1
    x = np.linspace(-3.3, 3.3, 6003, dtype=np.float32).reshape(1, 3, -1)
    alpha = np.array([[0.5], [1.0], [3.0]])
    np.testing.assert_allclose(run(model, x), x + np.sin(x.astype(np.float64) * alpha) ** 2, rtol=0, atol=5e-6)


def test_far_from_zero_it_is_as_exact_as_the_argument() -> None:
    model = snake(product)
    rewrite_squared_sines(model)
    x = np.linspace(-300, 300, 6003, dtype=np.float32).reshape(1, 3, -1)
    alpha = np.array([[0.5], [1.0], [3.0]])
    rounding = np.spacing(np.abs(x) * alpha.astype(np.float32))
    error = np.abs(run(model, x) - (x + np.sin(x.astype(np.float64) * alpha) ** 2))
    assert (error <= 5e-6 + 2 * rounding).all()


def test_the_plugin_calls_no_math_function_where_it_called_one() -> None:
    model = snake(product)
    assert "Math" in executed(model)
    rewrite_squared_sines(model)
    assert "Math" not in executed(model)


@pytest.mark.parametrize("square", [cube, by_another])
def test_other_uses_of_a_sine_are_left_alone(square: Squared) -> None:
    model = snake(square)
    assert rewrite_squared_sines(model) == 0
    assert "Math" in executed(model)
