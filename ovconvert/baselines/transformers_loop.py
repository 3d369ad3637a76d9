"""The decoding loop of `transformers`, told to make so many ids: with its own models, or with those that others bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.baselines.instructions import TASK, read_instructions
from ovconvert.baselines.kinds import LANGUAGE_MODEL, LISTENER, WRITER

Loop = Callable[[Any, int, int], list[int]]  # (ids or samples, tokens, beams) -> ids


def continues(model: Any, directory: Path) -> Loop:
    """Return the loop of a language model: ids that follow a prompt of ids."""

    def loop(prompt: Sequence[int], tokens: int, beams: int) -> list[int]:
        ids = _row(prompt)
        return _ids(_fixed(model, tokens, beams, input_ids=ids, eos_token_id=None))[len(prompt) :]

    return loop


def answers(model: Any, directory: Path) -> Loop:
    """Return the loop of a writer: ids that follow a source of ids. The start token is not given back."""

    def loop(source: Sequence[int], tokens: int, beams: int) -> list[int]:
        return _ids(_fixed(model, tokens, beams, input_ids=_row(source)))[1:]

    return loop


def hears(model: Any, directory: Path) -> Loop:
    """Return the loop of a listener, the library's front end included: ids that follow one window of samples (count,)."""
    from transformers import AutoFeatureExtractor

    front_end = AutoFeatureExtractor.from_pretrained(directory, local_files_only=True)
    told = read_instructions(directory, model.config.vocab_size)
    asked = {"language": told.language, "task": TASK} if told.language else {}

    def loop(samples: np.ndarray, tokens: int, beams: int) -> list[int]:
        features = front_end(samples, sampling_rate=front_end.sampling_rate, return_tensors="pt").input_features
        settings = {"suppress_tokens": list(told.suppressed), "return_timestamps": False, **asked}
        return _ids(model.generate(features, max_new_tokens=tokens, num_beams=beams, do_sample=False, **settings))

    return loop


LOOPS: dict[str, Callable[[Any, Path], Loop]] = {LANGUAGE_MODEL: continues, LISTENER: hears, WRITER: answers}


def _row(ids: Sequence[int]) -> Any:
    import torch

    return torch.tensor([list(ids)])


def _fixed(model: Any, tokens: int, beams: int, input_ids: Any, **settings: Any) -> Any:
    import torch

    return model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        num_beams=beams,
        do_sample=False,
        **settings,
    )


def _ids(found: Any) -> list[int]:
    return [int(token) for token in found[0]]
