"""What pocketsphinx hears, and the word error rate of it, with a language model of the domain or with the general one.

The language model of the domain is a bigram of training sentences, written as ARPA: it knows which words may follow each
other, and thereby forgives a voice what its listeners would. The general model of the package forgives nothing of the kind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from demo_voice import interval, texts
from demo_voice.interval import Figure
from ovconvert.quality.words import Recogniser, words_of

DISCOUNT = 0.4  # taken from every bigram's count and left to the words not seen there
SENTENCES = 20000  # training sentences that the language model is counted on


def unknown_words() -> list[str]:
    """Return the words of the domain that pocketsphinx's dictionary lacks."""
    import pocketsphinx

    lines = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    known = {line.split()[0] for line in lines if line}
    return [word for word in texts.words() if word not in known]


def domain_sentences(seed: int = 0, count: int = SENTENCES) -> list[str]:
    """Return `count` training sentences, a pair counted as the two that it is."""
    source = texts.sentences(seed, testing=False)
    return list(islice((one for text in source for one in text.split(". ")), count))


def write_language_model(sentences: Iterable[str], dest: Path) -> None:
    """Write a bigram language model (absolute discounting, backing off to add-one unigrams) as ARPA."""
    unigrams: Counter[str] = Counter()
    bigrams: Counter[tuple[str, str]] = Counter()
    for sentence in sentences:
        words = ["<s>", *words_of(sentence), "</s>"]
        unigrams.update(words)
        bigrams.update(pairwise(words))
    total = sum(count + 1 for word, count in unigrams.items() if word != "<s>")  # <s> follows nothing
    share = {word: (count + 1) / total for word, count in unigrams.items()}
    begun: Counter[str] = Counter()
    for (first, _), count in bigrams.items():
        begun[first] += count
    left = {word: DISCOUNT * count for word, count in Counter(first for first, _ in bigrams).items()}
    unseen = {word: 1 - sum(share[second] for first, second in bigrams if first == word) for word in unigrams}
    lines = ["\\data\\", f"ngram 1={len(unigrams)}", f"ngram 2={len(bigrams)}", "", "\\1-grams:"]
    for word in sorted(unigrams):
        probability = -99.0 if word == "<s>" else math.log10(share[word])
        backing = "" if word == "</s>" else f" {math.log10(left[word] / begun[word] / unseen[word]):.5f}"
        lines.append(f"{probability:.5f} {word}{backing}")
    lines += ["", "\\2-grams:"]
    for (first, second), count in sorted(bigrams.items()):
        lines.append(f"{math.log10((count - DISCOUNT) / begun[first]):.5f} {first} {second}")
    dest.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")


def hear_all(waves: Sequence[np.ndarray], language_model: Path | None = None, *, processes: int = 1) -> list[str]:
    """Return what is heard in each of the waves (count,), in order, whatever the number of processes."""
    if processes == 1:
        return _hear(language_model, waves)
    shares = [list(waves[start::processes]) for start in range(processes)]
    with ProcessPoolExecutor(processes) as pool:
        heard = list(pool.map(partial(_hear, language_model), shares))
    return [heard[number % processes][number // processes] for number in range(len(waves))]


def word_errors(text: str, heard: str) -> tuple[int, int]:
    """Return the words to change, to add and to drop so that `heard` reads as `text`, and the words of `text`."""
    import jiwer

    found = jiwer.process_words(" ".join(words_of(text)), heard)
    return found.substitutions + found.deletions + found.insertions, len(words_of(text))


def word_error_rate(spoken: Sequence[str], heard: Sequence[str], seed: int = 0) -> Figure:
    """Return all word errors over all words, with its interval over utterances."""
    pairs = [word_errors(*pair) for pair in zip(spoken, heard, strict=True)]
    return interval.ratio([errors for errors, _ in pairs], [count for _, count in pairs], seed)


def _hear(language_model: Path | None, waves: Sequence[np.ndarray]) -> list[str]:
    recogniser = Recogniser(language_model)
    return [recogniser.hear(wave) for wave in waves]
