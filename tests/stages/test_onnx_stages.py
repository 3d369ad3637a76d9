"""simplify, lower and split on small ONNX files made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from ovconvert.errors import ConversionError, ParityError, UsageError
from ovconvert.graphs.weights import attach, detach
from ovconvert.stages import lower, simplify, split

WIDTH = 64


def encoder_decoder(path: Path) -> Path:
    """Write y = relu(x @ A + 0) @ B + x, with a foldable constant and a large weight on either side."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 8, name) for name in ("A", "B")
    ]
    small = [numpy_helper.from_array(np.zeros(WIDTH, np.float32), name) for name in ("left", "right")]
    nodes = [
        helper.make_node("Add", ["left", "right"], ["zero"]),
        helper.make_node("MatMul", ["x", "A"], ["product"]),
        helper.make_node("Add", ["product", "zero"], ["shifted"]),
        helper.make_node("Relu", ["shifted"], ["hidden"]),
        helper.make_node("Identity", ["hidden"], ["same"]),
        helper.make_node("MatMul", ["same", "B"], ["back"]),
        helper.make_node("Add", ["back", "x"], ["y"]),
    ]
    shape = [1, "time", WIDTH]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        initializer=weights + small,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def run(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {port.get_any_name(): value for port, value in compiled(inputs).items()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return encoder_decoder(tmp_path / "model.onnx")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, 7, WIDTH), dtype=np.float32)


def test_simplify_makes_fewer_nodes_and_the_same_outputs(model: Path, tmp_path: Path, x: np.ndarray) -> None:
    dest = simplify.run(model, tmp_path / "out" / "simple.onnx", simplify.Options())
    before, after = onnx.load(model), onnx.load(dest)
    assert len(after.graph.node) < len(before.graph.node)
    np.testing.assert_allclose(run(dest, x=x)["y"], run(model, x=x)["y"], atol=1e-5)
    assert {path.name for path in dest.parent.iterdir()} == {"simple.onnx", "simple.onnx_data"}


def test_simplify_keeps_a_graph_that_it_cannot_make_smaller(model: Path, tmp_path: Path) -> None:
    once = simplify.run(model, tmp_path / "once.onnx", simplify.Options())
    graph = simplify.read_onnx(once)
    detach(graph, tmp_path)
    again = simplify.simplify(graph)
    assert again.skipped is None
    assert again.nodes_before == again.nodes_after


def test_simplify_refuses_changed_outputs(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxsim

    def wrong(graph: onnx.ModelProto, **_: object) -> tuple[onnx.ModelProto, bool]:
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        copy.graph.node[0].op_type = "Sub"
        copy.graph.node[3].op_type = "Abs"
        del copy.graph.node[4]
        copy.graph.node[4].input[0] = "hidden"
        return copy, True

    monkeypatch.setattr(onnxsim, "simplify", wrong)
    with pytest.raises(ParityError, match="simplification changed output 'y'"):
        simplify.run(model, tmp_path / "simple.onnx", simplify.Options())
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_simplify_says_when_sizes_do_not_fit(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--input-shape"):
        simplify.run(model, tmp_path / "simple.onnx", simplify.Options(input_shape=("x:1x5x3",)))
    with pytest.raises(UsageError, match="allowed: NAME:1x80x40"):
        simplify.run(model, tmp_path / "simple.onnx", simplify.Options(input_shape=("x=1",)))
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"this is no protocol buffer at all")
    with pytest.raises(ConversionError, match="not an ONNX file"):
        simplify.run(path, tmp_path / "out.onnx", simplify.Options())
    with pytest.raises(ConversionError, match="not an ONNX file"):
        lower.run(path, tmp_path / "ir", lower.Options())
    assert simplify.requires(tmp_path / "none.onnx", simplify.Options()) != []


def test_weights_survive_being_detached_and_attached(model: Path, tmp_path: Path, x: np.ndarray) -> None:
    graph = onnx.load(model)
    weights = detach(graph, tmp_path)
    assert set(weights) == {"A", "B"}
    attach(graph, weights, tmp_path / "again.onnx")
    np.testing.assert_array_equal(run(tmp_path / "again.onnx", x=x)["y"], run(model, x=x)["y"])
    mapped = detach(onnx.load(tmp_path / "again.onnx", load_external_data=False), tmp_path)
    assert all(isinstance(value, np.memmap) for value in mapped.values())
    np.testing.assert_array_equal(mapped["B"], weights["B"])


@pytest.mark.parametrize("weight_format, tolerance", [("fp32", 1e-5), ("fp16", 1e-2)])
def test_lower(model: Path, tmp_path: Path, x: np.ndarray, weight_format: str, tolerance: float) -> None:
    dest = lower.run(model, tmp_path / "ir", lower.Options(weight_format=weight_format))
    assert {path.name for path in dest.iterdir()} == {"openvino_model.xml", "openvino_model.bin"}
    np.testing.assert_allclose(run(dest / "openvino_model.xml", x=x)["y"], run(model, x=x)["y"], atol=tolerance)
    size = (dest / "openvino_model.bin").stat().st_size
    assert size == pytest.approx(2 * WIDTH * WIDTH * (4 if weight_format == "fp32" else 2), rel=0.1)


def test_lower_gives_a_decoder_both_forms(tmp_path: Path) -> None:
    """A step of one layer, told by the names of its inputs."""
    nodes = [
        helper.make_node("Concat", ["past_key_values.0.key", "x"], ["present.0.key"], axis=2),
        helper.make_node("Concat", ["past_key_values.0.value", "x"], ["present.0.value"], axis=2),
        helper.make_node("Transpose", ["present.0.key"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["x", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "present.0.value"], ["y"]),
    ]
    names = ("past_key_values.0.key", "past_key_values.0.value")
    new, past, total = (["batch", 2, axis, 8] for axis in ("new", "past", "total"))
    inputs = [("x", new), *((name, past) for name in names)]
    outputs = [("y", new), ("present.0.key", total), ("present.0.value", total)]
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side] for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "step", *ports)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "step.onnx")
    dest = lower.run(tmp_path / "step.onnx", tmp_path / "ir", lower.Options(name="decoder", weight_format="fp32"))
    assert (dest / "openvino_decoder_with_past_model.xml").is_file()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(dest / "openvino_decoder_model.xml", "CPU", options)
    request = compiled.create_infer_request()
    rng = np.random.default_rng(2)
    kept = np.zeros((1, 2, 0, 8), np.float32)
    for size in (3, 1, 1):
        x = rng.standard_normal((1, 2, size, 8), dtype=np.float32)
        kept = np.concatenate([kept, x], 2)
        scores = np.exp(x @ kept.swapaxes(2, 3))
        expected = scores / scores.sum(-1, keepdims=True) @ kept
        found = request.infer({"x": x, "beam_idx": np.zeros(1, np.int32)})["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_split_at_a_tensor(model: Path, tmp_path: Path, x: np.ndarray) -> None:
    dest = split.run(model, tmp_path / "parts", split.Options(at=("hidden",)))
    hidden = run(dest / "encoder_model.onnx", x=x)
    assert set(hidden) == {"hidden"}
    result = run(dest / "decoder_model.onnx", x=x, **hidden)
    np.testing.assert_allclose(result["y"], run(model, x=x)["y"], atol=1e-6)
    second = onnx.load(dest / "decoder_model.onnx")
    assert [port.name for port in second.graph.input] == ["hidden", "x"]
    assert [tensor.name for tensor in second.graph.initializer] == ["B"]


def test_split_at_a_tensor_that_is_not_there(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        split.run(model, tmp_path / "parts", split.Options(at=("hiden", "A")))
    assert "hiden is not in the graph; near: hidden" in str(caught.value)
    assert "A is an input or a weight" in str(caught.value)
    assert not (tmp_path / "parts").exists()


def test_split_needs_two_names_and_one_way_to_cut(model: Path, tmp_path: Path) -> None:
    problems = split.requires(model, split.Options(first="same", second="same", at=("hidden",), cache=False))
    assert len(problems) == 2
    with pytest.raises(ConversionError, match="no encoder found"):
        split.run(model, tmp_path / "parts", split.Options())


def test_a_cut_at_the_end_leaves_nothing(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="leaves nothing for decoder_model"):
        split.run(model, tmp_path / "parts", split.Options(at=("y",)))
    assert not (tmp_path / "parts").exists()
