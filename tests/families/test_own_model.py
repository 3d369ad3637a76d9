"""A user's own model: the documented script through export, validate, quantize, and the documented loop."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from ovconvert import package
from ovconvert.baselines.pytorch import TorchEngine
from ovconvert.cli import cli
from ovconvert.errors import UsageError
from ovconvert.judges import benchmark, validate
from ovconvert.runtime.cache import open_step
from ovconvert.runtime.engine import Engine
from ovconvert.stages import export, quantize

PLACE = Path(__file__).parents[2] / "recipes" / "own-model"
SCRIPT = f"{PLACE / 'my_model.py'}:SPEC"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PLACE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("own") / "package"
    return export.run(None, dest, export.Options(model_script=SCRIPT, weight_format="fp32"))


def in_torch(model: ModuleType, features: np.ndarray, words: int) -> list[int]:
    """Return what the networks of the script say by themselves."""
    import torch

    encoder, step = model.SPEC.networks["encoder"], model.SPEC.networks["decoder"]
    drawn: list[int] = []
    with torch.inference_mode():
        states = encoder(torch.from_numpy(features))
        key = value = torch.zeros(1, model.HEADS, 0, model.WIDTH // model.HEADS)
        for _ in range(words):
            logits, key, value, *_ = step(torch.tensor([[drawn[-1] if drawn else 1]]), states, key, value)
            drawn.append(int(logits[0, -1].argmax()))
    return drawn[: drawn.index(0)] if 0 in drawn else drawn


def test_the_package_says_what_the_script_says(own: Path) -> None:
    features = np.random.default_rng(1).standard_normal((1, 30, 20), dtype=np.float32)
    said = load("greedy").say(own, features)
    assert said == in_torch(load("my_model"), features, 20) and len(set(said)) > 5
    assert said != load("greedy").say(own, 3 * features)


def test_it_is_judged_and_made_smaller_like_any_other(own: Path, tmp_path: Path) -> None:
    report = validate.run(own, validate.Options())
    assert report.failed == () and {row.subject for row in report.rows} >= {"encoder (plain)", "decoder (with_past)"}
    small = quantize.run(own, tmp_path / "int8", quantize.Options())
    assert validate.run(small, validate.Options()).failed == ()
    assert package.load(small).packed("decoder").weight_format == "int8"
    assert set(package.load(own).lineage["source"]) == {"my_model.py"}  # type: ignore[call-overload]


def test_its_networks_are_a_baseline(own: Path, tmp_path: Path) -> None:
    features = np.random.default_rng(1).standard_normal((1, 30, 20), dtype=np.float32)
    ours, theirs = Engine(own), TorchEngine(None, own, script=SCRIPT, as_published=True)
    assert theirs.original is None and "cross attentions are made in every step" in theirs.remark
    states = [engine.run("encoder", features=features)["states"] for engine in (ours, theirs)]
    np.testing.assert_allclose(*states, atol=1e-4)
    steps = [open_step(engine, "decoder") for engine in (ours, theirs)]
    for words in ([[1]], [[5]], [[7]]):
        logits = [step(input_ids=np.array(words), states=states[0])["logits"] for step in steps]
        np.testing.assert_allclose(*logits, atol=1e-3)
    other = tmp_path / "my_model.py"
    other.write_text((PLACE / "my_model.py").read_text().replace("layers=1", "layers=2"))
    with pytest.raises(UsageError, match="decoder: other ports or another cache"):
        TorchEngine(None, own, script=f"{other}:SPEC")


@pytest.mark.slow
def test_its_components_are_measured(own: Path) -> None:
    options = benchmark.Options(rounds=1, loads=1, threads=(1,), baseline=("pytorch",), model_script=SCRIPT)
    assert benchmark.requires(own, options) == []
    report = benchmark.run(own, options)
    found = {(row.subject, row.metric) for row in report.rows}
    for component in ("encoder", "decoder"):
        for label in ("", " (pytorch)"):
            assert (f"{component} alone{label}", "one call") in found
            assert (f"{component}{label}", "first inference") in found
        assert (f"{component} alone", "one call: times better than pytorch") in found
        assert (f"{component} alone", "part of the limit reached") in found
    assert not any(subject.startswith("end to end") for subject, _ in found)


@pytest.mark.parametrize("verb", [["speak", "PACKAGE", "Hello."], ["calibrate", "PACKAGE", "calibration"]])
def test_no_program_of_ours_runs_it_and_that_is_told(own: Path, verb: list[str]) -> None:
    result = CliRunner().invoke(cli, [str(own) if word == "PACKAGE" else word for word in verb])
    assert (result.exit_code, "no program for packages of the family 'my_model'" in result.output) == (2, True)


def test_the_command_line_takes_a_script_in_place_of_a_checkpoint(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["export", "--model-script", f"{tmp_path}/none.py:SPEC", str(tmp_path / "package")])
    assert (result.exit_code, "no such file" in result.output) == (2, True)
    assert CliRunner().invoke(cli, ["export", str(tmp_path / "package")]).exit_code == 2
