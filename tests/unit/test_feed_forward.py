"""Feed-forwards in graphs made by hand: which are found, what is measured, and that removal is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from by_hand import constants, linear, weights

from ovconvert.graphs.blocks import Block, Statistics, importance, shrink
from ovconvert.graphs.blocks import measure as measure_blocks
from ovconvert.graphs.feed_forward import find_feed_forwards
from ovconvert.graphs.selection import counts, most_important
from ovconvert.stages.prune import ranges

WIDTH, UNITS = 6, 16
IDLE = [1, 4, 5, 11]  # units of which the outputs see nothing


def outgoing() -> np.ndarray:
    """Return weights (WIDTH, UNITS) with zeros for the idle units."""
    matrix = weights(WIDTH, UNITS, seed=9)
    matrix[:, IDLE] = 0.0
    return matrix


def plain(x: Any, half: bool = False) -> Any:
    from openvino import opset13 as ops

    inner = ops.gelu(linear(x, weights(UNITS, WIDTH), weights(UNITS), half=half), "tanh")
    return linear(inner, outgoing(), weights(WIDTH), half=half)


def stored_the_other_way(x: Any) -> Any:
    from openvino import opset13 as ops

    inner = ops.relu(linear(x, weights(UNITS, WIDTH), weights(UNITS), transposed=False))
    return linear(inner, outgoing(), transposed=False)


def gated(x: Any) -> Any:
    from openvino import opset13 as ops

    gate = ops.swish(linear(x, weights(UNITS, WIDTH)))
    return linear(ops.multiply(gate, linear(x, weights(UNITS, WIDTH, seed=1))), outgoing())


def gated_from_one(x: Any) -> Any:
    """Return a gated feed-forward whose gates and values are made by one MatMul, as the Perceiver has it."""
    from openvino import opset13 as ops

    both = linear(x, weights(2 * UNITS, WIDTH), weights(2 * UNITS))

    def part(start: int, stop: int) -> Any:
        ends = (ops.constant(np.array([number], np.int64)) for number in (start, stop, 1, 2))
        return ops.slice(both, *ends)

    return linear(ops.multiply(ops.gelu(part(UNITS, 2 * UNITS), "erf"), part(0, UNITS)), outgoing(), weights(WIDTH))


def model_of(build: Callable[[Any], Any]) -> Any:
    """Return a model (1, time, WIDTH) -> x + build(x)."""
    import openvino as ov
    from openvino import opset13 as ops

    x = ops.parameter([1, -1, WIDTH], np.float32, name="x")
    x.output(0).get_tensor().set_names({"x"})
    return ov.Model([ops.add(x, build(x))], [x], "model")


def run(model: Any, x: np.ndarray) -> np.ndarray:
    import openvino as ov

    compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled({"x": x})[0])


def only(model: Any) -> Block:
    blocks = find_feed_forwards(model)
    assert len(blocks) == 1
    return blocks[0]


def measure(model: Any, samples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Statistics]:
    return measure_blocks(model, find_feed_forwards, samples)


def input_of(frames: int = 7) -> np.ndarray:
    return weights(1, frames, WIDTH, seed=3)


SHAPES = (plain, lambda x: plain(x, half=True), stored_the_other_way, gated, gated_from_one)
NAMES = ("plain", "half", "stored the other way", "gated", "gated from one")


@pytest.mark.parametrize("build", SHAPES, ids=NAMES)
def test_removing_idle_units_changes_nothing_but_the_size(build: Callable[[Any], Any]) -> None:
    model = model_of(build)
    x, before, size = input_of(), run(model, input_of()), constants(model)
    block = only(model)
    kept = most_important(importance(block, None), UNITS - len(IDLE))
    assert sorted(set(range(UNITS)) - set(kept.tolist())) == IDLE
    shrink(block, kept)
    model.validate_nodes_and_infer_types()
    assert only(model).units == UNITS - len(IDLE)
    assert constants(model) < 0.8 * size
    np.testing.assert_allclose(run(model, x), before, atol=1e-6)


@pytest.mark.parametrize("build", SHAPES, ids=NAMES)
def test_removing_units_that_are_heard_is_what_setting_them_to_zero_is(build: Callable[[Any], Any]) -> None:
    model, zeroed = model_of(build), model_of(build)
    kept = np.array([0, 2, 3, 7, 8, 10, 13, 15])
    x, before = input_of(), run(model, input_of())
    block = only(zeroed)
    constant = block.outgoing.input_value(1).get_node()
    constant = constant if constant.get_type_name() == "Constant" else constant.input_value(0).get_node()
    mask = np.isin(np.arange(UNITS), kept).astype(np.float32)
    cut = block.cuts[0]
    from openvino import opset13 as ops

    data = constant.get_data() * (mask if cut.axis else mask[:, None]).astype(constant.get_data().dtype)
    for reader in constant.output(0).get_target_inputs():
        reader.replace_source_output(ops.constant(data).output(0))
    shrink(only(model), kept)
    model.validate_nodes_and_infer_types()
    after = run(model, x)
    np.testing.assert_allclose(after, run(zeroed, x), atol=1e-5)
    assert np.abs(after - before).max() > 0.1  # what was removed was heard


@pytest.mark.parametrize("build", SHAPES, ids=NAMES)
def test_statistics_are_those_of_the_units(build: Callable[[Any], Any]) -> None:
    """Checked on what they are for: outputs without any change are on average those with every unit at its mean."""
    model = model_of(build)
    samples = [{"x": input_of(5), "unused": np.zeros(1)}, {"x": input_of(9)}]
    block = only(model)
    found = measure(model, samples)[block.name]
    assert found.mean.shape == found.deviation.shape == (UNITS,)
    outputs = np.concatenate([run(model, sample["x"]) - sample["x"] for sample in samples], 1)
    shift = outputs[0].mean(0) - block.sent(np.arange(UNITS), found.mean)
    bias = weights(WIDTH) if build not in (stored_the_other_way, gated) else np.zeros(WIDTH)
    np.testing.assert_allclose(shift, bias, atol=5e-3 if build is SHAPES[1] else 1e-5)
    assert (found.deviation > 0).any()


def test_a_unit_that_never_changes_goes_into_the_bias() -> None:
    steady = [0, 2, 3, 6, 7, 9, 12, 14]

    def build(x: Any) -> Any:
        from openvino import opset13 as ops

        made = weights(UNITS, WIDTH)
        made[steady] = 0.0
        return linear(ops.gelu(linear(x, made, weights(UNITS)), "tanh"), weights(WIDTH, UNITS, seed=9), weights(WIDTH))

    for builder in (build, lambda x: model_without_bias(build, x)):
        model = model_of(builder)
        before = run(model, input_of())
        block = only(model)
        found = measure(model, [{"x": input_of(30)}])[block.name]
        kept = most_important(importance(block, found), UNITS - len(steady))
        assert not set(kept.tolist()) & set(steady)
        shrink(block, kept, found.mean)
        model.validate_nodes_and_infer_types()
        np.testing.assert_allclose(run(model, input_of()), before, atol=1e-4)

    twin = model_of(build)
    shrink(only(twin), kept)  # the means are lost
    twin.validate_nodes_and_infer_types()
    assert np.abs(run(twin, input_of()) - run(model_of(build), input_of())).max() > 0.1


def model_without_bias(build: Callable[[Any], Any], x: Any) -> Any:
    """Return what `build` makes before the bias of its last layer."""
    return build(x).input_value(0).get_node()


def test_scores_order_planted_units() -> None:
    """Three that matter little for three reasons: seldom away from their mean, hardly read, neither made nor read."""

    def build(x: Any) -> Any:
        from openvino import opset13 as ops

        made, read = weights(UNITS, WIDTH), weights(WIDTH, UNITS, seed=9)
        made[2] *= 0.01
        read[:, 5] *= 0.01
        made[8], read[:, 8] = 0.0, 0.0
        made[11] *= 30.0
        read[:, 11] *= 5.0
        return linear(ops.relu(linear(x, made)), read)

    model = model_of(build)
    block = only(model)
    for scores in (importance(block, None), importance(block, measure(model, [{"x": input_of(40)}])[block.name])):
        assert set(np.argsort(scores)[:3].tolist()) == {2, 5, 8}
        assert int(np.argmax(scores)) == 11
        assert scores[8] == 0.0


def test_removing_the_most_important_units_harms_more() -> None:
    model = model_of(gated)
    x = input_of(50)
    before = run(model, x)
    scores = importance(only(model), measure(model, [{"x": x}])[only(model).name])
    damage = {}
    for name, ranked in (("least", scores), ("most", -scores)):
        twin = model_of(gated)
        shrink(only(twin), most_important(ranked, 12))
        twin.validate_nodes_and_infer_types()
        damage[name] = float(np.linalg.norm(run(twin, x) - before))
    assert damage["least"] < 0.01 * damage["most"]


def read_twice(x: Any) -> Any:
    from openvino import opset13 as ops

    inner = ops.gelu(linear(x, weights(UNITS, WIDTH)), "tanh")
    return ops.add(linear(inner, outgoing()), ops.reduce_mean(inner, ops.constant(np.array([2])), True))


def without_activation(x: Any) -> Any:
    return linear(linear(x, weights(UNITS, WIDTH), weights(UNITS)), outgoing())


def of_another_width(x: Any) -> Any:
    from openvino import opset13 as ops

    wide = ops.concat([x, x], 2)
    return linear(ops.gelu(linear(wide, weights(UNITS, 2 * WIDTH)), "tanh"), outgoing())


def one_weight_twice(x: Any) -> Any:
    from openvino import opset13 as ops

    made, read = ops.constant(weights(UNITS, WIDTH)), ops.constant(outgoing())
    for _ in range(2):
        x = ops.matmul(ops.gelu(ops.matmul(x, made, False, True), "tanh"), read, False, True)
    return x


@pytest.mark.parametrize("build", (read_twice, without_activation, of_another_width, one_weight_twice))
def test_what_is_no_feed_forward_stays(build: Callable[[Any], Any]) -> None:
    assert find_feed_forwards(model_of(build)) == ()


def test_uniform_shares_are_rounded_to_multiples() -> None:
    scores = [np.ones(640), np.ones(213), np.ones(16)]
    assert counts(scores, 0.75, 8, "uniform") == [480, 160, 16]
    assert counts(scores, 0.9, 32, "uniform") == [576, 192, 0]
    assert counts(scores, 0.99, 8, "uniform") == [632, 208, 16]


def test_a_global_ranking_takes_from_where_units_matter_least() -> None:
    rng = np.random.default_rng(0)
    flat, skewed = 100.0 * np.ones(64), np.concatenate([np.full(16, 10.0), rng.uniform(0, 0.01, 48)])
    kept = counts([flat, skewed], 0.625, 8, "global")
    assert kept == [64, 16]
    assert counts([flat, skewed], 0.625, 8, "uniform") == [40, 40]
    assert counts([0.001 * flat, skewed], 0.625, 8, "global") == kept  # the size of a layer's scores does not count
    assert counts([flat, skewed], 0.1, 8, "global") == [0, 0]  # not even one multiple for each


def test_ranges_are_short() -> None:
    assert ranges([]) == ""
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


def test_statistics_are_weighted_by_positions() -> None:
    model = model_of(plain)
    name = only(model).name
    x = input_of(12)
    whole = measure(model, [{"x": x}])[name]
    pieces = measure(model, [{"x": x[:, :2]}, {"x": x[:, 2:]}])[name]
    assert isinstance(whole, Statistics)
    np.testing.assert_allclose(whole.mean, pieces.mean, atol=1e-5)
    np.testing.assert_allclose(whole.deviation, pieces.deviation, atol=1e-4)
