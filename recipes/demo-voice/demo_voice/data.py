"""The corpus as the trainings read it: waves, and the front ends' features, computed once by the runner's own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from demo_voice import pitch
from demo_voice.corpus import RATE, SPEAKERS, STYLES, Utterance
from ovconvert.runtime import features

MEL = {"sample_rate": RATE, "n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 80}
FRONT_ENDS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "semantic": (lambda samples: features.semantic_features(samples)[0][0], 160),  # 50 frames per second
    "mel": (lambda samples: features.log_mel(samples, **MEL)[0].T, 80),  # 62.5 frames per second
    "fbank": (lambda samples: features.speaker_fbank(samples)[0], 80),  # 100 frames per second
    "pitch": (lambda samples: pitch.contour(samples, RATE), 1),  # 100 frames per second, a target and no input
}


class Corpus:
    """The utterances in WORK/corpus; `training` and `testing` are their numbers."""

    def __init__(self, work: Path) -> None:
        self.directory = work / "corpus"
        index = json.loads((self.directory / "index.json").read_text(encoding="utf-8"))
        self.utterances = [Utterance(**row) for row in index["utterances"]]
        self.training = list(range(index["training"]))
        self.testing = list(range(index["training"], len(self.utterances)))
        self._audio = np.memmap(self.directory / "audio.i16", "<i2", "r")
        self.speakers = np.array([SPEAKERS.index(row.speaker) for row in self.utterances])
        self.styles = np.array([list(STYLES).index(row.style) for row in self.utterances])

    def wave(self, number: int) -> np.ndarray:
        """Return the samples (count,) float32 in [-1, 1] at 16 kHz of an utterance."""
        row = self.utterances[number]
        return self._audio[row.offset : row.offset + row.length].astype(np.float32) / 32767

    def front_end(self, name: str) -> Frames:
        """Return the features of every utterance by the front end `name`, computed on the first call and kept on disk."""
        path = self.directory / f"{name}.f16"
        if not path.with_suffix(".json").is_file():
            with ProcessPoolExecutor() as pool, path.open("wb") as file:
                ends = [0]
                work = partial(_frames, self.directory.parent, name)
                numbers = np.array_split(np.arange(len(self.utterances)), 64)
                for found in pool.map(work, numbers):
                    for frames in found:
                        file.write(frames.tobytes())
                        ends.append(ends[-1] + len(frames))
            path.with_suffix(".json").write_text(json.dumps(ends), encoding="utf-8")
        return Frames(path, FRONT_ENDS[name][1])


class Frames:
    """Frames of all utterances in one file; `frames[number]` is (time, width) float32."""

    def __init__(self, path: Path, width: int) -> None:
        self.ends = np.array(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        self._all = np.memmap(path, np.float16, "r").reshape(-1, width)

    def __getitem__(self, number: int) -> np.ndarray:
        return self._all[self.ends[number] : self.ends[number + 1]].astype(np.float32)

    def length(self, number: int) -> int:
        """Return the number of frames of an utterance."""
        return int(self.ends[number + 1] - self.ends[number])


def write_frames(path: Path, rows: list[np.ndarray]) -> None:
    """Write one array (time, width) per utterance so that `Frames` reads it."""
    np.concatenate(rows).astype(np.float16).tofile(path)
    ends = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    path.with_suffix(".json").write_text(json.dumps(ends.tolist()), encoding="utf-8")


def _frames(work: Path, name: str, numbers: np.ndarray) -> list[np.ndarray]:
    corpus = Corpus(work)
    compute = FRONT_ENDS[name][0]
    return [compute(corpus.wave(int(number))).astype(np.float16) for number in numbers]
