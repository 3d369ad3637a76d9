"""A corpus with phone and word times, spoken by the voices of flite: four speakers, eight styles.

Written to WORK/corpus: `audio.i16` (all utterances one after the other, 16 kHz mono int16) and `index.json`.
"""

from __future__ import annotations

import json
import os
import random  # noqa: TID251 - seeded throughout; a plan made with it stays the same on every machine
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile

from demo_voice import texts

RATE = 16000
SPEAKERS = ("awb", "rms", "slt", "kal16")
# F0 mean and standard deviation in Hz, as the voices have them by default
PITCH = {"awb": (130, 14), "rms": (92, 12), "slt": (172, 16), "kal16": (105, 14)}
# emotion, in the order of the emotion vector: duration, F0 mean, F0 deviation, level, each as a factor
STYLES: dict[str, tuple[float, float, float, float]] = {
    "happy": (0.90, 1.15, 1.50, 1.10),
    "angry": (0.85, 1.05, 1.35, 1.35),
    "sad": (1.22, 0.90, 0.50, 0.75),
    "afraid": (0.80, 1.24, 0.80, 0.85),
    "disgusted": (1.12, 0.86, 1.40, 1.10),
    "melancholic": (1.35, 0.84, 0.35, 0.65),
    "surprised": (0.95, 1.28, 1.90, 1.15),
    "calm": (1.00, 1.00, 1.00, 1.00),
}
CALM_SHARE = 0.3  # of the utterances; the other styles share the rest
LEVEL = 0.07  # root mean square of a calm utterance
LEAD, TAIL = 0.06, 0.10  # seconds of silence kept before and after
SILENCE = "pau"


@dataclass(frozen=True)
class Utterance:
    """`phones` are (name, end), `words` (word, start, end), in seconds; `offset` and `length` are in samples."""

    speaker: str
    style: str
    text: str
    phones: tuple[tuple[str, float], ...]
    words: tuple[tuple[str, float, float], ...]
    offset: int = 0
    length: int = 0


def plan(count: int, seed: int, *, testing: bool) -> list[tuple[str, str, str, float, float]]:
    """Return (speaker, style, text, duration jitter, pitch jitter) of every utterance; no text twice by one speaker."""
    draw = random.Random(seed)
    source = texts.sentences(seed + 1, testing=testing)
    names = list(STYLES)
    weights = [CALM_SHARE if name == "calm" else (1 - CALM_SHARE) / (len(names) - 1) for name in names]
    seen: set[tuple[str, str]] = set()
    rows = []
    while len(rows) < count:
        speaker, text = SPEAKERS[len(rows) % len(SPEAKERS)], next(source)
        if (speaker, text) in seen:
            continue
        seen.add((speaker, text))
        style = draw.choices(names, weights)[0]
        rows.append((speaker, style, text, draw.uniform(0.95, 1.05), draw.uniform(0.96, 1.04)))
    return rows


def speak(speaker: str, style: str, text: str, stretch: float = 1.0, shift: float = 1.0) -> tuple[np.ndarray, Utterance]:
    """Return samples (count,) float32 and what was spoken. Raises FileNotFoundError if flite is not installed."""
    duration, pitch, deviation, level = STYLES[style]
    duration, pitch = duration * stretch, pitch * shift
    mean, spread = PITCH[speaker]
    features = {
        "duration_stretch": duration,
        "f0_shift": pitch,
        "int_f0_target_mean": mean * pitch,
        "int_f0_target_stddev": spread * deviation,
    }
    flags = [flag for name, value in features.items() for flag in ("--setf", f"{name}={value:.3f}")]
    samples, phones = _flite(speaker, text, flags)
    start, end = 0.0, phones[-1][1]
    if phones[0][0] == SILENCE:
        start = max(0.0, phones[0][1] - LEAD)
    if phones[-1][0] == SILENCE:
        end = min(end, phones[-2][1] + TAIL)
    samples = samples[int(start * RATE) : int(end * RATE)]
    samples = samples * (LEVEL * level / (np.sqrt(np.mean(samples**2)) + 1e-9))
    samples = samples / max(1.0, float(np.abs(samples).max()) / 0.98)
    kept = tuple((name, max(min(time, end) - start, 0.0)) for name, time in phones)
    return samples.astype(np.float32), Utterance(speaker, style, text, kept, _words(text, kept))


def make(work: Path, count: int, testing_count: int, seed: int, on_progress: Callable[[int, int], None]) -> None:
    """Write the corpus of `count` training and `testing_count` test utterances, unless it is there."""
    dest = work / "corpus"
    if (dest / "index.json").is_file():
        return
    if shutil.which("flite") is None:
        raise SystemExit("flite is not installed; on Debian: apt-get install flite")
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir(parents=True)
    rows = plan(count, seed, testing=False) + plan(testing_count, seed + 1000, testing=True)
    spoken: list[Utterance] = []
    offset = 0
    with (dest / "audio.i16").open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        source = iter(rows)
        while chunk := list(islice(source, 64)):
            for samples, utterance in pool.map(lambda row: speak(*row), chunk):
                file.write(np.round(samples * 32767).astype("<i2").tobytes())
                spoken.append(Utterance(**{**asdict(utterance), "offset": offset, "length": len(samples)}))
                offset += len(samples)
            on_progress(len(spoken), len(rows))
    index = {"training": count, "utterances": [asdict(utterance) for utterance in spoken]}
    (dest / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _flite(speaker: str, text: str, flags: Sequence[str] = ()) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Return samples and (phone, end in seconds) of a text."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["flite", "-voice", speaker, *flags, "-psdur", "-t", text, "-o", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        samples, rate = soundfile.read(file.name, dtype="float32")
    if rate != RATE:
        raise ValueError(f"flite's voice {speaker} speaks at {rate} Hz, not {RATE}")
    phones = [(item.split(":")[0], float(item.split(":")[1])) for item in done.stdout.split()]
    return samples, phones


_LEXICON: dict[str, list[str]] = {}


def _phones_of(word: str) -> list[str]:
    """Return how flite reads a word that stands alone."""
    if word not in _LEXICON:
        _LEXICON[word] = [name for name, _ in _flite("slt", word)[1] if name != SILENCE]
    return _LEXICON[word]


def _words(text: str, phones: Sequence[tuple[str, float]]) -> tuple[tuple[str, float, float], ...]:
    """Return (word, start, end) by aligning the words' own phones with the spoken ones (least edit distance).

    In context a word may be read otherwise ("the", "a"), and silences stand between sentences.
    """
    given = [word for word in text.replace(".", "").split()]
    wanted = [(number, phone) for number, word in enumerate(given) for phone in _phones_of(word)]
    starts = [0.0, *[end for _, end in phones[:-1]]]
    heard = [(name, start, end) for (name, end), start in zip(phones, starts, strict=True) if name != SILENCE]
    rows, columns = len(wanted) + 1, len(heard) + 1
    cost = np.zeros((rows, columns))
    cost[:, 0], cost[0] = np.arange(rows), np.arange(columns)
    for i in range(1, rows):
        for j in range(1, columns):
            differs = wanted[i - 1][1] != heard[j - 1][0]
            cost[i, j] = min(cost[i - 1, j - 1] + differs, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    owner = [0] * len(heard)
    i, j = rows - 1, columns - 1
    while j > 0:
        if i > 0 and cost[i, j] == cost[i - 1, j - 1] + (wanted[i - 1][1] != heard[j - 1][0]):
            i, j = i - 1, j - 1
            owner[j] = wanted[i][0]
        elif i > 0 and cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
            owner[j] = wanted[max(i - 1, 0)][0]
    spans: list[tuple[str, float, float]] = []
    for number, word in enumerate(given):
        mine = [phone for phone, who in zip(heard, owner, strict=True) if who == number]
        last = spans[-1][2] if spans else 0.0
        spans.append((word, mine[0][1], mine[-1][2]) if mine else (word, last, last))
    return tuple(spans)
