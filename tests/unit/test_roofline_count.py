"""Work is counted from small graphs whose work is known by hand, and from a GPT-2 layer whose formula is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as ops

from ovconvert.errors import UsageError
from ovconvert.package import Graph, PackedComponent
from ovconvert.roofline.count import Work, count, count_component
from ovconvert.roofline.limit import floor_seconds
from ovconvert.spec import CacheSpec, Component, Port

AXIS = 8  # bytes of the int64 that says along which axis to gather
CACHE = CacheSpec(layers=1, heads=2, head_dim=4)


def given(*shape: int, name: str = "x", dtype: ov.Type = ov.Type.f32) -> Any:
    node = ops.parameter(ov.PartialShape(list(shape)), dtype, name=name)
    node.output(0).get_tensor().set_names({name})
    return node


def weight(*shape: int, dtype: type = np.float32) -> Any:
    """Return a constant with values that no constant of another shape has: a file keeps equal ones once."""
    return ops.constant((np.arange(np.prod(shape)).reshape(shape) / shape[0]).astype(dtype))


def named(node: Any, name: str) -> Any:
    node.output(0).get_tensor().set_names({name})
    return node


def saved(directory: Path, results: Sequence[Any], inputs: Sequence[Any]) -> Path:
    path = directory / "graph.xml"
    ov.save_model(ov.Model(list(results), list(inputs), "graph"), path, compress_to_fp16=False)
    return path


def counted(directory: Path, results: Sequence[Any], *inputs: Any) -> Work:
    return count(saved(directory, results, inputs), {})


def test_matmul(tmp_path: Path) -> None:
    x = given(3, 5)
    work = counted(tmp_path, [ops.matmul(x, weight(5, 7), False, False)], x)
    assert work == Work(flops=2 * 3 * 5 * 7, weight_bytes=4 * 5 * 7, activation_bytes=4 * (3 * 5 + 3 * 7), cache_bytes=0)
    assert work.bytes == 4 * (35 + 15 + 21)
    assert work.intensity == 210 / 284


def test_matmul_of_transposed_inputs_and_batches(tmp_path: Path) -> None:
    x = given(4, 5, 3)
    assert counted(tmp_path, [ops.matmul(x, weight(7, 5), True, True)], x).flops == 4 * 2 * 3 * 5 * 7


@pytest.mark.parametrize(
    ("kind", "channels", "shape", "flops"),
    [
        (ops.convolution, 3, (4, 3, 3), 2 * (4 * 8) * (3 * 3)),
        (ops.group_convolution, 6, (6, 1, 1, 3), 2 * (6 * 8) * 3),  # depthwise
        (ops.group_convolution, 6, (2, 4, 3, 3), 2 * (8 * 8) * (3 * 3)),
        (ops.convolution_backprop_data, 3, (3, 4, 2), 2 * (3 * 10) * (4 * 2)),
        (ops.group_convolution_backprop_data, 6, (6, 1, 1, 2), 2 * (6 * 10) * 2),
    ],
)
def test_convolutions(kind: Any, channels: int, shape: tuple[int, ...], flops: int, tmp_path: Path) -> None:
    x = given(1, channels, 10)
    transposed = "backprop" in kind.__name__
    geometry = {"strides": [2 if transposed else 1], "pads_begin": [0], "pads_end": [0], "dilations": [1]}
    work = counted(tmp_path, [kind(x, weight(*shape), **geometry)], x)
    assert (work.flops, work.weight_bytes) == (flops, 4 * int(np.prod(shape)))


@pytest.mark.parametrize(("causal", "pairs"), [(False, 3 * 5), (True, 1 + 2 + 3)])
def test_attention(causal: bool, pairs: int, tmp_path: Path) -> None:
    query, key, value = given(1, 2, 3, 8, name="q"), given(1, 2, 5, 8, name="k"), given(1, 2, 5, 4, name="v")
    attention = ops.scaled_dot_product_attention(query, key, value, causal=causal)
    assert counted(tmp_path, [attention], query, key, value).flops == 2 * 2 * pairs * (8 + 4)


def test_einsum_of_two_and_of_more(tmp_path: Path) -> None:
    x = given(3, 5)
    two = counted(tmp_path, [ops.einsum([x, weight(5, 7)], "ab,bc->ac")], x)
    more = counted(tmp_path, [ops.einsum([x, weight(5, 7), weight(7, 2)], "ab,bc,cd->ad")], x)
    assert (two.flops, two.uncounted) == (2 * 3 * 5 * 7, ())
    assert (more.flops, more.uncounted) == (0, ("Einsum",))  # said, not passed over


def test_element_wise_operations_do_not_count(tmp_path: Path) -> None:
    x = given(3, 5)
    assert counted(tmp_path, [ops.relu(ops.add(x, weight(5)))], x).flops == 0


def test_a_constant_counts_once_as_it_is_stored(tmp_path: Path) -> None:
    x = given(3, 6)
    half = ops.convert(weight(6, 6, dtype=np.float16), "f32")
    work = counted(tmp_path, [ops.matmul(ops.matmul(x, half, False, False), half, False, True)], x)
    assert (work.flops, work.weight_bytes) == (2 * 2 * 3 * 6 * 6, 2 * 6 * 6)
    other = ops.convert(ops.constant(np.ones((6, 6), np.float16)), "f32")
    twin = counted(tmp_path, [ops.matmul(ops.matmul(x, half, False, False), other, False, True)], x)
    assert twin.weight_bytes == 2 * 2 * 6 * 6


@pytest.mark.parametrize(("ids", "rows"), [(3, 3), (200, 100)])
def test_of_a_table_the_rows_that_are_gathered(ids: int, rows: int, tmp_path: Path) -> None:
    index = given(1, ids, name="ids", dtype=ov.Type.i64)
    table = ops.convert(weight(100, 8, dtype=np.float16), "f32")
    found = ops.gather(table, index, ops.constant(np.int64(0)))
    assert counted(tmp_path, [found], index).weight_bytes == 2 * 8 * rows + AXIS
    tied = ops.matmul(found, table, False, True)
    assert counted(tmp_path, [tied], index).weight_bytes == 2 * 8 * 100 + AXIS


def test_what_follows_from_constants_alone_is_done_at_compilation(tmp_path: Path) -> None:
    x = given(3, 5)
    folded = ops.matmul(weight(5, 9), weight(9, 7), False, False)
    work = counted(tmp_path, [ops.matmul(x, folded, False, False)], x)
    assert work.flops == 2 * 3 * 5 * 7


def test_a_layer_of_gpt2(tmp_path: Path) -> None:
    width, past = 8, 30
    x = given(1, 1, width)
    key, value = given(1, 2, past, 4, name="k"), given(1, 2, past, 4, name="v")

    def linear(source: Any, outs: int) -> Any:
        ins = source.get_output_shape(0)[-1]
        return ops.matmul(source, ops.convert(weight(ins, outs, dtype=np.float16), "f32"), False, False)

    split = ops.split(linear(x, 3 * width), ops.constant(np.int64(-1)), 3)
    query, key_, value_ = (ops.reshape(part, ops.constant(np.array([1, 2, 1, 4])), False) for part in split.outputs())
    attended = ops.scaled_dot_product_attention(query, ops.concat([key, key_], 2), ops.concat([value, value_], 2))
    out = linear(ops.reshape(attended, ops.constant(np.array([1, 1, width])), False), width)
    work = counted(tmp_path, [linear(ops.gelu(linear(out, 4 * width), "tanh"), width)], x, key, value)
    assert work.flops == 2 * 12 * width**2 + 4 * (past + 1) * width
    shapes = 8 * (1 + 4 + 3)  # bytes of the int64 arguments of split and reshapes
    assert 0 <= work.weight_bytes - 2 * 12 * width**2 <= shapes


def step(directory: Path) -> Path:
    """Save a step that only grows its cache, with open sizes."""
    new = given(-1, 2, -1, 4, name="new")
    pasts = [given(-1, 2, -1, 4, name=past) for past, _ in CACHE.names()]
    grown = [named(ops.concat([past, new], 2), present) for past, (_, present) in zip(pasts, CACHE.names(), strict=True)]
    return saved(directory, grown, [new, *pasts])


def packed(graphs: dict[str, Graph], **options: str) -> PackedComponent:
    port = Port("new", "float32", ("batch", 2, "sequence_length", 4))
    return PackedComponent(Component("toy", "step", (port,), (), CACHE), "fp32", graphs, "", options)


@pytest.mark.parametrize(
    ("graphs", "precision", "width"),
    [(("with_past",), "f16", 4), (("with_past", "stateful"), "f16", 2), (("with_past", "stateful"), "", 4)],
)
def test_the_cache_is_read_once_and_grows(graphs: tuple[str, ...], precision: str, width: int, tmp_path: Path) -> None:
    path = step(tmp_path)
    forms = dict.fromkeys(graphs, Graph(path.name, path.with_suffix(".bin").name))
    sizes = {"batch": 3, "sequence_length": 2, "past_sequence_length": 10}
    work = count_component(tmp_path, packed(forms, KV_CACHE_PRECISION=precision), sizes)
    assert work.cache_bytes == 2 * 3 * 2 * (10 + 2) * 4 * width  # key and value, batch, heads, positions, head_dim
    assert work.activation_bytes == 4 * 3 * 2 * 2 * 4


def test_keys_and_values_of_what_is_looked_at_are_read_and_do_not_grow(tmp_path: Path) -> None:
    cache = dataclasses.replace(CACHE, cross="states")
    pasts = [given(-1, 2, -1, 4, name=past) for past, _ in cache.names()]
    seen = [given(-1, 2, -1, 4, name=past) for past, _ in cache.cross_names()]
    new = given(-1, 2, -1, 4, name="new")
    grown = [named(ops.concat([past, new], 2), present) for past, (_, present) in zip(pasts, cache.names(), strict=True)]
    total = named(ops.add(*(ops.reduce_sum(node, [0, 1, 2, 3]) for node in seen)), "sum")
    path = saved(tmp_path, [*grown, total], [new, *pasts, *seen])
    ports = (
        Port("new", "float32", ("batch", 2, "sequence_length", 4)),
        Port("states", "float32", ("batch", "encoder_sequence_length", 8)),
    )
    graph = Graph(path.name, path.with_suffix(".bin").name)
    component = PackedComponent(Component("toy", "step", ports, (), cache), "fp32", {"with_past": graph}, "", {})
    sizes = {"batch": 3, "sequence_length": 2, "past_sequence_length": 10, "encoder_sequence_length": 50}
    work = count_component(tmp_path, component, sizes)
    assert work.cache_bytes == 2 * 3 * 2 * (10 + 2 + 50) * 4 * 4  # key and value, batch, heads, positions, head_dim, float32
    assert work.activation_bytes == 4 * (3 * 2 * 2 * 4 + 1)  # the new positions and the sum; the states do not come in


def test_sizes_that_are_missing_or_impossible_are_refused(tmp_path: Path) -> None:
    path = step(tmp_path)
    graph = Graph(path.name, path.with_suffix(".bin").name)
    with pytest.raises(UsageError, match=r"needs a size of its axis 'past_sequence_length'; given: batch=1"):
        count_component(tmp_path, packed({"with_past": graph}), {"batch": 1, "sequence_length": 1})
    with pytest.raises(UsageError, match="no form that can be counted; have: stateful"):
        count_component(tmp_path, packed({"stateful": graph}), {})
    with pytest.raises(UsageError, match="give one to every input"):
        count(path, {})
    with pytest.raises(UsageError, match="cannot have the shapes new"):
        count(path, {"new": (1, 3, 1, 4)})


def test_a_cache_kept_as_state_is_refused(tmp_path: Path) -> None:
    from openvino._offline_transformations import apply_make_stateful_transformation

    model = ov.Core().read_model(step(tmp_path))
    apply_make_stateful_transformation(model, dict(CACHE.names()))
    ov.save_model(model, tmp_path / "stateful.xml", compress_to_fp16=False)
    with pytest.raises(UsageError, match="keeps its cache as state"):
        count(tmp_path / "stateful.xml", {"new": (1, 2, 1, 4)})


def test_the_limit_is_the_slower_of_memory_and_arithmetic() -> None:
    work = Work(flops=100, weight_bytes=10, activation_bytes=5, cache_bytes=5)
    assert floor_seconds(work, bytes_per_second=10.0, flops_per_second=1000.0) == 2.0
    assert floor_seconds(work, bytes_per_second=1000.0, flops_per_second=10.0) == 10.0
