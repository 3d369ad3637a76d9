"""The runner on IRs, against what the original did: tokens, latents and mel, through export and both forms of the cache.

The golden weights are exported like any checkpoint; what is compared comes out of the production loops.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "networks"))
import seeded

from ovconvert import package
from ovconvert.families.indextts2 import parts
from ovconvert.package import Manifest
from ovconvert.runtime.cache import open_step
from ovconvert.runtime.decode import Generation
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.indextts2 import synthesis
from ovconvert.runtime.programs.indextts2.synthesis import Synthesis
from ovconvert.runtime.programs.indextts2.texts import Segment
from ovconvert.runtime.programs.indextts2.voices import Voice
from ovconvert.runtime.request import Resolved
from ovconvert.spec import Component, Family
from ovconvert.stages import export

TOKENS = 24


class GoldenCheckpoint:
    """The original's tiny weights in place of a checkpoint directory."""

    files = ()
    unused = ()

    def __init__(self, gpt: seeded.Golden, s2mel: seeded.Golden, prefix: parts.Part) -> None:
        cfm = s2mel.below("models.cfm.")
        self._modules = {}
        components = []
        for part, state in (
            (prefix, gpt.state),
            (parts.SPEECH_EMBEDDINGS, gpt.state),
            (parts.DECODER, gpt.state),
            (parts.FLOW_ESTIMATOR, cfm),
        ):
            contents = type("Contents", (), {"config": {"gpt": gpt.config, "s2mel": s2mel.config}})
            config = part.configure(seeded.shapes(state), contents)
            self._modules[part.name] = (part, config, state)
            inputs, outputs = part.ports(config)
            components.append(Component(part.name, part.role, inputs, outputs, part.cache(config)))
        self.family = Family("indextts2", "golden", 22050, parts.DIMS, tuple(components))

    def build(self, component: str) -> Any:
        part, config, state = self._modules[component]
        return seeded.build(part.network, config, state)

    def example(self, component: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        part, config, _ = self._modules[component]
        given = part.example(config, sizes, rng)
        return {
            port.name: given.get(
                port.name,
                rng.standard_normal(port.sized(sizes), dtype=np.float32)
                if port.dtype == "float32"
                else np.ones(port.sized(sizes), port.dtype),
            )
            for port in part.ports(config)[0]
        }


def make(directory: Path, version: str, prefix: parts.Part) -> tuple[Engine, seeded.Golden, seeded.Golden]:
    gpt, s2mel = seeded.load(version, "gpt"), seeded.load("2", "s2mel")
    checkpoint = GoldenCheckpoint(gpt, s2mel, prefix)
    options = export.Options(weight_format="fp32")
    entries = [
        export.export_component(checkpoint, component, directory, options)[0] for component in checkpoint.family.components
    ]
    manifest = Manifest("indextts2", "golden", 22050, parts.DIMS, tuple(entries), package.seal(directory), {})
    package.save(manifest, directory)
    return Engine(directory), gpt, s2mel


@pytest.fixture(scope="module", params=["2", "25"])
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    prefix = {"2": parts.TEXT_EMBEDDINGS, "25": parts.STYLE_TEXT_EMBEDDINGS}[request.param]
    return request.param, *make(tmp_path_factory.mktemp(f"golden{request.param}"), request.param, prefix)


@pytest.fixture(params=["stateful", "with_past"])
def runner(request: pytest.FixtureRequest, golden: tuple) -> tuple[Synthesis, np.ndarray, dict[str, np.ndarray]]:
    """A synthesis on one form of the decoder, the prefix of the golden text, and the golden vectors."""
    _, engine, gpt, _ = golden
    vectors = {name: value.numpy() for name, value in gpt.vectors.items()}
    settings = {
        "start_speech": gpt.config["start_mel_token"],
        "stop_speech": gpt.config["stop_mel_token"],
        "speech_positions": gpt.config["max_mel_tokens"] + 3,
    }
    made = Synthesis(engine, settings)
    made._step = open_step(engine, "decoder", request.param)
    none = np.zeros((1, 1, 1), np.float32)
    voice = Voice(none, none, vectors.get("campplus_style", none), vectors.get("conditioning"))
    segment = Segment("", tuple(vectors["text"][0]), int(vectors.get("langs", [0])[0]))
    return made, made._prefix(segment, voice, vectors["emovec_alpha06"]), vectors


def drawn(runner: tuple, **choice: Any) -> Generation:
    made, prefix, _ = runner
    request = Resolved(do_sample=False, max_new_tokens=TOKENS, temperature=1.0, top_k=0, top_p=1.0, **choice)
    generation = made._decode(prefix, request, np.random.default_rng(0), lambda *_: None)
    assert not generation.finished
    return generation


def decode(runner: tuple, **choice: Any) -> np.ndarray:
    return drawn(runner, **choice).codes


def test_greedy_tokens(runner: tuple) -> None:
    codes = decode(runner, num_beams=1, repetition_penalty=1.0)
    assert codes.tolist() == runner[2]["greedy_codes"][0].tolist()


@pytest.mark.parametrize("golden", ["2"], indirect=True)  # recorded for version 2.0 only
def test_greedy_tokens_with_repetition_penalty(runner: tuple) -> None:
    codes = decode(runner, num_beams=1, repetition_penalty=10.0)
    assert codes.tolist() == runner[2]["greedy_rp10_codes"][0].tolist()


def test_beam_tokens(runner: tuple) -> None:
    codes = decode(runner, num_beams=3, repetition_penalty=10.0, length_penalty=0.0)
    assert codes.tolist() == runner[2]["beam3_rp10_codes"][0].tolist()


def test_tokens_notice_the_position_convention(runner: tuple) -> None:
    codes = decode(runner, num_beams=3, repetition_penalty=10.0, positions="contiguous")
    assert codes.tolist() != runner[2]["beam3_rp10_codes"][0].tolist()


@pytest.mark.parametrize("golden", ["2"], indirect=True)  # version 2.5 has no second pass
def test_latents_of_the_second_pass(runner: tuple) -> None:
    made, prefix, vectors = runner
    found = made._latents(prefix, vectors["latent_codes"][0])
    expected = vectors["latent"]
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) <= seeded.ONE_CALL
    other = made._latents(prefix, vectors["greedy_codes"][0])
    assert np.linalg.norm(other - expected) / np.linalg.norm(expected) > seeded.ONE_CALL


@pytest.mark.parametrize("num_beams", [1, 3])
def test_latents_of_the_steps_are_those_of_the_second_pass(runner: tuple, num_beams: int) -> None:
    # followed along the winner's ancestry; equal where decoding and second pass count positions alike
    made, prefix, _ = runner

    def difference(positions: str) -> float:
        found = drawn(runner, num_beams=num_beams, repetition_penalty=10.0, latents="step", positions=positions)
        again = made._latents(prefix, found.codes)[0]
        return float(np.linalg.norm(found.hidden - again) / np.linalg.norm(again))

    assert difference("contiguous") <= seeded.ONE_CALL
    assert difference("original") > seeded.ONE_CALL
    assert drawn(runner, num_beams=num_beams).hidden is None  # the second pass, unless asked otherwise


@pytest.mark.parametrize(("name", "steps", "guidance"), [("mel_n4_cfg0.7", 4, 0.7), ("mel_n3_cfg0.0", 3, 0.0)])
def test_mel_of_a_whole_solve(
    golden: tuple, monkeypatch: pytest.MonkeyPatch, name: str, steps: int, guidance: float
) -> None:
    _, engine, _, s2mel = golden
    vectors = {key: value.numpy() for key, value in s2mel.vectors.items()}
    heard = vectors["prompt"].shape[2]
    mu, style = vectors["est_mu"][:1], vectors["est_style"][:1]
    voice = Voice(mu[:, :heard], vectors["prompt"], style, None)
    monkeypatch.setattr(synthesis, "initial_noise", lambda *_: vectors["z"][:, :, heard:].copy())
    made = Synthesis(engine, {"mel": {"sample_rate": 22050, "hop_length": 256}})

    def error(guidance: float) -> float:
        request = Resolved(steps=steps, guidance=guidance)
        mel = made._solve(mu[:, heard:], voice, request, np.random.default_rng(0), lambda *_: None)
        expected = vectors[name][:, :, heard:]
        return float(np.linalg.norm(mel - expected) / np.linalg.norm(expected))

    assert error(guidance) <= seeded.WHOLE_SOLVE
    assert error(guidance + 0.1) > seeded.WHOLE_SOLVE
