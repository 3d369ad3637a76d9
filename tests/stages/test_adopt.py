"""ONNX files of others as components: names, dtypes and shapes of the ports, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from ovconvert.errors import ConversionError
from ovconvert.graphs.adopt import adopt
from ovconvert.spec import Port

INPUTS = (Port("mel", "float32", (1, 8, "frames")), Port("length", "int32", (1,)))
OUTPUTS = (Port("codes", "int64", (1, "tokens")),)


def tokenizer(*, bands: int = 8, length: int = TensorProto.INT32) -> onnx.ModelProto:
    """Return codes = argmax over the bands of every second frame, shaped (1, 1, frames / 2), beside the length again.

    One of its inner names is a port's name, and its weight is listed among its inputs, as older files have it.
    """
    steps = [numpy_helper.from_array(np.array([step], np.int64), f"step{step}") for step in (0, 2)]
    weight = numpy_helper.from_array(np.eye(bands, dtype=np.float32), "weight")
    last = numpy_helper.from_array(np.array([2**31], np.int64), "last")
    nodes = [
        helper.make_node("MatMul", ["weight", "speech"], ["mel"]),
        helper.make_node("Slice", ["mel", "step0", "last", "step2", "step2"], ["half"]),
        helper.make_node("ArgMax", ["half"], ["found"], axis=1),
        helper.make_node("Cast", ["found"], ["ids"], to=TensorProto.INT32),
        helper.make_node("Identity", ["lengths"], ["same"]),
    ]
    given = [
        helper.make_tensor_value_info("speech", TensorProto.FLOAT, [1, bands, "T"]),
        helper.make_tensor_value_info("lengths", length, [1]),
        helper.make_tensor_value_info("weight", TensorProto.FLOAT, [bands, bands]),
    ]
    made = [
        helper.make_tensor_value_info("ids", TensorProto.INT32, [1, 1, "N"]),
        helper.make_tensor_value_info("same", length, [1]),
    ]
    graph = helper.make_graph(nodes, "toy", given, made, [*steps, weight, last])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("frames", [7, 12])
def test_a_file_answers_under_the_names_of_its_ports(tmp_path: Path, frames: int) -> None:
    model = adopt(tokenizer(), INPUTS, OUTPUTS)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "adopted.onnx")
    compiled = ov.Core().compile_model(tmp_path / "adopted.onnx", "CPU")
    assert [port.get_any_name() for port in compiled.inputs] == ["mel", "length"]
    mel = np.random.default_rng(1).standard_normal((1, 8, frames), dtype=np.float32)
    (codes,) = compiled({"mel": mel, "length": np.array([frames], np.int32)}).values()
    assert codes.dtype == np.int64
    assert codes.tolist() == [mel[0].argmax(0)[::2].tolist()]


def test_all_that_does_not_fit_is_said() -> None:
    model = tokenizer(bands=6, length=TensorProto.INT64)
    with pytest.raises(ConversionError) as caught:
        adopt(model, INPUTS, (*OUTPUTS, *OUTPUTS, *OUTPUTS))
    said = str(caught.value)
    for part in ("speech is float32 [1, 6, '?']", "lengths is int64 [1]", "2 outputs; expected at least 3"):
        assert part in said
    with pytest.raises(ConversionError, match=r"2 inputs \(speech, lengths\); expected 1: mel"):
        adopt(model, INPUTS[:1], OUTPUTS)
