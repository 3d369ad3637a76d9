"""PyTorch and ONNX Runtime in place of OpenVINO: the same outputs, the same step, the same tokens, and twins that differ."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ovconvert import families, golden, package
from ovconvert.baselines import onnxruntime as baseline
from ovconvert.baselines.onnxruntime import OnnxEngine
from ovconvert.baselines.pytorch import TorchEngine
from ovconvert.errors import EnvironmentFault, IntegrityError, UsageError
from ovconvert.judges.validate import snr_db
from ovconvert.runtime.cache import open_step
from ovconvert.runtime.engine import Engine
from ovconvert.spec import Component
from ovconvert.stages import export

FLOOR_DB = 80.0  # of float32 against PyTorch, as the family asks of its graphs
INT8_DB = 15.0  # matrices of 7 bits, inputs of 8: far from float32 and from noise
COMPONENTS = ("speaker_conditioner", "decoder", "length_regulator")  # the vocoder takes a minute to export
ORDERS = ([0, 0, 0], [0, 1, 2], [2, 0, 0], [1, 1, 2], [0, 2, 1], [2, 2, 2])


@pytest.fixture(scope="module")
def kept(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 package of a few components, with its ONNX files."""
    dest = tmp_path_factory.mktemp("kept")
    opened = families.open_checkpoint(checkpoint)
    options = export.Options(weight_format="fp32", keep_onnx=True)
    chosen = [component for component in opened.family.components if component.name in COMPONENTS]
    entries = tuple(export.export_component(opened, component, dest, options)[0] for component in chosen)
    family = opened.family
    files = package.seal(dest)
    package.save(package.Manifest(family.name, family.variant, family.sample_rate, family.dims, entries, files, {}), dest)
    return dest


@pytest.fixture(scope="module", params=["torch", "published", "onnx"])
def engine(request: pytest.FixtureRequest, checkpoint: Path, kept: Path) -> Any:
    engines: dict[str, Callable[[], Any]] = {
        "torch": lambda: TorchEngine(checkpoint, kept, threads=1),
        "published": lambda: TorchEngine(checkpoint, kept, threads=1, as_published=True),
        "onnx": lambda: OnnxEngine(kept, threads=1),
    }
    return engines[request.param]()


def outputs(engine: Any, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    found = engine.run(name, **inputs)
    return np.concatenate([value.ravel() for value in found.values()])


def prompt(component: Component) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((1, 9, component.inputs[0].shape[2])).astype(np.float32)


def trace(engine: Any, form: str) -> tuple[np.ndarray, list[int]]:
    """Return all logits and the tokens of a prompt and of three beams that change places, twice over."""
    component = engine.manifest.packed("decoder").component
    step = open_step(engine, "decoder", form)
    rng = np.random.default_rng(4)
    logits = []
    for _ in range(2):  # the second time shows whether the step forgets
        step.reset()
        logits.append(step(inputs_embeds=prompt(component))["logits"])
        for order in ORDERS:
            embeds = rng.standard_normal((len(order), 1, component.inputs[0].shape[2])).astype(np.float32)
            logits.append(step(np.array(order), inputs_embeds=embeds)["logits"])
    whole = np.concatenate(logits)
    return whole, whole.argmax(1).tolist()


@pytest.mark.parametrize("name", [name for name in COMPONENTS if name != "decoder"])
def test_a_component_gives_what_its_golden_tensors_hold(engine: Any, kept: Path, name: str) -> None:
    cases = golden.Cases.load(kept / engine.manifest.packed(name).golden)
    for case in cases.names():
        expected = np.concatenate([value.ravel() for value in cases.outputs(case).values()])
        assert snr_db(expected, outputs(engine, name, cases.inputs(case))) >= FLOOR_DB
    assert engine.seconds[name] > 0.0
    assert engine.compile_seconds[name] > 0.0


@pytest.mark.parametrize("form", ["stateful", "with_past"])
def test_a_step_gives_openvinos_tokens_while_beams_change_places(engine: Any, kept: Path, form: str) -> None:
    expected, tokens = trace(Engine(kept, threads=1), "stateful")
    before = engine.seconds["decoder"]
    found, chosen = trace(engine, form)
    assert snr_db(expected, found) >= FLOOR_DB
    assert chosen == tokens
    assert engine.seconds["decoder"] > before


def test_a_changed_weight_is_noticed(checkpoint: Path, kept: Path) -> None:
    expected, _ = trace(Engine(kept, threads=1), "stateful")
    engine = TorchEngine(checkpoint, kept, threads=1)
    with torch.no_grad():
        engine.network("decoder").gpt.h[0].attn.c_attn.weight[0, :8] += 0.05
    assert snr_db(expected, trace(engine, "stateful")[0]) < FLOOR_DB


def test_beams_that_stay_in_their_places_are_noticed(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = trace(Engine(kept, threads=1), "stateful")
    gather = baseline._gather

    def wrong(cache: Any) -> Any:
        model = gather(cache)
        for node in model.graph.node[:1]:  # one key alone keeps its rows in the order 0, 0, 0
            node.input[1] = "still"
        model.graph.initializer.add(name="still", dims=[3], data_type=7, int64_data=[0, 0, 0])
        return model

    monkeypatch.setattr(baseline, "_gather", wrong)
    assert snr_db(expected, trace(OnnxEngine(kept, threads=1), "stateful")[0]) < FLOOR_DB


def test_int8_is_near_and_not_equal_and_leaves_nothing_behind(kept: Path) -> None:
    files = sorted(kept.rglob("*"))
    expected, _ = trace(OnnxEngine(kept, threads=1), "stateful")
    found, _ = trace(OnnxEngine(kept, threads=1, int8=True), "stateful")
    assert INT8_DB <= snr_db(expected, found) < FLOOR_DB
    assert sorted(kept.rglob("*")) == files


def test_the_published_loop_reads_the_prompt_once_per_beam(
    checkpoint: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for as_published, rows in ((False, [1]), (True, [1, 2])):
        engine = TorchEngine(checkpoint, kept, threads=1, as_published=as_published)
        read: list[int] = []
        call = engine.call

        def watched(component: Component, inputs: Any, past: Any, call: Any = call, read: list[int] = read) -> Any:
            if not past:  # the engine gives networks that insist on one an empty cache
                read.append(len(inputs["inputs_embeds"]))
            return call(component, inputs, past)

        monkeypatch.setattr(engine, "call", watched)
        step = open_step(engine, "decoder", "stateful")
        step.reset()
        width = engine.manifest.packed("decoder").component.inputs[0].shape[2]
        step(inputs_embeds=prompt(engine.manifest.packed("decoder").component))
        for order in ([0, 0, 0], [1, 0, 2]):
            step(np.array(order), inputs_embeds=np.ones((3, 1, width), np.float32))
        assert read == rows


def test_the_original_is_told_with_the_engine(checkpoint: Path, kept: Path) -> None:
    found = TorchEngine(checkpoint, kept).original
    assert found.added({"speaker_conditioner": 1.0, "emotion_conditioner": 1.0}, {"segment": 2}) == {
        "emotion_conditioner": 4.0,
        "speaker_conditioner": 2.0,
    }


def test_the_published_code_keeps_what_it_has_loaded(checkpoint: Path, kept: Path) -> None:
    for as_published in (False, True):
        engine = TorchEngine(checkpoint, kept, as_published=as_published)
        loaded = engine.network("length_regulator")
        engine.release("length_regulator")
        assert (engine.network("length_regulator") is loaded) == as_published


def test_another_checkpoint_is_refused(checkpoint25: Path, kept: Path) -> None:
    with pytest.raises(UsageError, match="speaker_conditioner: not in the checkpoint"):
        TorchEngine(checkpoint25, kept)


def test_a_package_without_onnx_is_refused(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "bare", ignore=shutil.ignore_patterns("onnx"))
    with pytest.raises(UsageError, match="keeps no ONNX files; make it anew by 'ovconvert export --keep-onnx'"):
        OnnxEngine(tmp_path / "bare")


def test_without_onnx_runtime_the_error_says_what_to_install(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="onnxruntime is not installed; install it with"):
        OnnxEngine(kept)


def test_a_changed_onnx_file_is_refused(kept: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(kept, tmp_path / "copy")
    with (copy / "onnx/length_regulator_model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(IntegrityError, match="is missing or changed since the package was made"):
        OnnxEngine(copy).session("length_regulator")


@pytest.mark.parametrize("made", ["torch", "onnx"])
def test_a_form_that_there_is_not_is_refused(checkpoint: Path, kept: Path, made: str) -> None:
    engine: Any = TorchEngine(checkpoint, kept) if made == "torch" else OnnxEngine(kept)
    with pytest.raises(UsageError, match="component 'length_regulator' has no form 'stateful'; have: plain"):
        engine.compiled("length_regulator", "stateful")
