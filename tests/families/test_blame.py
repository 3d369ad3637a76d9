"""`blame`: one layer of one component is damaged on purpose, and it says which."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from damaged import damage, layer_names

from ovconvert import package
from ovconvert.blame.mixed import Mixed
from ovconvert.blame.outputs import decibels, error, replay
from ovconvert.graphs.transplant import read_weights, transplant
from ovconvert.judges import blame
from ovconvert.judges.blame import Options
from ovconvert.report import Report
from ovconvert.runtime.engine import Engine
from ovconvert.stages import quantize

GUILTY = "length_regulator"
TEXT = "Good morning."


def options_for(reference: Path, texts: Path, voices: Path) -> Options:
    return Options(
        reference=reference,
        texts=texts,
        voices=(voices,),
        utterances=1,
        num_beams=1,
        steps=2,
        max_new_tokens=12,
        samples=4,
        layers=2,
    )


def of_component(report: Report) -> str:
    """Return the component that a report puts first."""
    return next(row.subject for row in report.rows if "rank 1 of" in row.detail)


def of_layer(report: Report) -> str:
    """Return the layer that a report puts first."""
    return next(row.case for row in report.rows if "alone" in row.metric)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text(f"{TEXT}\n")
    return path


@pytest.mark.slow
def test_the_damaged_layer_is_named(package_dir: Path, checkpoint: Path, texts: Path, tmp_path: Path) -> None:
    layer = layer_names(package_dir, GUILTY)[-1]
    worse = damage(package_dir, tmp_path / "worse", GUILTY, layer)
    asked = options_for(package_dir, texts, checkpoint / "voices")
    assert blame.requires(worse, asked) == []
    report = blame.run(worse, asked)
    assert (of_component(report), of_layer(report)) == (GUILTY, layer)
    assert report.failed == () and [summary.heading for summary in report.summaries][:2] == [
        "Components",
        f"Layers of {GUILTY}",
    ]
    assert "not to blame" in report.notes[0] and "decoder" in report.notes[0]


@pytest.mark.slow
def test_wrong_scales_that_nobody_hears_are_named_before_all_that_was_rounded(
    package_dir: Path, checkpoint: Path, texts: Path, tmp_path: Path
) -> None:
    rounded = quantize.run(package_dir, tmp_path / "int8", quantize.Options())
    layer = next(name for name in layer_names(rounded, "speaker_conditioner") if name.endswith("self_attn.linear_v"))
    asked = options_for(package_dir, texts, checkpoint / "voices")
    small = dataclasses.replace(asked, components=(GUILTY,))  # whose layers are soon looked into
    assert of_component(blame.run(rounded, small)) != "speaker_conditioner"
    worse = damage(rounded, tmp_path / "worse", "speaker_conditioner", layer, 2.0)
    report = blame.run(worse, asked)
    assert (of_component(report), of_layer(report)) == ("speaker_conditioner", layer)


def test_equal_packages_have_nobody_to_blame(package_dir: Path, checkpoint: Path, texts: Path) -> None:
    report = blame.run(package_dir, options_for(package_dir, texts, checkpoint / "voices"))
    assert report.rows == () and "nothing differs" in report.notes[-1]


def test_weights_that_were_read_can_be_put_back(package_dir: Path) -> None:
    import openvino as ov

    packed = package.load(package_dir).packed(GUILTY)
    graph = packed.graphs["plain"]
    model = ov.Core().read_model(package_dir / graph.xml, package_dir / graph.bin)
    weights = read_weights(model)
    assert list(weights) == layer_names(package_dir, GUILTY)
    rng = np.random.default_rng(0)
    shapes = {port.name: [size if isinstance(size, int) else 12 for size in port.shape] for port in packed.component.inputs}
    call = {
        port.name: (rng.standard_normal(shapes[port.name]) * (port.dtype == "float32")).astype(port.dtype)
        for port in packed.component.inputs
    }

    def outputs(changed: ov.Model) -> list[dict[str, np.ndarray]]:
        return list(replay(ov.Core().compile_model(changed, "CPU"), packed.component, [call]))

    before = outputs(model)
    assert error(before, outputs(transplant(model, weights))) < 1e-12
    name = list(weights)[-1]
    other = transplant(model, {name: [1.5 * value for value in weights[name]]})
    assert error(before, outputs(other)) > 1e-6
    with pytest.raises(ValueError, match="shape"):
        transplant(model, {name: [value[:1, :1] for value in weights[name]]})


def test_integer_weights_are_read_in_the_units_of_floating_ones(package_dir: Path, tmp_path: Path) -> None:
    import openvino as ov

    small = quantize.run(package_dir, tmp_path / "int8", quantize.Options(components=("decoder",)))
    found = []
    for place in (package_dir, small):
        graph = package.load(place).packed("decoder").graphs["with_past"]
        found.append(read_weights(ov.Core().read_model(place / graph.xml, place / graph.bin)))
    assert list(found[0]) == list(found[1])
    for name, values in found[0].items():
        pair = [[{"w": value} for value in side] for side in (values, found[1][name])]
        assert decibels(error(*pair)) > 30, name


def test_components_come_from_the_package_that_they_are_taken_from(package_dir: Path) -> None:
    manifest = package.load(package_dir)
    first, second = (Engine(package_dir) for _ in range(2))
    name = manifest.components[-1].component.name
    marked = dataclasses.replace(manifest.packed(name), weight_format="marked")
    second.manifest = dataclasses.replace(manifest, components=(*manifest.components[:-1], marked))
    mixed = Mixed(first, second, [name])
    assert mixed.manifest.packed(name).weight_format == "marked"
    assert [one.weight_format for one in mixed.manifest.components].count("marked") == 1
    assert mixed.compiled(name, next(iter(marked.graphs))) is second.compiled(name, next(iter(marked.graphs)))
    assert not first.compile_seconds


def test_all_that_is_wrong_is_told_at_once(package_dir: Path, other_dir: Path, tmp_path: Path) -> None:
    problems = blame.requires(package_dir, Options(utterances=0, layers=0, components=("nose",), voices=(tmp_path / "x",)))
    told = ("utterances 0", "layers 0", "no component 'nose'", "--reference", "no such file or folder")
    assert all(any(text in problem for problem in problems) for text in told), problems
    assert any("another model" in problem for problem in blame.requires(package_dir, Options(reference=other_dir)))


@pytest.mark.slow
def test_a_checkpoint_is_a_reference_too(package_dir: Path, checkpoint: Path, texts: Path, tmp_path: Path) -> None:
    layer = layer_names(package_dir, GUILTY)[-1]
    worse = damage(package_dir, tmp_path / "worse", GUILTY, layer)
    report = blame.run(worse, options_for(checkpoint, texts, checkpoint / "voices"))
    assert (of_component(report), of_layer(report)) == (GUILTY, layer)
