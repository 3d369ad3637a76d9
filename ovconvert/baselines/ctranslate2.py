"""CTranslate2: its own format and its own decoding loops; one batch at a time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.baselines.instructions import GENERATION, PREPROCESSOR, read_instructions
from ovconvert.baselines.kinds import LANGUAGE_MODEL, LISTENER, WRITER

WORDS, SHARED_WORDS = "vocabulary.json", "shared_vocabulary.json"  # of one part, and of two


def convert(source: Path, dest: Path, weights: str, kind: str) -> None:
    """Write the model in `source` in CTranslate2's format into the directory `dest`; `weights` is float32 or int8."""
    from ctranslate2.converters import TransformersConverter

    beside = [name for name in (GENERATION, PREPROCESSOR) if (source / name).is_file()]
    with tempfile.TemporaryDirectory(dir=dest.parent) as made:
        written = Path(made) / "model"
        TransformersConverter(str(source), copy_files=beside).convert(str(written), quantization=weights)
        for path in written.iterdir():
            path.rename(dest / path.name)


class Generator:
    """Its generator, which continues a prompt."""

    def __init__(self, directory: Path, weights: str, threads: int) -> None:
        import ctranslate2

        self._generator: Any = ctranslate2.Generator(str(directory), **_given(weights, threads))
        self.settings = _settings(self._generator, weights)

    def generate(self, source: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids after the prompt `source`."""
        (found,) = self._generator.generate_batch(
            [[f"t{token}" for token in source]],
            beam_size=beams,
            sampling_topk=1,
            min_length=tokens,
            max_length=tokens,
            include_prompt_in_result=False,
        )
        return [int(token) for token in found.sequences_ids[0]]


class Listener:
    """Its model that listens. It takes spectra, which the front end of `transformers` makes, as its documentation shows."""

    def __init__(self, directory: Path, weights: str, threads: int) -> None:
        import ctranslate2
        from transformers import AutoFeatureExtractor

        self._told = read_instructions(directory, len(_words(directory / WORDS)))
        self._front_end: Any = AutoFeatureExtractor.from_pretrained(directory, local_files_only=True)
        self._spectrum: Any = ctranslate2.StorageView.from_array
        self._model: Any = ctranslate2.models.Whisper(str(directory), **_given(weights, threads))
        self.settings = f"{_settings(self._model, weights)}, front end of transformers"

    def generate(self, source: np.ndarray, tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids of the window `source` (count,)."""
        rate = self._front_end.sampling_rate
        features = self._front_end(source, sampling_rate=rate, return_tensors="np").input_features
        prompt = list(self._told.prompt)
        (found,) = self._model.generate(
            self._spectrum(np.ascontiguousarray(features, np.float32)),
            [prompt],
            beam_size=beams,
            sampling_topk=1,
            # it makes half of this, and no more than is left behind the prompt, whose last id counts as made
            max_length=max(2 * tokens, tokens + len(prompt) - 1),
            suppress_tokens=list(self._told.suppressed),
            suppress_blank=True,
        )
        return [int(token) for token in found.sequences_ids[0]]


class Writer:
    """Its translator, which answers a source. It takes and gives words, which stand for ids in its vocabulary.

    In version 4.8.5 with transformers 5.5.4 its converter takes every head for one that is tied to the embeddings and scales
    the logits: the likeliest id stays the same, the ranks of beams may not. The work is the same.
    """

    def __init__(self, directory: Path, weights: str, threads: int) -> None:
        import ctranslate2

        self._model: Any = ctranslate2.Translator(str(directory), **_given(weights, threads))
        self._words = _words(directory / SHARED_WORDS)
        self._ids = {word: number for number, word in enumerate(self._words)}
        self.settings = _settings(self._model, weights)

    def generate(self, source: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids after the ids of `source`."""
        (found,) = self._model.translate_batch(
            [[self._words[token] for token in source]],
            beam_size=beams,
            sampling_topk=1,
            min_decoding_length=tokens,
            max_decoding_length=tokens,
            max_input_length=0,
        )
        return [self._ids[word] for word in found.hypotheses[0]]


MODELS = {LANGUAGE_MODEL: Generator, LISTENER: Listener, WRITER: Writer}


def _given(weights: str, threads: int) -> dict[str, Any]:
    return {"device": "cpu", "compute_type": weights, "inter_threads": 1, "intra_threads": threads}


def _words(path: Path) -> list[str]:
    """Return the words of the ids, in their order."""
    found: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _settings(model: Any, weights: str) -> str:
    """Return what a report says of a model: the version, and the precision that it has chosen."""
    import ctranslate2

    return f"CTranslate2 {ctranslate2.__version__}, weights {weights}, computes in {model.compute_type}"
