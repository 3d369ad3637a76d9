"""What pocketsphinx hears, and the word errors of it against the text that was to be said.

With a language model of the domain (ARPA) it forgives a voice what its listeners would; the general model of the package
forgives nothing of the kind, and has a fifth of the words of clean synthetic speech wrong. It is for English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ovconvert.package import sha256
from ovconvert.quality.metric import FREE, RATE, Instrument, Listen, Metric, Take, of_package

WER = Metric("word error rate", "%", "lower", 100.0, 0.5, per_word=True)
PADDING = 4000  # zeros before and after: the recogniser misses words that touch the edges
PEAK = 0.7
DITHER = 1e-4  # of full scale: digital silence has no logarithm


def words_of(text: str) -> list[str]:
    """Return the words of a text, lower case, without punctuation."""
    return re.findall(r"[a-z']+", text.lower())


class Recogniser:
    """pocketsphinx, US English. What it hears in an utterance does not depend on those before it."""

    def __init__(self, language_model: Path | None = None) -> None:
        """Open the recogniser with an ARPA file, or with the package's general language model."""
        import pocketsphinx

        files = {} if language_model is None else {"lm": str(language_model)}
        # the mean is taken from the utterance itself; "live" would carry it over from the one before
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL", samprate=RATE, cmn="batch", **files)

    def hear(self, samples: np.ndarray) -> str:
        """Return the words heard in samples (count,) float at 16 kHz; nothing in silence."""
        noise = np.random.default_rng(0).standard_normal(len(samples) + 2 * PADDING) * DITHER
        peak = float(np.abs(samples).max(initial=0.0))
        padded = np.pad(samples * (PEAK / peak) if peak > 0 else samples, PADDING)
        pcm = np.clip((padded + noise) * 32767, -32768, 32767).astype("<i2").tobytes()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return heard.hypstr if heard else ""


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Return the least number of words to change, to add and to drop that makes `heard` `said` (Levenshtein, 1966)."""
    last = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        row = [number]
        for place, other in enumerate(heard, 1):
            row.append(min(last[place] + 1, row[-1] + 1, last[place - 1] + (word != other)))
        last = row
    return last[-1]


def _open(language_model: Path | None) -> Listen:
    recogniser = Recogniser(language_model)

    def listen(take: Take, against: Take) -> tuple[float, ...]:
        said = words_of(take.text)
        if not said:
            raise ValueError("no words to hear")
        return (100 * errors(said, words_of(recogniser.hear(take.samples))) / len(said),)

    return listen


def instrument(language_model: Path | None = None) -> Instrument:
    """Return the instrument with a language model, an ARPA file, or else the general one."""
    model = "general language model" if language_model is None else f"language model {sha256(language_model)[:12]}"
    return Instrument(
        (WER,),
        FREE,
        partial(_open, language_model),
        lambda: f"{of_package('pocketsphinx')}, {model}",
        ("pocketsphinx",),
        "pip install 'ovconvert[quality]'",
    )
