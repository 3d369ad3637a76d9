"""Attention heads in a graph made by hand: found with their cache, measured, and removed exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from by_hand import constants, linear, weights

from ovconvert.graphs.blocks import Block, importance, measure, shrink
from ovconvert.graphs.heads import find_heads
from ovconvert.graphs.selection import most_important

WIDTH, HEADS, SIZE = 6, 4, 8
IDLE = 2  # a head of which the outputs see nothing


def model_of(
    *, idle: bool = True, rotated: bool = False, wanted: int = 0, mask: tuple[int, ...] = (), shared_keys: bool = False
) -> Any:
    """Return an attention (1, time, WIDTH) with a cache of keys, as GPT-2 has it.

    `rotated` turns pairs as RoPE does; `wanted` asks for the last positions alone.
    """
    import openvino as ov
    from openvino import opset13 as ops

    def ints(*numbers: int) -> Any:
        return ops.constant(np.array(numbers, np.int64))

    x = ops.parameter([1, -1, WIDTH], np.float32, name="x")
    past = ops.parameter([1, HEADS, -1, SIZE], np.float32, name="past")
    for port, name in ((x, "x"), (past, "past")):
        port.output(0).get_tensor().set_names({name})
    wide = HEADS * SIZE
    all_three = linear(x, weights(3 * wide, WIDTH), weights(3 * wide))

    def part(place: int) -> Any:
        taken = ops.slice(all_three, ints(place * wide), ints((place + 1) * wide), ints(1), ints(2))
        return ops.transpose(ops.reshape(taken, ints(0, 0, HEADS, SIZE), True), ints(0, 2, 1, 3))

    def turned(value: Any) -> Any:
        pairs = ops.reshape(value, ints(0, HEADS, -1, SIZE // 2, 2), True)
        first, second = (ops.gather(pairs, ops.constant(np.int64(number)), ints(-1)) for number in (0, 1))
        angle = ops.constant(weights(SIZE // 2))
        ends = (ops.subtract(first, ops.multiply(second, angle)), ops.add(second, ops.multiply(first, angle)))
        whole = ops.concat([ops.unsqueeze(end, ints(-1)) for end in ends], -1)
        return ops.reshape(whole, ints(0, HEADS, -1, SIZE), True)

    query, key, value = (part(place) for place in range(3))
    query = ops.slice(query, ints(-wanted), ints(2**62), ints(1), ints(2)) if wanted else query
    if rotated:
        query, key = turned(query), turned(key)
    key = ops.concat([past, key], 2)
    value = ops.concat([past, value], 2)
    if shared_keys:
        key = ops.broadcast(ops.reduce_mean(key, ints(1), True), ops.shape_of(key))
    bias = ops.constant(weights(*mask) if mask else np.float32(0))
    mixed = ops.scaled_dot_product_attention(ops.multiply(query, ops.constant(np.float32(0.5))), key, value, bias)
    merged = ops.reshape(ops.transpose(mixed, ints(0, 2, 1, 3)), ints(0, 0, wide), True)
    out = weights(WIDTH, wide, seed=9)
    if idle:
        out[:, IDLE * SIZE : (IDLE + 1) * SIZE] = 0.0
    return ov.Model([linear(merged, out, weights(WIDTH)), value], [x, past], "model")


def run(model: Any, heads: slice | list[int] = slice(None)) -> list[np.ndarray]:
    import openvino as ov

    compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = {"x": weights(1, 5, WIDTH, seed=3), "past": weights(1, HEADS, 3, SIZE, seed=4)[:, heads]}
    return [np.array(value) for value in compiled(given).values()]


def only(model: Any) -> Block:
    blocks = find_heads(model)
    assert len(blocks) == 1
    return blocks[0]


@pytest.mark.parametrize("case", ({}, {"rotated": True}, {"wanted": 2}), ids=("plain", "rotated", "last two"))
@pytest.mark.parametrize("measured", (False, True), ids=("magnitude", "activation"))
def test_removing_an_idle_head_changes_nothing_but_the_size(case: dict[str, Any], measured: bool) -> None:
    model = model_of(**case)
    before, size = run(model), constants(model)
    block = only(model)
    assert (block.units, block.size, len(block.inputs)) == (HEADS, SIZE, 1)
    samples = [{"x": weights(1, 9, WIDTH), "past": weights(1, HEADS, 2, SIZE)}]
    found = measure(model, find_heads, samples)[block.name] if measured else None
    scores = importance(block, found)
    assert int(np.argmin(scores)) == IDLE and scores[IDLE] == 0.0
    kept = most_important(scores, HEADS - 1)
    shrink(block, kept, found.mean if found else None)
    model.validate_nodes_and_infer_types()
    assert only(model).units == HEADS - 1
    assert constants(model) < 0.8 * size
    after = run(model, kept.tolist())
    np.testing.assert_allclose(after[0], before[0], atol=1e-5)
    np.testing.assert_allclose(after[1], before[1][:, kept], atol=1e-6)  # the cache that comes out, too


def test_removing_a_head_that_is_heard_changes_the_outputs() -> None:
    model = model_of(idle=False)
    before = run(model)
    kept = np.array([0, 1, 3])
    shrink(only(model), kept)
    model.validate_nodes_and_infer_types()
    assert np.abs(run(model, kept.tolist())[0] - before[0]).max() > 0.1


@pytest.mark.parametrize("case", ({"mask": (1, HEADS, 1, 1)}, {"shared_keys": True}), ids=("mask per head", "shared keys"))
def test_heads_that_something_else_depends_on_stay(case: dict[str, Any]) -> None:
    assert find_heads(model_of(**case)) == ()
    assert find_heads(model_of(mask=(1, 1, 1, 1)))  # one for all
