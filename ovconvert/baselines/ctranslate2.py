"""CTranslate2: its own format and its own decoding loop."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def convert(source: Path, dest: Path, weights: str) -> None:
    """Write the GPT-2 in `source` in CTranslate2's format into the directory `dest`; `weights` is float32 or int8."""
    from ctranslate2.converters import TransformersConverter

    with tempfile.TemporaryDirectory(dir=dest.parent) as made:
        written = Path(made) / "model"
        TransformersConverter(str(source)).convert(str(written), quantization=weights)
        for path in written.iterdir():
            path.rename(dest / path.name)


def open_model(directory: Path, weights: str, threads: int) -> Generator:
    """Open what `convert` wrote."""
    return Generator(directory, weights, threads)


class Generator:
    """CTranslate2's generator; one batch at a time."""

    def __init__(self, directory: Path, weights: str, threads: int) -> None:
        import ctranslate2

        self._generator: Any = ctranslate2.Generator(
            str(directory), device="cpu", compute_type=weights, inter_threads=1, intra_threads=threads
        )
        self.settings = (
            f"CTranslate2 {ctranslate2.__version__}, weights {weights}, computes in {self._generator.compute_type}"
        )

    def generate(self, prompt: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids after `prompt`."""
        (found,) = self._generator.generate_batch(
            [[f"t{token}" for token in prompt]],
            beam_size=beams,
            sampling_topk=1,
            min_length=tokens,
            max_length=tokens,
            include_prompt_in_result=False,
        )
        return [int(token) for token in found.sequences_ids[0]]
