"""Recordings in and out: reading, resampling, joining and writing mono audio."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd
from pathlib import Path

import numpy as np

from ovconvert.errors import EnvironmentFault, QualityError, UsageError

FRAME_SECONDS = 0.025  # one analysis frame of every front end; anything shorter has no features at all
LOWPASS_WIDTH = 6  # zero crossings on each side of the sinc
ROLLOFF = 0.99
BLOCK = 1 << 15  # outputs made at a time, which bounds the memory of `resample_sinc`
FULL_SCALE = 32767.0
MACHINE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE)

LOWEST_RATE = 4000  # Hz
LOUDEST = 16.0  # full scale is 1; float files go beyond, but not by this much


@dataclass(frozen=True)
class Audio:
    """Mono audio: `samples` float32 (count,) in [-1, 1], `sample_rate` in Hz."""

    samples: np.ndarray
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.sample_rate


def read_audio(
    path: Path,
    max_seconds: float | None = None,
    *,
    min_seconds: float = FRAME_SECONDS,
    allow_silence: bool = False,
) -> Audio:
    """Return the recording at `path` at its own rate: any format libsndfile reads, channels averaged (section 4.1).

    Only the first `max_seconds` are decoded. Raises UsageError for what is no file or no audio, for fewer than
    `min_seconds`, for samples that are not finite, and for pure silence unless `allow_silence`: no network fails on
    zeros, but there is no voice in them, and what would come out is arbitrary.
    """
    import soundfile

    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name an audio file (WAV, FLAC, OGG, MP3, ...)")
    if not path.is_file():
        raise UsageError(f"{path}: no such file; name an audio file (WAV, FLAC, OGG, MP3, ...)")
    try:
        if path.stat().st_size == 0:
            raise UsageError(f"{path} is empty (0 bytes); record or copy it again")
        with soundfile.SoundFile(path) as file:
            frames = -1 if max_seconds is None else max(int(max_seconds * file.samplerate), 1)
            samples = file.read(frames, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
            audio = Audio(samples, int(file.samplerate))
    except (soundfile.LibsndfileError, OSError) as error:
        if isinstance(error, OSError) or not os.access(path, os.R_OK):
            raise UsageError(f"{path} cannot be read; check its permissions: {error}") from error
        raise UsageError(f"{path} is no audio that libsndfile reads; convert it to WAV or FLAC: {error}") from error
    _refuse_unusable(path, audio, min_seconds, allow_silence)
    return audio


def _refuse_unusable(path: Path, audio: Audio, min_seconds: float, allow_silence: bool) -> None:
    if not len(audio.samples):
        raise UsageError(f"{path} has no samples; record it again")
    if audio.sample_rate < LOWEST_RATE:
        raise UsageError(f"{path} has {audio.sample_rate} samples per second; at least {LOWEST_RATE} are needed for a voice")
    if audio.seconds < min_seconds:
        raise UsageError(f"{path} is {audio.seconds:.3f} s long; at least {min_seconds:g} s are needed; record more")
    if not np.isfinite(audio.samples).all():
        raise UsageError(f"{path} has samples that are not finite (NaN or infinity); make it again")
    if np.abs(audio.samples).max() > LOUDEST:
        raise UsageError(f"{path} has samples up to {np.abs(audio.samples).max():.0f}; scale it to between -1 and 1")
    if not allow_silence and not audio.samples.any():
        raise UsageError(f"{path} is silent: every sample is zero; give a recording in which someone speaks")


def resample(audio: Audio, sample_rate: int) -> Audio:
    """Return `audio` at `sample_rate` by soxr's high quality; at its own rate, the very same object."""
    if audio.sample_rate == sample_rate:
        return audio
    import soxr

    samples = soxr.resample(audio.samples, audio.sample_rate, sample_rate, quality="HQ")
    return Audio(np.asarray(samples, np.float32), sample_rate)


def resample_sinc(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Return float32 (ceil(count to/from),) of `samples` (count,) by a Hann-windowed sinc (spec section 4.1).

    It equals torchaudio's default resampler: 6 zero crossings, roll-off 0.99, zeros beyond the ends.
    """
    if from_rate < 1 or to_rate < 1:
        raise ValueError(f"sample rates must be at least 1 Hz, got {from_rate} and {to_rate}")
    if from_rate == to_rate:
        return samples
    common = gcd(from_rate, to_rate)
    old, new = from_rate // common, to_rate // common
    base = min(old, new) * ROLLOFF
    reach = ceil(LOWPASS_WIDTH * old / base)  # input samples on each side of an output that the window touches
    taps = np.arange(-reach, reach + 1, dtype=np.int64)
    padded = np.pad(np.asarray(samples, np.float32), (reach, reach + 1))
    result = np.empty(-(-new * len(samples) // old), np.float32)
    for start in range(0, len(result), max(BLOCK // len(taps), 1) * 16):
        stop = min(start + max(BLOCK // len(taps), 1) * 16, len(result))
        # output j lies at input position j old/new: the integer part says which samples, the rest (exact) which weights
        whole, rest = np.divmod(np.arange(start, stop, dtype=np.int64) * old, new)
        rests, phase = np.unique(rest, return_inverse=True)
        distance = (taps * new - rests[:, None]) * (base / (old * new))
        weights = np.sinc(distance) * np.cos(np.clip(distance / LOWPASS_WIDTH, -1, 1) * (np.pi / 2)) ** 2 * (base / old)
        near = padded[whole[:, None] + (taps + reach)]
        result[start:stop] = np.einsum("jk,jk->j", near, weights[phase])
    return result


def join(segments: Sequence[np.ndarray], silence: int) -> np.ndarray:
    """Return float32 samples of `segments`, with `silence` zeros between (not after) them (spec section 15.4)."""
    if silence < 0:
        raise ValueError(f"silence must be at least 0 samples, got {silence}")
    gap = np.zeros(silence, np.float32)
    parts = [part for segment in segments for part in (gap, np.asarray(segment, np.float32))]
    return np.concatenate(parts[1:]) if parts else gap[:0]


def pcm16(samples: np.ndarray) -> np.ndarray:
    """Return int16 of float `samples` in [-1, 1]; louder ones are clipped. Raises QualityError for those not finite."""
    if not np.isfinite(samples).all():
        raise QualityError("the audio has samples that are not finite and is not written; a graph overflows")
    clipped: np.ndarray = np.clip(np.asarray(samples, np.float32) * FULL_SCALE, -FULL_SCALE, FULL_SCALE)
    return clipped.astype(np.int16)


def wav_bytes(samples: np.ndarray, sample_rate: int) -> bytes:
    """Return `samples` (count,) as a 16-bit mono WAV. Raises QualityError as `pcm16` does."""
    import soundfile

    encoded = io.BytesIO()
    soundfile.write(encoded, pcm16(samples), sample_rate, format="WAV", subtype="PCM_16")
    return encoded.getvalue()


def write_wav(path: Path, samples: np.ndarray, sample_rate: int, *, overwrite: bool = False) -> None:
    """Write `samples` (count,) in [-1, 1] as a 16-bit mono WAV, whole or not at all; louder ones are clipped (spec 14).

    Raises UsageError for a `path` that exists (unless `overwrite`) or cannot be written, EnvironmentFault if the disk
    is full or broken, QualityError for samples that are not finite.
    """
    path = Path(path)
    encoded = wav_bytes(samples, sample_rate)
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; name another file, or allow to replace it")
    try:
        _write_whole(path, encoded)
    except OSError as error:
        if error.errno in MACHINE_FAULTS:
            raise EnvironmentFault(f"{path} cannot be written, nothing is left; free the disk: {error}") from error
        raise UsageError(f"{path} cannot be written; name a file in a folder of yours: {error}") from error


def _write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".partial", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(file.name, 0o666 & ~umask)  # a temporary file is private, an output is not
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
