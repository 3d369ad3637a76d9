"""The figures of the corpus's own test audio: what the voice can at best be, and how far its judges are to be trusted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from demo_voice import damage, testset
from demo_voice.corpus import SPEAKERS
from demo_voice.data import Corpus
from demo_voice.durations import Durations
from demo_voice.evaluate import evaluate
from demo_voice.meter import Instruments
from demo_voice.recognise import Recogniser
from demo_voice.spoken import Spoken, read

PACKAGES = (
    "pocketsphinx",
    "jiwer",
    "speechmos",
    "resemblyzer",
    "webrtcvad-wheels",
    "librosa",
    "pyworld",
    "onnxruntime",
    "numpy",
)
DAMAGED = 64  # utterances broken in every way
ABOUT = (
    "The corpus's own test audio (flite), measured as the voice is. testset: the 128 recordings here. held_out: every test "
    "utterance of the corpus, those 128 among them, without DNSMOS and the general language model; directions of styles are "
    "compared with it. damage: held-out utterances broken on purpose, and how many of them the failure detectors find; "
    "their bounds were set with the undamaged utterances' durations in view. Speakers are compared with one calm "
    "recording each, of two training utterances. Intervals: 95 %, bootstrap over utterances."
)


def instruments(source: Path, voices: Path) -> Instruments:
    """Return what to measure with: the test set's files, and `voices`/<speaker>.wav as references."""
    references = {speaker: [read(voices / f"{speaker}.wav")] for speaker in SPEAKERS}
    return Instruments(Durations.load(source / "word_seconds.json"), source / "domain.arpa", references)


def write(
    corpus: Corpus,
    source: Path,
    voices: Path,
    work: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Measure and write `source`/corpus_figures.json; what is finished is kept in `work`.

    About seven minutes of processor time, estimated.

    Raises ImportError if one of the packages in requirements.txt is missing: these figures are for everyone.
    """
    work.mkdir(parents=True, exist_ok=True)
    all_of_it = instruments(source, voices)
    quick = replace(all_of_it, general=False, opinions=False)
    rows = [(corpus.utterances[number], corpus.wave(number)) for number in corpus.testing]
    held_out = [Spoken(row.text, row.speaker, row.style, samples) for row, samples in rows]
    figures = {
        "testset": evaluate(testset.spoken(source), all_of_it, work / "corpus_testset.json", on_progress=on_progress),
        "held_out": evaluate(held_out, quick, work / "corpus_held_out.json", on_progress=on_progress),
    }
    missing = {name for part in figures.values() for name in part["missing"]}
    if missing:
        raise ImportError(f"not installed: {', '.join(sorted(missing))}; see requirements.txt")
    found = damage.prove(rows[:DAMAGED], all_of_it.durations, Recogniser(all_of_it.language_model))
    whole = {
        "about": ABOUT,
        "packages": {name: version(name) for name in PACKAGES},
        **figures,
        "damage": [asdict(one) for one in found],
    }
    (source / "corpus_figures.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return whole
