"""The tiny package: its files, its forms, what was fused, and what an export that fails leaves behind."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections import Counter
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from ovconvert import families, package
from ovconvert.errors import EnvironmentFault, IntegrityError, UsageError
from ovconvert.runtime.cache import open_step
from ovconvert.runtime.engine import Engine
from ovconvert.stages import export


def test_the_package_describes_itself(package_dir: Path) -> None:
    manifest = package.load(package_dir)
    assert manifest.variant == "2.0"
    assert manifest.sample_rate == 22050
    assert manifest.packed("decoder").component.cache is not None
    assert manifest.lineage["tools"]["torch"]
    assert "gpt:text_head.weight" in manifest.lineage["unused_keys"]
    assert set(manifest.lineage["source"]) >= {"config.yaml", "gpt.pth", "s2mel.pth"}
    assert package.verify(package_dir) == []


def test_both_forms_of_the_step_share_one_file_of_weights(package_dir: Path) -> None:
    graphs = package.load(package_dir).packed("decoder").graphs
    assert graphs["stateful"].bin == graphs["with_past"].bin
    assert not (package_dir / graphs["with_past"].xml).with_suffix(".bin").exists()


def test_golden_tensors_cover_three_sizes_an_odd_length_and_an_empty_cache(package_dir: Path) -> None:
    for packed in package.load(package_dir).components:
        with np.load(package_dir / packed.golden) as stored:
            cases = {name.split("/")[0] for name in stored.files} - {"trace"}
            first = {name: stored[name].shape for name in stored.files if name.startswith("0/in/")}
            sizes = {name: {stored[f"{case}/in/{name[5:]}"].shape for case in cases} for name in first}
            past = [stored[name].shape[2] for name in stored.files if "past_key_values.0.key" in name]
        assert len(cases) >= 3
        assert any(size % 2 for shapes in sizes.values() for shape in shapes for size in shape)
        assert (0 in past) == (packed.component.cache is not None)


def executed(package_dir: Path, form: str, **options: str) -> Counter[str]:
    """Count the layer types of the decoder as the plugin runs it."""
    engine = Engine(package_dir)
    graph = engine.compiled("decoder", form).get_runtime_model()
    return Counter(str(node.get_rt_info()["layerType"].value) for node in graph.get_ops())


def test_attention_and_cache_are_fused_in_the_executed_graph(package_dir: Path) -> None:
    layers = package.load(package_dir).packed("decoder").component.cache.layers
    stateful = executed(package_dir, "stateful")
    assert stateful["ScaledDotProductAttention"] == layers
    assert stateful["MemoryInput"] == stateful["MemoryOutput"] == 2 * layers
    assert stateful["Softmax"] == stateful["Subgraph"] == 0
    # the twin: with the cache outside, it is concatenated, key and value of every layer
    assert executed(package_dir, "with_past")["Concatenation"] >= 2 * layers > stateful["Concatenation"]


def test_precision_is_pinned_in_the_file(package_dir: Path) -> None:
    manifest = package.load(package_dir)
    assert manifest.packed("decoder").runtime_options["INFERENCE_PRECISION_HINT"] == "f32"
    plain = ov.Core().compile_model(package_dir / "openvino_decoder_model.xml", "CPU")
    assert plain.get_property("KV_CACHE_PRECISION") == ov.Type.f32  # without any option: the file says it
    assert plain.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


def test_the_cache_is_as_precise_as_the_weights(package25_dir: Path) -> None:
    plain = ov.Core().compile_model(package25_dir / "openvino_decoder_model.xml", "CPU")
    assert package.load(package25_dir).packed("decoder").weight_format == "fp16"
    assert plain.get_property("KV_CACHE_PRECISION") == ov.Type.f16


def test_beams_continue_the_rows_that_beam_idx_names_in_both_forms(package_dir: Path) -> None:
    engine = Engine(package_dir)
    rng = np.random.default_rng(3)
    width = package.load(package_dir).packed("decoder").component.inputs[0].shape[-1]
    calls = [rng.standard_normal((3, size, width), dtype=np.float32) for size in (4, 1, 1, 1)]
    orders = [None, [2, 0, 0], [1, 1, 2], [0, 2, 1]]
    results = {}
    for form in ("stateful", "with_past"):
        step = open_step(engine, "decoder", form)
        step.reset()
        results[form] = [
            step(None if order is None else np.array(order, np.int32), inputs_embeds=call)["logits"]
            for order, call in zip(orders, calls, strict=True)
        ]
    for stateful, explicit in zip(*results.values(), strict=True):
        np.testing.assert_allclose(stateful, explicit, atol=1e-5)
    step = open_step(engine, "decoder", "stateful")
    step.reset()
    unordered = [step(inputs_embeds=call)["logits"] for call in calls]
    assert np.abs(unordered[-1] - results["stateful"][-1]).max() > 1e-2  # the twin: the order matters


def test_an_unsplit_decoder_gives_the_same_logits(checkpoint: Path, package_dir: Path, tmp_path: Path) -> None:
    whole = families.open_checkpoint(checkpoint, split=False)
    component = whole.family.component("decoder")
    options = export.Options(split=False, weight_format="fp32")
    entry, _, _ = export.export_component(whole, component, tmp_path, options)
    assert set(entry.graphs) == {"full_sequence"}
    manifest = dataclasses.replace(package.load(package_dir), components=(entry,), files=package.seal(tmp_path))
    package.save(manifest, tmp_path)
    split, full = (
        open_step(Engine(directory), "decoder", form)
        for directory, form in ((package_dir, "stateful"), (tmp_path, "full_sequence"))
    )
    rng = np.random.default_rng(5)
    for step in (split, full):
        step.reset()
    for size in (5, 1, 2, 1):
        embeds = rng.standard_normal((1, size, component.inputs[0].shape[-1]), dtype=np.float32)
        left = split(inputs_embeds=embeds)
        right = full(inputs_embeds=embeds)
        np.testing.assert_allclose(left["logits"], right["logits"][:, -1], atol=1e-5)
        np.testing.assert_allclose(left["last_hidden_state"], right["last_hidden_state"], atol=1e-5)


@pytest.mark.parametrize("name", ["length_regulator", pytest.param("decoder", marks=pytest.mark.slow)])
def test_a_component_is_exported_to_the_same_bytes_twice(checkpoint: Path, tmp_path: Path, name: str) -> None:
    opened = families.open_checkpoint(checkpoint)
    digests = []
    for place in ("first", "second"):
        export.export_component(opened, opened.family.component(name), tmp_path / place, export.Options())
        digests.append(package.seal(tmp_path / place))
    assert digests[0] == digests[1]
    export.export_component(opened, opened.family.component(name), tmp_path / "other", export.Options(seed=1))
    assert package.seal(tmp_path / "other") != digests[0]


def test_onnx_files_are_kept_on_request(checkpoint: Path, tmp_path: Path) -> None:
    opened = families.open_checkpoint(checkpoint)
    component = opened.family.component("length_regulator")
    export.export_component(opened, component, tmp_path / "kept", export.Options(keep_onnx=True))
    assert (tmp_path / "kept/onnx/length_regulator_model.onnx").is_file()
    assert ov.Core().read_model(tmp_path / "kept/onnx/length_regulator_model.onnx")
    export.export_component(opened, component, tmp_path / "not", export.Options())
    assert not (tmp_path / "not/onnx").exists()


def test_float16_halves_the_matrices_and_leaves_the_small_constants(
    checkpoint: Path, package_dir: Path, tmp_path: Path
) -> None:
    opened = families.open_checkpoint(checkpoint)
    component = opened.family.component("length_regulator")
    export.export_component(opened, component, tmp_path, export.Options(weight_format="fp16"))
    types = {}
    for weight_format, place in (("fp32", package_dir), ("fp16", tmp_path)):
        model = ov.Core().read_model(place / "openvino_length_regulator_model.xml")
        constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
        types[weight_format] = [
            (node.get_output_element_type(0).get_type_name(), int(np.prod(node.get_output_shape(0)))) for node in constants
        ]
    assert not [kind for kind, size in types["fp32"] if kind == "f16"]
    halved = [size for kind, size in types["fp16"] if kind == "f16"]
    assert halved and min(halved) >= 4096
    assert not [size for kind, size in types["fp16"] if kind == "f32" and size >= 4096]


def test_an_existing_destination_is_refused(checkpoint: Path, package_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists and is not empty"):
        export.run(checkpoint, package_dir, export.Options())
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"no manifest.json, so it was not made by this command"):
        export.run(checkpoint, precious, export.Options(force=True))
    assert (precious / "thesis.txt").exists()


def test_a_disk_that_fills_up_leaves_nothing(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export, "export_component", full)
    with pytest.raises(EnvironmentFault, match="No space left on device"):
        export.run(checkpoint, tmp_path / "package", export.Options())
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_any_work(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(EnvironmentFault, match="make room or name another place"):
        export.run(checkpoint, tmp_path / "package", export.Options())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["openvino_vocoder_model.xml", "openvino_vocoder_model.bin"])
def test_a_truncated_graph_is_not_run(package_dir: Path, tmp_path: Path, name: str) -> None:
    import shutil

    copy = shutil.copytree(package_dir, tmp_path / "copy")
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError, match="openvino_vocoder_model"):
        Engine(copy).compiled("vocoder")
    assert Engine(package_dir).compiled("vocoder")


def test_a_damaged_package_is_not_opened(package_dir: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(package_dir, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["format"] = 99
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match="format 99"):
        Engine(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="is damaged"):
        Engine(copy)
