"""The test set in the repository: sentences held out of training, by speaker and style, and reference audio for the first.

    testset/texts.json            every row: text, speaker, style, and the audio's file name or null
    testset/audio/0000_awb_happy.flac   the corpus's own voice, 16 kHz mono
    testset/word_seconds.json     how long each word takes each speaker
    testset/domain.arpa           the language model of the domain, from training sentences

Each of the 32 pairs of speaker and style comes once in every 32 rows, so any beginning of the list is balanced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

from demo_voice import recognise, texts
from demo_voice.corpus import RATE, SPEAKERS, STYLES
from demo_voice.data import Corpus
from demo_voice.durations import Durations
from demo_voice.spoken import Spoken, read

ROWS, WITH_AUDIO = 256, 128
VOICE_SECONDS = (2.6, 3.4)  # of a reference recording: as long as the prompts in training


@dataclass(frozen=True)
class Row:
    """One sentence to be spoken; `audio` is the file of the corpus's own voice, or None."""

    text: str
    speaker: str
    style: str
    audio: str | None = None


def write(corpus: Corpus, dest: Path, seed: int = 0) -> list[Row]:
    """Write the test set of a corpus and return its rows. Raises ValueError if the corpus has too few test utterances."""
    (dest / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for place, number in enumerate(_choose(corpus, seed)):
        spoken = corpus.utterances[number]
        row = Row(spoken.text, spoken.speaker, spoken.style, f"{place:04d}_{spoken.speaker}_{spoken.style}.flac")
        soundfile.write(dest / "audio" / str(row.audio), corpus.wave(number), RATE, "PCM_16", compression_level=1.0)
        rows.append(row)
    used = {row.text for row in rows}
    more = (text for text in texts.sentences(seed + 1, testing=True) if text not in used and not used.add(text))
    cells = [cell for start in range(WITH_AUDIO, ROWS, 32) for cell in _cells(seed + start)]
    rows += [Row(text, *cell) for cell, text in zip(cells, more, strict=False)]
    require_unheard(rows, (row.text for row in map(corpus.utterances.__getitem__, corpus.training)))
    (dest / "texts.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    Durations.learn(corpus.utterances[number] for number in corpus.training).save(dest / "word_seconds.json")
    recognise.write_language_model(recognise.domain_sentences(), dest / "domain.arpa")
    return rows


def load(source: Path) -> list[Row]:
    """Return the rows of a test set."""
    return [Row(**row) for row in json.loads((source / "texts.json").read_text(encoding="utf-8"))]


def spoken(source: Path) -> list[Spoken]:
    """Return the rows that have audio, as spoken by the corpus's own voices."""
    return [
        Spoken(row.text, row.speaker, row.style, read(source / "audio" / row.audio)) for row in load(source) if row.audio
    ]


def require_unheard(rows: Iterable[Row], training: Iterable[str]) -> None:
    """Raise ValueError, naming the sentences, unless no row's text is among the sentences of the training texts."""
    heard = {one for text in training for one in text.split(". ")}
    found = sorted({row.text for row in rows if row.text in heard or not texts.held_out(row.text)})
    if found:
        raise ValueError(f"{len(found)} test sentences are not held out of training: {'; '.join(found[:5])}")


def write_voices(corpus: Corpus, dest: Path) -> dict[str, str]:
    """Write `dest`/<speaker>.wav, int16 at 16 kHz: one calm training utterance of each speaker. Returns their texts.

    Of those of the right length, the one with the most different phones is taken.
    """
    dest.mkdir(parents=True, exist_ok=True)
    chosen = {}
    for speaker in SPEAKERS:
        number = _voice(corpus, speaker)
        soundfile.write(dest / f"{speaker}.wav", corpus.wave(number), RATE, "PCM_16")
        chosen[speaker] = corpus.utterances[number].text
    return chosen


def _choose(corpus: Corpus, seed: int) -> list[int]:
    """Return the numbers of WITH_AUDIO test utterances, no text twice."""
    rng = np.random.default_rng(seed)
    free: dict[tuple[str, str], list[int]] = {}
    for number in rng.permutation(corpus.testing):
        row = corpus.utterances[number]
        free.setdefault((row.speaker, row.style), []).append(int(number))
    chosen: list[int] = []
    used: set[str] = set()
    for start in range(0, WITH_AUDIO, 32):
        for cell in _cells(seed + start):
            fitting = [number for number in free.get(cell, []) if corpus.utterances[number].text not in used]
            if not fitting:
                raise ValueError(f"too few test utterances of {cell[0]}, {cell[1]}: at least {WITH_AUDIO // 32} texts")
            chosen.append(fitting[0])
            used.add(corpus.utterances[fitting[0]].text)
    return chosen


def _cells(seed: int) -> list[tuple[str, str]]:
    """Return every pair of speaker and style, in an order drawn from the seed."""
    cells = list(product(SPEAKERS, STYLES))
    return [cells[place] for place in np.random.default_rng(seed).permutation(len(cells))]


def _voice(corpus: Corpus, speaker: str) -> int:
    fitting = [
        number
        for number in corpus.training
        if (row := corpus.utterances[number]).speaker == speaker
        and row.style == "calm"
        and ". " not in row.text
        and VOICE_SECONDS[0] <= row.length / RATE <= VOICE_SECONDS[1]
    ]
    return max(fitting, key=lambda number: len({name for name, _ in corpus.utterances[number].phones}))
