"""Quantized packages: sizes, precision of every layer, forms that agree, floors that hold, and damage that does not pass."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ovconvert import calibrate, calibration, package
from ovconvert.cli import cli
from ovconvert.errors import IntegrityError, UsageError
from ovconvert.graphs.layers import find_layers, noted_layers
from ovconvert.judges import validate
from ovconvert.package import PackedComponent
from ovconvert.stages import export, quantize
from ovconvert.stages.quantize import Options

SMALL = ("decoder", "length_regulator")


@pytest.fixture(scope="session")
def int8_dir(package_dir: Path) -> Path:
    """Two components in INT8, the rest as it was."""
    return quantize.run(package_dir, package_dir.with_name("int8"), Options(components=SMALL))


@pytest.fixture(scope="session")
def calibration_dir(package_dir: Path, checkpoint: Path) -> Path:
    """What entered the components of the tiny package while it spoke a few tokens."""
    options = calibrate.Options(
        voices=checkpoint / "voices",
        num_beams=1,
        max_new_tokens=6,
        steps=2,
        max_reference_seconds=2.0,
        texts=_texts(package_dir),
    )
    assert calibrate.requires(package_dir, options) == []
    return calibrate.run(package_dir, package_dir.with_name("calibration"), options)


def _texts(package_dir: Path) -> Path:
    path = package_dir.with_name("texts.txt")
    path.write_text("Good morning.\nThe kettle is on the stove.\n", encoding="utf-8")
    return path


def weights(directory: Path, packed: PackedComponent) -> int:
    """Return the bytes of the weights of a component."""
    return (directory / next(iter(packed.graphs.values())).bin).stat().st_size


def models(directory: Path, packed: PackedComponent) -> dict[str, object]:
    import openvino as ov

    return {
        form: ov.Core().read_model(directory / graph.xml, directory / graph.bin) for form, graph in packed.graphs.items()
    }


def test_int8_is_small_and_the_rest_is_as_it_was(package_dir: Path, int8_dir: Path) -> None:
    before, after = package.load(package_dir), package.load(int8_dir)
    assert package.verify(int8_dir) == []
    for packed in after.components:
        old = before.packed(packed.component.name)
        if packed.component.name in SMALL:
            assert (packed.precision, packed.runtime_options["KV_CACHE_PRECISION"]) == ("int8", "f16")
            assert weights(int8_dir, packed) < 0.34 * weights(
                package_dir, old
            )  # tiny layers: biases weigh more than at size
        else:
            assert packed == old
            assert after.files[next(iter(packed.graphs.values())).bin] == before.files[next(iter(old.graphs.values())).bin]
    assert {name for name in after.files if name.startswith("golden/")} == {
        name for name in before.files if name.startswith("golden/")
    }


@pytest.fixture(scope="session")
def mixed_dir(package_dir: Path) -> Path:
    """Four components, each with a precision of its own; the rest in INT8."""
    formats = ("length_regulator=fp32", "flow_estimator=fp16", "decoder=int4", "speech_embeddings=int8")
    options = Options(components=("length_regulator", "text_embeddings"), formats=formats)
    assert quantize.requires(package_dir, options) == []
    return quantize.run(package_dir, package_dir.with_name("mixed"), options)


def test_every_component_may_have_a_precision_of_its_own(package_dir: Path, mixed_dir: Path) -> None:
    before, after = package.load(package_dir), package.load(mixed_dir)
    assert package.verify(mixed_dir) == []
    asked = {"flow_estimator": "fp16", "decoder": "int4", "speech_embeddings": "int8", "text_embeddings": "int8"}
    for packed in after.components:
        name = packed.component.name
        assert packed.precision == asked.get(name, "fp32")
        if name not in asked:
            assert packed == before.packed(name)
    half = weights(mixed_dir, after.packed("flow_estimator")) / weights(package_dir, before.packed("flow_estimator"))
    assert 0.45 < half < 0.6
    report = validate.run(mixed_dir, validate.Options(components=("decoder", "flow_estimator")))
    assert not report.failed, [row.line() for row in report.failed]


def test_a_component_is_the_same_whatever_the_others_are(package_dir: Path, mixed_dir: Path, int8_dir: Path) -> None:
    alone = quantize.run(
        package_dir, mixed_dir.with_name("alone"), Options(formats=("decoder=int4",), components=("decoder",))
    )
    name = next(iter(package.load(alone).packed("decoder").graphs.values())).bin
    digests = [package.load(place).files[name] for place in (alone, mixed_dir, int8_dir)]
    assert digests[0] == digests[1] != digests[2]


def test_float32_is_not_made_of_float16(package_dir: Path, tmp_path: Path) -> None:
    manifest = package.load(package_dir)
    halved = tuple(dataclasses.replace(one, weight_format="fp16") for one in manifest.components)
    package.save(dataclasses.replace(manifest, components=halved), tmp_path)
    asked = Options(components=("decoder",), formats=("decoder=int8", "vocoder=fp32", "latent_projector=fp16"))
    (problem,) = quantize.requires(tmp_path, asked)
    assert problem.startswith("vocoder has fp16 weights, and fp32 cannot be made of them")
    assert quantize.requires(package_dir, asked) == []


def test_wrong_formats_are_told_at_once(package_dir: Path) -> None:
    asked = Options(formats=("decoder", "vocoder=int2", "juggler=int8", "decoder=int8", "decoder=int4", "vocoder=int8-full"))
    found = "\n".join(quantize.requires(package_dir, asked))
    for said in (
        "'decoder': write",
        "'vocoder=int2': write",
        "no component 'juggler'",
        "names 'decoder' twice",
        "--dataset",
    ):
        assert said in found


def test_what_every_layer_got_is_in_the_manifest_and_in_the_ir(int8_dir: Path, package_dir: Path) -> None:
    packed = package.load(int8_dir).packed("decoder")
    assert packed.layers["mel_head"].words().endswith("kept")
    assert {precision.words() for name, precision in packed.layers.items() if name != "mel_head"} == {
        "u8, per channel, asymmetric"
    }
    said = {name: precision.words() for name, precision in packed.layers.items()}
    for form, model in models(int8_dir, packed).items():
        assert noted_layers(model) == said, form
    names = {
        layer.name for layer in find_layers(models(package_dir, package.load(package_dir).packed("decoder"))["with_past"])
    }
    assert names == set(said)  # layers are called alike in every precision


def test_the_forms_give_the_same_tokens_and_validation_passes(int8_dir: Path) -> None:
    report = validate.run(int8_dir, validate.Options(components=SMALL))
    assert not report.failed, [row.line() for row in report.failed]
    assert any("stateful = with_past" in row.case for row in report.rows)


@pytest.mark.slow
def test_the_same_source_gives_the_same_bytes(package_dir: Path, int8_dir: Path, tmp_path: Path) -> None:
    again = quantize.run(package_dir, tmp_path / "again", Options(components=SMALL))
    assert (again / package.MANIFEST).read_bytes() == (int8_dir / package.MANIFEST).read_bytes()


def test_wrong_scales_in_one_layer_fail_validation(int8_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(int8_dir, tmp_path / "copy")
    manifest = package.load(copy)
    packed = manifest.packed("decoder")
    scale = next(
        node
        for node in models(copy, packed)["with_past"].get_ops()  # type: ignore[attr-defined]
        if node.get_friendly_name().endswith("/scale") and len(node.get_data()) > 100
    )
    path = copy / next(iter(packed.graphs.values())).bin
    data, part = path.read_bytes(), np.ascontiguousarray(scale.get_data()).tobytes()
    assert data.count(part) == 1
    wrong = (np.frombuffer(part, np.float16) * np.float16(4)).tobytes()
    path.write_bytes(data.replace(part, wrong))
    package.save(dataclasses.replace(manifest, files=package.seal(copy)), copy)
    said = tmp_path / "said.xml"
    result = CliRunner().invoke(cli, ["validate", str(copy), "--components", "decoder", "-r", str(said)])
    assert result.exit_code == 5, result.output
    assert "<failure" in said.read_text()


@pytest.mark.slow
def test_int4_keeps_embeddings_and_the_head_and_groups_the_rest(package_dir: Path, tmp_path: Path) -> None:
    options = Options(weight_format="int4", sym=True, group_size=32, components=("decoder", "speech_embeddings"))
    dest = quantize.run(package_dir, tmp_path / "int4", options)
    manifest = package.load(dest)
    found = {precision.words() for precision in manifest.packed("decoder").layers.values()}
    assert any("group of 32, symmetric" in words for words in found)
    assert {precision.bits for precision in manifest.packed("speech_embeddings").layers.values()} == {8}
    assert manifest.packed("decoder").precision == "int4"
    report = validate.run(dest, validate.Options(components=options.components))
    assert not report.failed, [row.line() for row in report.failed]


def test_awq_that_finds_nothing_is_refused_or_told(package_dir: Path, tmp_path: Path) -> None:
    asked = Options(weight_format="int4", awq=True, components=("decoder",))  # its feed-forwards have a GELU
    with pytest.raises(UsageError, match=r"--awq finds nothing to do in decoder: .* GELU"):
        quantize.run(package_dir, tmp_path / "refused", asked)
    assert list(tmp_path.iterdir()) == []
    both = dataclasses.replace(asked, components=("decoder", "emotion_classifier"))
    plain, smooth = (
        quantize.run(package_dir, tmp_path / str(awq), dataclasses.replace(both, awq=awq, group_size=32))
        for awq in (False, True)
    )
    (step,) = package.load(smooth).lineage["quantized"]  # type: ignore[misc]
    assert step["without_awq"] == ["decoder"]
    for name, same in (("decoder", True), ("emotion_classifier", False)):
        written = next(iter(package.load(plain).packed(name).graphs.values())).bin
        assert ((plain / written).read_bytes() == (smooth / written).read_bytes()) is same


def test_everything_wrong_is_told_at_once(package_dir: Path, int8_dir: Path) -> None:
    asked = Options(ratio=0.5, awq=True, components=("decoder", "juggler"))
    found = "\n".join(quantize.requires(int8_dir, asked))
    for said in ("--ratio needs", "--awq needs", "no component 'juggler'", "decoder has int8 weights already"):
        assert said in found
    assert quantize.requires(package_dir, Options()) == []


def test_patterns_must_match(package_dir: Path) -> None:
    asked = Options(keep=("decoder:gpt.h.0.mlp.c_fcc", "nobody:x", "(", r".*c_attn", "flow_estimator:.*final_layer.*"))
    found = quantize.requires(package_dir, asked)
    assert len(found) == 3
    assert "near: gpt.h.0.mlp.c_fc" in found[0]
    assert "'nobody' is no component" in found[1] or "matches no layer" in found[1]
    assert "no regular expression" in found[2]


@pytest.mark.slow
def test_patterns_keep_layers(package_dir: Path, tmp_path: Path) -> None:
    asked = Options(components=("decoder",), keep=("decoder:gpt.h.0.attn.*",), keep_fp=False)
    packed = package.load(quantize.run(package_dir, tmp_path / "kept", asked)).packed("decoder")
    left = {name for name, precision in packed.layers.items() if precision.group_size is None}
    assert left == {"gpt.h.0.attn.c_attn", "gpt.h.0.attn.c_proj"}
    assert packed.layers["mel_head"].bits == 8


@pytest.mark.slow
@pytest.mark.parametrize("options", [Options(), Options(weight_format="int4", ratio=0.6, group_size=16)])
def test_forms_that_do_not_follow_from_each_other_get_the_same(package_dir: Path, tmp_path: Path, options: Options) -> None:
    packed = package.load(package_dir).packed("decoder")
    entry = quantize._quantize_forms(models(package_dir, packed), tmp_path, packed, options)
    found = {
        form: {layer.name: (layer.precision.bits, layer.precision.group_size) for layer in find_layers(model)}
        for form, model in models(tmp_path, entry).items()
    }
    assert found["stateful"] == found["with_past"]
    assert len({bits for bits, _ in found["stateful"].values()}) == (2 if options.weight_format == "int8" else 3)
    assert len(list(tmp_path.glob("*.bin"))) == 1
    assert (tmp_path / entry.graphs["stateful"].bin).stat().st_size < 0.5 * weights(package_dir, packed)


def test_forms_that_do_not_follow_from_each_other_become_float16(package_dir: Path, tmp_path: Path) -> None:
    packed = package.load(package_dir).packed("decoder")
    entry = quantize._quantize_forms(models(package_dir, packed), tmp_path, packed, Options(weight_format="fp16"))
    assert (entry.precision, entry.layers, set(entry.graphs)) == ("fp16", {}, {"stateful", "with_past"})
    assert len(list(tmp_path.glob("*.bin"))) == 1
    assert (tmp_path / entry.graphs["stateful"].bin).stat().st_size < 0.6 * weights(package_dir, packed)


@pytest.mark.slow
def test_export_makes_the_same_weights(checkpoint: Path, int8_dir: Path, tmp_path: Path) -> None:
    from ovconvert.families import open_checkpoint

    opened = open_checkpoint(checkpoint)
    component = opened.family.component("length_regulator")
    entry, _, _ = export.export_component(opened, component, tmp_path, export.Options(weight_format="int8"))
    there = package.load(int8_dir).packed("length_regulator")
    assert entry.layers == there.layers
    assert (tmp_path / entry.graphs["plain"].bin).stat().st_size == weights(int8_dir, there)


@pytest.mark.slow
def test_calibration_shows_early_and_late_tokens_and_every_time(calibration_dir: Path, package_dir: Path) -> None:
    found = calibration.load(calibration_dir)
    assert {sample.stratum for sample in found.of("decoder")} >= {"first", "call 1", "call 2", "call 4"}
    assert len({sample.stratum for sample in found.of("flow_estimator")}) == 2
    manifest = package.load(package_dir)
    silent = {"emotion_classifier"}
    for packed in manifest.components:
        if packed.component.name not in silent:
            assert found.of(packed.component.name), packed.component.name
    late = calibration.read(calibration_dir, found.of("decoder"), manifest.packed("decoder").component)
    assert max(one["past_key_values.0.key"].shape[2] for one in late) > 0
    assert any(np.abs(one["past_key_values.0.key"]).max(initial=0.0) > 0 for one in late)


def test_texts_of_an_evaluation_are_left_out(package_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    out.write_text("good  MORNING.\n", encoding="utf-8")
    options = calibrate.Options(voices=checkpoint / "voices", texts=_texts(package_dir), exclude=out)
    assert [text.text for text in calibrate.chosen_texts(options)] == ["The kettle is on the stove."]
    same = dataclasses.replace(options, exclude=options.texts, voices=None, num_samples=0)
    found = "\n".join(calibrate.requires(package_dir, same))
    for said in ("none of the 2 texts is left", "no voices", "num-samples 0"):
        assert said in found


@pytest.mark.slow
def test_full_int8_from_calibration(package_dir: Path, calibration_dir: Path, tmp_path: Path) -> None:
    asked = Options(quant_mode="int8", dataset=calibration_dir, components=("length_regulator",), smooth_quant_alpha=0.5)
    assert quantize.requires(package_dir, asked) == []
    dest = quantize.run(package_dir, tmp_path / "full", asked)
    packed = package.load(dest).packed("length_regulator")
    assert packed.precision == "int8-full"
    assert {precision.activations for precision in packed.layers.values()} == {"int8"}
    report = validate.run(dest, validate.Options(components=("length_regulator",)))
    assert not report.failed, [row.line() for row in report.failed]


@pytest.mark.slow
def test_calibration_on_noise_fails_validation(package_dir: Path, calibration_dir: Path, tmp_path: Path) -> None:
    noise, heard = shutil.copytree(calibration_dir, tmp_path / "noise"), "length_regulator"
    rng = np.random.default_rng(0)
    for path in (noise / heard).iterdir():
        with np.load(path) as stored:
            inputs = {name: stored[name] for name in stored.files}
        np.savez(path, **{name: _noise(values, rng) for name, values in inputs.items()})
    found = calibration.load(noise)
    sealed = (dataclasses.replace(one, sha256=package.sha256(noise / one.file)) for one in found.samples)
    calibration.save(dataclasses.replace(found, samples=tuple(sealed)), noise)
    codes = []
    for dataset in (calibration_dir, noise):
        asked = Options(quant_mode="int8", dataset=dataset, components=(heard,), smooth_quant_alpha=0.5)
        assert quantize.requires(package_dir, asked) == []
        dest = quantize.run(package_dir, tmp_path / f"on-{dataset.name}", asked)
        codes.append(CliRunner().invoke(cli, ["validate", str(dest), "--components", heard]).exit_code)
    assert codes == [0, 5]


def _noise(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return faint noise for numbers, so that real ones are cut off; what counts or chooses stays."""
    return 0.01 * rng.standard_normal(values.shape).astype(values.dtype) if values.dtype.kind == "f" else values


@pytest.mark.slow
def test_a_damaged_dataset_is_refused(package_dir: Path, calibration_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(calibration_dir, tmp_path / "copy")
    asked = Options(quant_mode="int8", dataset=copy, components=("length_regulator",))
    for path in (copy / "length_regulator").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="changed since it was captured"):
        quantize.run(package_dir, tmp_path / "dest", asked)
    assert not (tmp_path / "dest").exists()
    assert "no sample of emotion_classifier" in "\n".join(
        quantize.requires(package_dir, dataclasses.replace(asked, components=("emotion_classifier",)))
    )


@pytest.mark.slow
def test_statistics_are_used_again_and_refused_if_changed(package_dir: Path, calibration_dir: Path, tmp_path: Path) -> None:
    asked = Options(
        weight_format="int4",
        ratio=0.5,
        group_size=16,
        sensitivity_metric="mean_activation_magnitude",
        dataset=calibration_dir,
        components=("decoder",),
        quantization_statistics_path=tmp_path / "statistics",
        num_samples=4,
    )
    assert quantize.requires(package_dir, asked) == []
    first = quantize.run(package_dir, tmp_path / "first", asked)
    (place,) = (tmp_path / "statistics").iterdir()
    second = quantize.run(package_dir, tmp_path / "second", asked)
    assert (first / package.MANIFEST).read_bytes() == (second / package.MANIFEST).read_bytes()
    assert {precision.bits for precision in package.load(first).packed("decoder").layers.values()} >= {4, 8}
    changed = next((place / "statistics").iterdir())
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="changed since they were made"):
        quantize.run(package_dir, tmp_path / "third", asked)
