"""OpenVINO GenAI's pipeline on the directory of a package. Wants what requirements-peers.txt installs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovconvert.families.whisper import synthetic
from ovconvert.runtime import open_listener
from ovconvert.runtime.listening import ListenRequest
from ovconvert.stages import export

genai = pytest.importorskip("openvino_genai")
pytestmark = pytest.mark.slow

SIZE = {"d_model": 32, "heads": 4, "layers": 2, "ffn": 64, "bands": 80}
LONGEST = 120  # tokens of a window; random weights seldom end one
LANGUAGE = "en"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose windows are 30 s, which the pipeline takes for granted."""
    directory = tmp_path_factory.mktemp("listener")
    checkpoint = directory / "checkpoint"
    synthetic.write(checkpoint, seed=100, words=400, chunk_seconds=30, max_target_positions=448, config=SIZE)
    path = checkpoint / "generation_config.json"
    content = json.loads(path.read_text())
    # No trained model says a language in the middle of its text, random weights do. Where such a token follows the time
    # that ends a passage, the pipeline takes the passage and leaves out what follows; the published decoder hears it again.
    content["suppress_tokens"] = list(range(content["eos_token_id"] + 1, content["no_timestamps_token_id"]))
    path.write_text(json.dumps(content))
    return export.run(checkpoint, directory / "package", export.Options(weight_format="fp32"))


def sound(seconds: float, seed: int) -> np.ndarray:
    rng, time = np.random.default_rng(seed), np.arange(int(16000 * seconds)) / 16000
    tone = np.sin(2 * np.pi * (200 + 300 * seed) * time * (1 + 0.1 * np.sin(3 * time)))
    loudness = 0.55 + 0.45 * np.sin(2 * np.pi * (0.3 + 0.1 * seed) * time)
    return (0.2 * tone * loudness + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def collector(found: list[int]) -> Any:
    class Collector(genai.StreamerBase):  # type: ignore[misc, name-defined]
        def write(self, tokens: Any) -> Any:
            found.extend(tokens if isinstance(tokens, list) else [tokens])
            return genai.StreamingStatus.RUNNING

        def end(self) -> None:
            """Nothing is left to do."""

    return Collector()


@pytest.mark.parametrize(("seconds", "seed"), [(12.0, 1), (30.0, 2), (47.0, 3), (75.0, 4)])
def test_another_pipeline_hears_the_same_in_our_directory(source: Path, seconds: float, seed: int) -> None:
    pipeline = genai.WhisperPipeline(str(source), "CPU", INFERENCE_PRECISION_HINT="f32")
    program: Any = open_listener(source)
    settings = program.settings
    samples = sound(seconds, seed)
    config = pipeline.get_generation_config()
    config.language, config.task = f"<|{LANGUAGE}|>", "transcribe"
    config.return_timestamps, config.max_new_tokens = True, LONGEST
    theirs: list[int] = []
    result = pipeline.generate(samples.tolist(), config, collector(theirs))
    asked = ListenRequest(
        language=LANGUAGE, timestamps=True, temperatures=(0.0,), logprob_threshold=-1e9, max_new_tokens=LONGEST
    )
    found = program.hear(samples, asked)
    end = settings["eos_token_id"]
    ours = [token for passage in found.passages for token in passage.tokens if token < end]
    assert ours == [token for token in theirs if token < end]
    assert len(ours) > 3
    times = [(chunk.start_ts, chunk.end_ts) for chunk in result.chunks]
    np.testing.assert_allclose([(passage.start, passage.end) for passage in found.passages], times, atol=0.011)
