"""OpenVINO GenAI: its pipeline for language models, as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.baselines.optimum_intel import convert, pinned

__all__ = ["convert", "open_model"]

NEVER = 10**9  # the pipeline insists on an id that ends a text, and its beams stop there whatever it is told: an id of none


def open_model(directory: Path, weights: str, threads: int) -> Genai:
    """Open an IR that optimum-intel made; GenAI has no exporter of its own."""
    return Genai(directory, weights, threads)


class Genai:
    """The pipeline with its own defaults, its paged cache included. It is given ids, so that no tokenizer takes part."""

    def __init__(self, directory: Path, weights: str, threads: int) -> None:
        import openvino_genai

        version = openvino_genai.__version__
        self.settings = f"OpenVINO GenAI {version}, weights {weights}, {pinned(directory)}, else its defaults"
        self._pipeline: Any = openvino_genai.LLMPipeline(str(directory), "CPU", INFERENCE_NUM_THREADS=threads)

    def generate(self, prompt: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids after `prompt`."""
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
        found = self._pipeline.generate(ov.Tensor(np.array([prompt], np.int64)), config)
        return [int(token) for token in found.tokens[0]]
