"""What depends on what in small ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto, helper

from ovconvert.graphs.flow import Flow

Node = tuple[str, Sequence[str], str]


def flow(*nodes: Node) -> Flow:
    made = [helper.make_node(kind, list(inputs), [output]) for kind, inputs, output in nodes]
    port = helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)
    return Flow(helper.make_model(helper.make_graph(made, "small", [], [port])))


def test_a_shape_is_no_value() -> None:
    found = flow(("Shape", ["x"], "sizes"), ("Reshape", ["y", "sizes"], "z"), ("Add", ["z", "x"], "sum"))
    assert found.reached({"x"}, by_value=True) == {"x", "sum"}
    assert found.reached({"x"}, by_value=False) == {"x", "sizes", "z", "sum"}
    assert found.sources_of("z") == {"z", "y", "sizes", "x"}


ENCODER: tuple[Node, ...] = (("Relu", ["x"], "early"), ("Add", ["early", "x"], "late"))


def test_the_last_tensor_that_all_listen_to() -> None:
    found = flow(*ENCODER, ("Exp", ["late"], "key"), ("Neg", ["late"], "value"))
    assert found.bottleneck({"x"}, ["key", "value"]) == ("late", ["late"])
    past = flow(*ENCODER, ("Exp", ["late"], "key"), ("Neg", ["early"], "value"))
    assert past.bottleneck({"x"}, ["key", "value"]) == ("x", ["x"])


def test_two_encoders_are_candidates_both() -> None:
    other: tuple[Node, ...] = (("Relu", ["y"], "other"), ("Exp", ["other"], "key 2"), ("Neg", ["other"], "value 2"))
    found = flow(*ENCODER, ("Exp", ["late"], "key"), ("Neg", ["late"], "value"), *other)
    assert found.bottleneck({"x", "y"}, ["key", "value", "key 2", "value 2"]) == (None, ["late", "other"])


def test_inputs_that_meet_before_are_one_encoder() -> None:
    found = flow(("Mul", ["x", "mask"], "seen"), ("Exp", ["seen"], "key"), ("Neg", ["seen"], "value"))
    assert found.bottleneck({"x", "mask"}, ["key", "value"]) == ("seen", ["seen"])
