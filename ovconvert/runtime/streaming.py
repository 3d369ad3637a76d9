"""Writes audio while it is made: a WAV file that grows, a WAV down a pipe, or bare samples."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.runtime.audio import pcm16
from ovconvert.runtime.speech import Chunk

UNKNOWN = 0xFFFFFFFF  # the size of what has no end yet; players read on until there is nothing more
HEADER_BYTES = 44
BYTES = 2  # per sample


def header(sample_rate: int, data_bytes: int = UNKNOWN) -> bytes:
    """Return the header of a 16-bit mono WAV (RIFF, one chunk of format and one of data)."""
    whole = min(data_bytes + HEADER_BYTES - 8, UNKNOWN)
    form = struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, sample_rate * BYTES, BYTES, 8 * BYTES)
    return b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + form + b"data" + struct.pack("<I", data_bytes)


class Writer:
    """Writes chunks to `file` as 16-bit mono, each at once and with the silence that belongs before it.

    With `raw` there are samples alone, little-endian. Where a `file` can be `rewound` its header tells its length, and does
    so after every chunk; in a pipe it tells none.
    """

    def __init__(self, file: BinaryIO, *, raw: bool = False, rewound: bool = False) -> None:
        self._file = file
        self._raw = raw
        self._rewound = rewound
        self._silence = 0
        self._bytes = 0

    def add(self, chunk: Chunk) -> None:
        """Write a chunk. Raises QualityError, before anything of it is written, for samples that are not finite."""
        samples = pcm16(np.concatenate([np.zeros(self._silence, np.float32), chunk.samples]))
        self._silence = chunk.silence
        data = samples.astype("<i2").tobytes()
        if not self._raw and not self._bytes:
            self._file.write(header(chunk.sample_rate))
        self._file.write(data)
        self._bytes += len(data)
        if self._rewound and not self._raw:
            self._file.seek(0)
            self._file.write(header(chunk.sample_rate, self._bytes))
            self._file.seek(0, 2)
        self._file.flush()


@contextmanager
def growing(path: Path, *, raw: bool = False, overwrite: bool = False) -> Iterator[Writer]:
    """Give a writer to the file `path`, which is whole after every chunk and stays as it is if the block ends early.

    Raises UsageError for a `path` that exists, unless `overwrite`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.open("wb" if overwrite else "xb")
    except FileExistsError as error:
        raise UsageError(f"{path} exists; name another file, or allow to replace it") from error
    with file:
        yield Writer(file, raw=raw, rewound=True)
