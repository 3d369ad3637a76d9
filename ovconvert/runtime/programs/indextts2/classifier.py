"""Emotion from text: a small language model answers with scores, which are read leniently (spec section 9.1)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.runtime.cache import open_step
from ovconvert.runtime.decode import Sampling, generate
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.tokenizers import HFTokenizer

COMPONENT = "emotion_classifier"
LABELS = ("高兴", "愤怒", "悲伤", "恐惧", "反感", "低落", "惊讶", "自然")  # happy ... calm, in the order of the vector
NAMED_BY = ("emotion", "emotion_label", "label", "情感", "情绪")
SAD, MELANCHOLIC, CALM = 2, 5, 7
# The model never answers 低落 by itself: for texts with one of these words sad and melancholic trade places.
MELANCHOLY_WORDS = ("低落", "melancholy", "melancholic", "depression", "depressed", "gloomy")
HIGHEST_SCORE = 1.2
MAX_NEW_TOKENS = 256  # eight scores need about a hundred; the original allows 32768, which no answer reaches
PAIR = re.compile(r"([^\s\"'{}:：,，]+)[\"']?\s*[:：]\s*(-?\d+(?:\.\d+)?)")


class EmotionClassifier:
    """Reads eight emotion scores off a text."""

    def __init__(self, engine: Engine, settings: Mapping[str, Any], assets: Path) -> None:
        self._step = open_step(engine, COMPONENT)
        self._tokenizer = HFTokenizer(assets / settings["tokenizer"])
        self._settings = settings

    def scores(self, text: str, rng: np.random.Generator) -> tuple[float, ...]:
        """Return eight scores of `text` in the order of the emotion vector, each from 0 to 1.2."""
        return read_scores(self.answer(text, rng), text)

    def answer(self, text: str, rng: np.random.Generator) -> str:
        """Return what the model says of `text`, without its thoughts."""
        settings = self._settings
        ids = self._tokenizer.encode(settings["before"] + text + settings["after"])
        stops = set(settings["stop_tokens"])
        sampling = Sampling(
            do_sample=settings["do_sample"],
            num_beams=1,
            top_p=settings["top_p"],
            top_k=settings["top_k"],
            temperature=settings["temperature"],
            repetition_penalty=1.0,
            max_new_tokens=MAX_NEW_TOKENS,
        )
        generation = generate(
            _Ids(self._step),
            np.array([ids], np.int64)[:, :, None],
            lambda codes, position: np.asarray(codes, np.int64)[:, :, None],
            sampling,
            eos_token_id=settings["stop_tokens"][0],
            history=(),
            rng=rng,
        )
        codes = [int(code) for code in generation.codes]
        ends = [index for index, code in enumerate(codes) if code in stops]
        answer = self._tokenizer.decode(codes[: ends[0]] if ends else codes)
        return answer.rsplit(settings["end_of_thought"], 1)[-1].strip()


class _Ids:
    """A step over token ids in the shape that the decoding loop moves: (batch, positions, 1) in place of embeddings."""

    def __init__(self, step: Any) -> None:
        self._step = step
        self._length = 0

    def reset(self) -> None:
        """Forget the sequence."""
        self._step.reset()
        self._length = 0

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (logits, a stand-in for hidden states)."""
        ids = inputs_embeds[:, :, 0].astype(np.int64)
        positions = np.arange(self._length, self._length + ids.shape[1], dtype=np.int64)
        self._length += ids.shape[1]
        result = self._step(beam_idx, input_ids=ids, position_ids=np.tile(positions, (len(ids), 1)))
        return result["logits"], np.zeros((*ids.shape, 1), np.float32)


def read_scores(answer: str, text: str) -> tuple[float, ...]:
    """Return the eight scores in the model's `answer` about `text`: JSON, or pairs of label and number anywhere."""
    try:
        content = json.loads(answer)
    except ValueError:
        content = dict(PAIR.findall(answer)) or answer
    scores = [0.0] * len(LABELS)
    for label, score in _pairs(content):
        scores[LABELS.index(label)] = min(max(score, 0.0), HIGHEST_SCORE)
    if any(word in text.lower() for word in MELANCHOLY_WORDS):
        scores[SAD], scores[MELANCHOLIC] = scores[MELANCHOLIC], scores[SAD]
    if max(scores) <= 0.0:
        scores[CALM] = 1.0
    return tuple(scores)


def _pairs(content: Any) -> list[tuple[str, float]]:
    """Return (label, score) of an answer; a label that stands alone, or as a value, counts as 1."""
    if isinstance(content, str):
        return [(content.strip(), 1.0)] if content.strip() in LABELS else []
    if not isinstance(content, Mapping):
        return []
    pairs = []
    for key, value in content.items():
        if isinstance(value, str) and value in LABELS and (key in NAMED_BY or key not in LABELS):
            pairs.append((value, 1.0))
        elif key in LABELS:
            try:
                score = float(value)
            except (TypeError, ValueError):
                continue
            if math.isfinite(score):  # JSON as Python reads it has NaN
                pairs.append((key, score))
    return pairs
