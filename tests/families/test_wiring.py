"""What the runner feeds to each graph, against the arithmetic of the specification: a graph takes wrong input silently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from ovconvert.runtime import Request, features, open_package
from ovconvert.runtime.audio import resample_sinc
from ovconvert.runtime.programs.indextts2 import Program, synthesis
from ovconvert.runtime.resize import nearest_index


@pytest.fixture(scope="module")
def model(package_dir: Path) -> Program:
    return open_package(package_dir)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> tuple[Path, np.ndarray]:
    """The sample voice at 44.1 kHz, so that every resampling takes part, and its samples."""
    samples, rate = soundfile.read(checkpoint / "voices/sample.wav", dtype="float32")
    path = tmp_path_factory.mktemp("wiring") / "voice.wav"
    soundfile.write(path, soxr.resample(samples, rate, 44100), 44100, subtype="FLOAT")
    return path, soundfile.read(path, dtype="float32")[0]


def close(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and bool(np.linalg.norm(left - right) <= 1e-4 * np.linalg.norm(right))


def semantic(model: Program, samples: np.ndarray) -> np.ndarray:
    stacked, mask = features.semantic_features(samples)
    return model._engine.run("semantic_encoder", input_features=stacked, attention_mask=mask)["features"]


def test_a_voice_is_made_as_specified(model: Program, recording: tuple[Path, np.ndarray]) -> None:
    """Sections 1, 4.1 to 4.4, 13.1."""
    path, samples = recording
    voice = model._voices.voice(path, 15.0)
    high = soxr.resample(samples, 44100, 22050, quality="HQ")
    low = resample_sinc(high, 22050, 16000)
    found = semantic(model, low)
    run = model._engine.run
    quantized = run("semantic_codec", features=found)["quantized"]
    index = nearest_index(quantized.shape[1], voice.mel.shape[2])
    assert close(voice.mel, features.log_mel(high, 22050, 1024, 1024, 256, 80))
    assert close(voice.style, run("speaker_encoder", fbank=features.speaker_fbank(low))["style"])
    assert close(voice.conditioning, run("speaker_conditioner", features=found)["conditioning"])
    assert close(voice.prompt, run("length_regulator", content=quantized, index=index)["condition"])
    # twins: what would be heard if a step were left out
    assert not close(voice.prompt, run("length_regulator", content=found, index=index)["condition"])
    assert not close(voice.conditioning, run("speaker_conditioner", features=semantic(model, high))["conditioning"])


def test_the_emotion_of_a_recording_is_decoded_straight_to_16_khz(
    model: Program, recording: tuple[Path, np.ndarray]
) -> None:
    """Section 4.1: not by way of the mel's rate, so that the bits differ even for the same recording."""
    path, samples = recording
    heard = model._voices.emotion(path, 15.0)
    straight = soxr.resample(samples, 44100, 16000, quality="HQ")
    assert close(heard, model._engine.run("emotion_conditioner", features=semantic(model, straight))["emotion"])
    by_way = resample_sinc(soxr.resample(samples, 44100, 22050, quality="HQ"), 22050, 16000)
    other = model._engine.run("emotion_conditioner", features=semantic(model, by_way))["emotion"]
    assert np.abs(heard - other).max() > 0.0
    unresampled = model._engine.run("emotion_conditioner", features=semantic(model, samples))["emotion"]
    assert not close(heard, unresampled)


def test_the_history_of_the_penalty_is_placeholders_and_the_start(
    model: Program, recording: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 11: the prefix counts as so many ids 1, then the start token."""
    seen = {}
    generate = synthesis.generate

    def spy(step: object, prefix: np.ndarray, *args: object, **settings: object) -> object:
        seen.update(settings, positions=prefix.shape[1])
        return generate(step, prefix, *args, **settings)

    monkeypatch.setattr(synthesis, "generate", spy)
    model.speak("Yes.", Request(voice=recording[0], max_new_tokens=3, steps=1, num_beams=1))
    assert seen["history"] == [1] * (seen["positions"] - 1) + [128]
    assert seen["eos_token_id"] == 129


def test_content_is_stretched_by_the_float32_rule(model: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 13.1: integer arithmetic gives other indices for about a tenth of the lengths."""
    asked = []
    run = model._engine.run

    def spy(name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        asked.append(inputs.get("index"))
        return run(name, **inputs)

    monkeypatch.setattr(model._engine, "run", spy)
    made = synthesis.Synthesis(model._engine, model._settings)
    differing = 0
    for count in range(20, 60):
        made._condition(np.zeros((1, count, 64), np.float32), count, 1.0)
        frames = int(count * 1.72)
        assert asked[-1].tolist() == nearest_index(count, frames).tolist()
        differing += asked[-1].tolist() != [index * count // frames for index in range(frames)]
    assert differing > 0
