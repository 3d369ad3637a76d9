"""A small corpus of the shipped test recordings, so that the trainings can be tried where there is no flite."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from demo_voice import testset
from demo_voice.corpus import Utterance
from demo_voice.data import Corpus
from demo_voice.spoken import read

TIMES = "times.json"  # of phones and words, by recording


def write_times(corpus: Corpus, source: Path) -> None:
    """Write the phones' and words' times of the recordings of a test set, which were taken from `corpus`."""
    known = {(row.text, row.speaker, row.style): row for row in (corpus.utterances[number] for number in corpus.testing)}
    rows = {row.audio: known[row.text, row.speaker, row.style] for row in testset.load(source) if row.audio}
    times = {
        name: {
            "phones": [(phone, round(end, 3)) for phone, end in row.phones],
            "words": [(word, round(start, 3), round(end, 3)) for word, start, end in row.words],
        }
        for name, row in rows.items()
    }
    (source / TIMES).write_text(json.dumps(times) + "\n", encoding="utf-8")


def make(work: Path, source: Path) -> None:
    """Write a corpus of the recordings of the test set in `source`, unless WORK has one."""
    dest = work / "corpus"
    if (dest / "index.json").is_file():
        return
    dest.mkdir(parents=True)
    times = json.loads((source / TIMES).read_text(encoding="utf-8"))
    utterances, offset = [], 0
    with (dest / "audio.i16").open("wb") as file:
        for row in testset.load(source):
            if row.audio is None:
                continue
            samples = np.round(read(source / "audio" / row.audio) * 32767).astype("<i2")
            file.write(samples.tobytes())
            utterances.append(
                asdict(Utterance(row.speaker, row.style, row.text, **times[row.audio], offset=offset, length=len(samples)))
            )
            offset += len(samples)
    (dest / "index.json").write_text(json.dumps({"training": len(utterances), "utterances": utterances}), encoding="utf-8")
