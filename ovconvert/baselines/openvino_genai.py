"""OpenVINO GenAI: its pipelines for what continues a prompt and for what listens, as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.baselines.instructions import CONFIG, TASK, read_instructions, read_object
from ovconvert.baselines.kinds import LANGUAGE_MODEL, LISTENER
from ovconvert.baselines.optimum_intel import convert, pinned

__all__ = ["MODELS", "convert"]  # it has no exporter of its own: it opens what optimum-intel made

NEVER = 10**9  # the pipeline insists on an id that ends a text, and its beams stop there whatever it is told: an id of none
UNTOLD = -1  # stands for an id that the pipeline gives as text alone


class LanguageModel:
    """The pipeline with its own defaults, its paged cache included. It is given ids, so that no tokenizer takes part."""

    def __init__(self, directory: Path, weights: str, threads: int) -> None:
        import openvino_genai

        self.settings = _settings(directory, weights, LANGUAGE_MODEL)
        self._pipeline: Any = openvino_genai.LLMPipeline(str(directory), "CPU", INFERENCE_NUM_THREADS=threads)

    def generate(self, source: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids after the prompt `source`."""
        import openvino as ov
        import openvino_genai

        config = openvino_genai.GenerationConfig(
            max_new_tokens=tokens,
            num_beams=beams,
            num_return_sequences=1,
            do_sample=False,
            ignore_eos=True,
            eos_token_id=NEVER,
            stop_token_ids={NEVER},
        )
        found = self._pipeline.generate(ov.Tensor(np.array([source], np.int64)), config)
        return [int(token) for token in found.tokens[0]]


class Listener:
    """The pipeline for sound, which takes samples and gives text: how many ids it made is in its own counts."""

    def __init__(self, directory: Path, weights: str, threads: int) -> None:
        from openvino_genai import WhisperPipeline as Pipeline

        self.settings = _settings(directory, weights, LISTENER)
        self._pipeline: Any = Pipeline(str(directory), "CPU", INFERENCE_NUM_THREADS=threads)
        self._told = read_instructions(directory, read_object(directory / CONFIG)["vocab_size"])

    def generate(self, source: np.ndarray, tokens: int, beams: int) -> list[int]:
        """Return `UNTOLD` for each of the ids of the window `source` (count,)."""
        config = self._pipeline.get_generation_config()
        config.max_new_tokens = tokens
        config.num_beams = beams
        config.do_sample = False
        config.return_timestamps = False
        config.suppress_tokens = list(self._told.suppressed)
        if self._told.language:
            config.language, config.task = self._told.language, TASK
        found = self._pipeline.generate(source.tolist(), config)
        counted = found.perf_metrics.get_num_generated_tokens()
        return [UNTOLD] * (1 + (counted - 1) // beams)  # it counts the rows of every step, and the first step has one


MODELS = {LANGUAGE_MODEL: LanguageModel, LISTENER: Listener}


def _settings(directory: Path, weights: str, kind: str) -> str:
    import openvino_genai

    version = openvino_genai.__version__
    return f"OpenVINO GenAI {version}, weights {weights}, {pinned(directory, kind)}, else its defaults"
