"""A WAV that grows is whole after every chunk."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ovconvert.errors import QualityError, UsageError
from ovconvert.runtime.audio import write_wav
from ovconvert.runtime.speech import Chunk
from ovconvert.runtime.streaming import Writer, growing


def chunk(value: float, count: int = 5, silence: int = 0) -> Chunk:
    return Chunk(np.full(count, value, np.float32), 16000, "", 1, silence, True)


def test_the_file_is_a_wav_after_every_chunk_and_in_the_end_what_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "grows.wav"
    with growing(path) as writer:
        for number, count in enumerate((5, 5 + 3 + 5), 1):
            writer.add(chunk(0.1 * number, silence=3))
            samples, rate = soundfile.read(path)
            assert (len(samples), rate) == (count, 16000)
    whole = np.concatenate([np.full(5, 0.1, np.float32), np.zeros(3, np.float32), np.full(5, 0.2, np.float32)])
    write_wav(tmp_path / "whole.wav", whole, 16000)
    assert path.read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_a_pipe_is_never_rewound_and_can_be_read(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seek(self, *where: int) -> int:
            raise OSError("a pipe")

    pipe = Pipe()
    writer = Writer(pipe)
    writer.add(chunk(0.25))
    writer.add(chunk(-0.25))
    path = tmp_path / "pipe.wav"
    path.write_bytes(pipe.getvalue())
    assert np.sign(soundfile.read(path)[0]).tolist() == [1.0] * 5 + [-1.0] * 5
    with pytest.raises(OSError, match="a pipe"):
        Writer(pipe, rewound=True).add(chunk(0.0))


def test_what_is_there_is_not_replaced_unless_allowed(tmp_path: Path) -> None:
    path = tmp_path / "there.wav"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"), growing(path):
        pass
    assert path.read_bytes() == b"mine"
    with growing(path, overwrite=True) as writer:
        writer.add(chunk(0.5))
    assert len(soundfile.read(path)[0]) == 5


def test_samples_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    with pytest.raises(QualityError, match="not finite"), growing(path) as writer:
        writer.add(chunk(0.5))
        writer.add(chunk(float("nan")))
    assert len(soundfile.read(path)[0]) == 5
