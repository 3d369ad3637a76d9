"""Pruned packages: smaller graphs, forms that agree, damage in order of importance, refusals, and what the lineage tells."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ovconvert import calibration, golden, package
from ovconvert.calibration import Calibration, Sample
from ovconvert.graphs import selection
from ovconvert.graphs.feed_forward import find_feed_forwards
from ovconvert.judges import validate
from ovconvert.package import PackedComponent
from ovconvert.report import Report
from ovconvert.stages import prune, quantize
from ovconvert.stages.prune import Options

CHOSEN = ("decoder", "flow_estimator", "speaker_conditioner")
WEIGHED = Options(ffn_width=0.75, components=CHOSEN, importance="magnitude")


@pytest.fixture(scope="session")
def pruned_dir(package_dir: Path) -> Path:
    """Three components with three quarters of their units, the rest as it was."""
    assert prune.requires(package_dir, WEIGHED) == []
    return prune.run(package_dir, package_dir.with_name("pruned"), WEIGHED)


@pytest.fixture(scope="session")
def golden_calibration(package_dir: Path) -> Path:
    """A calibration set of what entered the chosen components when golden tensors were recorded, their caches included."""
    dest = package_dir.with_name("golden-calibration")
    manifest = package.load(package_dir)
    samples = []
    for name in CHOSEN:
        cases = golden.Cases.load(package_dir / manifest.packed(name).golden)
        (dest / name).mkdir(parents=True)
        for number in ("0", "1", "2", "3"):
            path = dest / name / f"{number}.npz"
            np.savez(path, **cases.inputs(number))
            samples.append(Sample(name, f"{name}/{number}.npz", package.sha256(path), path.stat().st_size, "golden", 0, 0))
    source = package.sha256(package_dir / package.MANIFEST)
    fits = (calibration.architecture(manifest), calibration.source(manifest))
    calibration.save(Calibration(source, *fits, ("",), ("",), {}, {}, tuple(samples)), dest)
    return dest


def bin_bytes(directory: Path, packed: PackedComponent) -> int:
    return (directory / next(iter(packed.graphs.values())).bin).stat().st_size


def units(directory: Path, packed: PackedComponent) -> dict[str, list[int]]:
    """Return the units of every feed-forward of every form."""
    import openvino as ov

    found = {}
    for form, graph in packed.graphs.items():
        model = ov.Core().read_model(directory / graph.xml, directory / graph.bin)
        found[form] = [block.units for block in find_feed_forwards(model)]
    return found


def signal(report: Report) -> float:
    """Return the mean signal-to-noise ratio of all rows that have one."""
    return float(np.mean([row.value for row in report.rows if row.unit == "dB"]))


def test_graphs_are_smaller_in_all_forms_and_the_rest_is_as_it_was(package_dir: Path, pruned_dir: Path) -> None:
    before, after = package.load(package_dir), package.load(pruned_dir)
    assert package.verify(pruned_dir) == []
    for packed in after.components:
        old = before.packed(packed.component.name)
        if packed.component.name not in CHOSEN:
            assert packed == old
            continue
        assert bin_bytes(pruned_dir, packed) < bin_bytes(package_dir, old)
        assert packed.component.pruned
        was, now = units(package_dir, old), units(pruned_dir, packed)
        assert set(now) == set(old.graphs)
        assert all(
            was[form] and now[form] == selection.counts([np.ones(size) for size in was[form]], 0.75, 8, "uniform")
            for form in was
        )
    assert {name: digest for name, digest in after.files.items() if name.startswith("golden/")} == {
        name: digest for name, digest in before.files.items() if name.startswith("golden/")
    }


def test_every_feed_forward_of_the_networks_is_found(package_dir: Path) -> None:
    """The tiny checkpoint has as many as its networks' definitions say: a pattern that changed would be missed silently."""
    manifest = package.load(package_dir)
    count = {packed.component.name: max(map(len, units(package_dir, packed).values())) for packed in manifest.components}
    cache = manifest.packed("decoder").component.cache
    assert cache is not None and count["decoder"] == cache.layers
    attentions = manifest.lineage["components"]
    assert isinstance(attentions, dict)
    for name in ("flow_estimator", "speaker_conditioner", "emotion_conditioner"):
        assert count[name] == attentions[name]["attentions"], name
    assert count["semantic_encoder"] == 2 * attentions["semantic_encoder"]["attentions"]  # before and after each
    assert count["vocoder"] == count["length_regulator"] == 0


def test_the_forms_of_a_step_give_the_same_tokens(pruned_dir: Path) -> None:
    report = validate.run(pruned_dir, validate.Options(components=("decoder",)))
    row = next(row for row in report.rows if "stateful = with_past" in row.case)
    assert row.passed
    assert all(row.passed is None for row in report.rows if "= PyTorch" in row.case)  # which was another network


def test_the_lineage_tells_what_was_removed(package_dir: Path, pruned_dir: Path) -> None:
    before, after = package.load(package_dir), package.load(pruned_dir)
    steps = after.lineage["pruned"]
    assert isinstance(steps, list) and len(steps) == 1
    assert steps[0]["package"] == package.sha256(package_dir / package.MANIFEST)
    assert set(steps[0]["removed"]) == set(CHOSEN)
    assert steps[0]["options"]["ffn_width"] == 0.75
    for name, layers in steps[0]["removed"].items():
        now = next(iter(units(pruned_dir, after.packed(name)).values()))
        was = next(iter(units(package_dir, before.packed(name)).values()))
        assert [(layer["units"], layer["kept"]) for layer in layers] == list(zip(was, now, strict=True))
        for layer in layers:
            assert layer["score_quantiles"] == sorted(layer["score_quantiles"])
            assert 0.0 < layer["removed_score_share"] < 0.25  # a quarter of the units, and not the best one
            removed = [part.split("-") for part in layer["removed"].split(",")]
            assert sum(int(part[-1]) - int(part[0]) + 1 for part in removed) == layer["units"] - layer["kept"]


def test_activations_decide_and_the_golden_tensors_show_the_damage(
    package_dir: Path, golden_calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: removing the most important units instead harms far more."""
    options = Options(ffn_width=0.75, components=("decoder",), dataset=golden_calibration)
    assert prune.requires(package_dir, options) == []
    reports = {}
    reports["least"] = validate.run(
        prune.run(package_dir, tmp_path / "least", options), validate.Options(options.components)
    )
    with monkeypatch.context() as patch:
        patch.setattr(prune, "most_important", lambda scores, count: selection.most_important(-scores, count))
        dest = prune.run(package_dir, tmp_path / "most", options)
    reports["most"] = validate.run(dest, validate.Options(options.components))
    assert signal(reports["least"]) > signal(reports["most"]) + 3.0
    assert signal(reports["least"]) < 80.0  # not the network that it was


def test_pruned_float16_is_what_is_quantized_and_pruned_again(
    package25_dir: Path, golden_calibration: Path, tmp_path: Path
) -> None:
    options = Options(ffn_width=0.75, scope="global", components=("decoder",), importance="magnitude")
    once = prune.run(package25_dir, tmp_path / "once", options)
    twice = prune.run(once, tmp_path / "twice", options)
    small = quantize.run(twice, tmp_path / "int8", quantize.Options(components=("decoder",)))
    sizes = [bin_bytes(place, package.load(place).packed("decoder")) for place in (package25_dir, once, twice, small)]
    assert sizes == sorted(sizes, reverse=True)
    assert package.load(small).packed("decoder").component.pruned
    assert len(package.load(twice).lineage["pruned"]) == 2  # type: ignore[arg-type]
    report = validate.run(small, validate.Options(components=("decoder",)))
    assert next(row for row in report.rows if "stateful = with_past" in row.case).passed
    found = prune.requires(small, options)
    assert len(found) == 1 and "decoder has int8 weights; prune the fp32 or fp16 package" in found[0]


@pytest.mark.slow
def test_heads_go_out_of_weights_caches_and_golden_caches(
    package_dir: Path, golden_calibration: Path, tmp_path: Path
) -> None:
    options = Options(heads=0.75, components=CHOSEN, dataset=golden_calibration)
    assert prune.requires(package_dir, options) == []
    dest = prune.run(package_dir, tmp_path / "heads", options)
    before, after = package.load(package_dir), package.load(dest)
    for name in CHOSEN:
        assert bin_bytes(dest, after.packed(name)) < bin_bytes(package_dir, before.packed(name)), name
    was, now = (manifest.packed("decoder").component.cache for manifest in (before, after))
    assert was is not None and now == replace(was, heads=3)
    steps = after.lineage["pruned"]
    assert isinstance(steps, list)
    told = steps[0]["removed"]["decoder"]
    assert [(layer["kind"], layer["units"], layer["kept"]) for layer in told] == [("attention", 4, 3)] * was.layers
    assert len(steps[0]["removed"]["flow_estimator"]) == 5  # also the last one, which asks of the wanted frames alone
    report = validate.run(dest, validate.Options(CHOSEN))
    assert not [row.line() for row in report.rows if not np.isfinite(row.value)]  # every shape is the golden one
    assert next(row for row in report.rows if "stateful = with_past" in row.case).passed
    with pytest.raises(AssertionError):  # the twin: caches of all heads are not what comes out
        shutil.copy(package_dir / before.packed("decoder").golden, dest / after.packed("decoder").golden)
        manifest = package.load(dest)
        package.save(replace(manifest, files=package.seal(dest)), dest)
        validate_or_shape_fault(dest)


def validate_or_shape_fault(directory: Path) -> None:
    """Raise AssertionError if golden caches do not fit the graphs."""
    try:
        report = validate.run(directory, validate.Options(("decoder",)))
    except (RuntimeError, ValueError) as error:
        raise AssertionError("shapes differ") from error
    assert all(np.isfinite(row.value) for row in report.rows)


@pytest.mark.slow
def test_the_same_source_gives_the_same_bytes(package_dir: Path, pruned_dir: Path, tmp_path: Path) -> None:
    again = prune.run(package_dir, tmp_path / "again", WEIGHED)
    assert (again / package.MANIFEST).read_bytes() == (pruned_dir / package.MANIFEST).read_bytes()


def test_all_problems_at_once(package_dir: Path) -> None:
    options = Options(ffn_width=1.0, multiple=0, num_samples=0, components=("decoder", "tacotron"))
    found = "\n".join(prune.requires(package_dir, options))
    for part in (
        "--ffn-width is 1.0",
        "--multiple is 0",
        "--num-samples is 0",
        "needs --dataset",
        "no component 'tacotron'",
    ):
        assert part in found


def test_refusals_of_graphs(package_dir: Path) -> None:
    found = prune.requires(package_dir, replace(WEIGHED, components=("vocoder", "decoder"), ffn_width=0.001))
    assert any("vocoder has no feed-forward" in problem for problem in found)
    assert any("leaves none of the" in problem and "decoder: gpt.h.0.mlp.c_proj" in problem for problem in found)
    found = prune.requires(package_dir, replace(WEIGHED, components=("decoder",), ffn_width=0.001, scope="global"))
    assert len(found) == 1 and "for each feed-forward of decoder" in found[0]
    heads = Options(heads=0.1, importance="magnitude", components=("decoder", "semantic_encoder"))
    found = prune.requires(package_dir, heads)
    assert any("semantic_encoder has no attention that can be pruned" in problem for problem in found)  # masks per head
    assert any("leaves none of the 4 heads of decoder" in problem for problem in found)
    (problem,) = prune.requires(package_dir, replace(heads, heads=0.99, components=("decoder",)))
    assert "nothing would be removed" in problem


def test_datasets_that_do_not_fit(package_dir: Path, other_dir: Path, golden_calibration: Path, tmp_path: Path) -> None:
    given = Options(ffn_width=0.75, dataset=golden_calibration)
    (problem,) = prune.requires(package_dir, replace(given, components=("semantic_encoder", "decoder")))
    assert "no sample of semantic_encoder" in problem
    (problem,) = prune.requires(other_dir, given)
    assert "captured from a" in problem
    (problem,) = prune.requires(package_dir, replace(given, dataset=tmp_path))
    assert "no calibration set" in problem
    (problem,) = prune.requires(package_dir, replace(WEIGHED, dataset=golden_calibration))
    assert "no use with --importance magnitude" in problem
    assert prune.requires(package_dir, given) == []


def test_what_the_dataset_did_not_hear_stays(package_dir: Path, golden_calibration: Path, tmp_path: Path) -> None:
    lone = shutil.copytree(golden_calibration, tmp_path / "lone")
    said = calibration.load(lone)
    calibration.save(replace(said, samples=said.of("speaker_conditioner")), lone)
    dest = prune.run(package_dir, tmp_path / "dest", Options(ffn_width=0.75, dataset=lone))
    assert [packed.component.name for packed in package.load(dest).components if packed.component.pruned] == [
        "speaker_conditioner"
    ]
