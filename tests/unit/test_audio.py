"""Recordings in and out."""

from __future__ import annotations

import errno
import os
from math import ceil, gcd
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ovconvert.errors import EnvironmentFault, QualityError, UsageError
from ovconvert.runtime.audio import Audio, join, read_audio, resample, resample_sinc, write_wav


def sine(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "tolerance"),
    [
        (".wav", "PCM_U8", 8000, 1e-2),
        (".wav", "PCM_16", 16000, 1e-4),
        (".wav", "PCM_24", 96000, 1e-6),
        (".wav", "FLOAT", 44100, 1e-7),
        (".flac", "PCM_16", 48000, 1e-4),
        (".ogg", "VORBIS", 22050, 0.1),
        (".mp3", "MPEG_LAYER_III", 44100, 0.1),
    ],
)
def test_formats_are_read(tmp_path: Path, suffix: str, subtype: str, rate: int, tolerance: float) -> None:
    path = tmp_path / f"a{suffix}"
    wave = sine(440, rate)
    soundfile.write(path, wave, rate, subtype=subtype)
    audio = read_audio(path)
    assert (audio.sample_rate, audio.samples.dtype, audio.samples.ndim) == (rate, np.float32, 1)
    if suffix == ".mp3":  # the codec delays
        assert abs(audio.seconds - 0.5) < 0.1
        return
    assert np.abs(audio.samples - wave).max() < tolerance


def test_channels_are_averaged_and_length_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([sine(440, 8000), -sine(440, 8000) + 0.5], 1), 8000, subtype="FLOAT")
    assert np.allclose(read_audio(path).samples, 0.25, atol=1e-6)
    assert len(read_audio(path, max_seconds=0.1).samples) == 800
    assert len(read_audio(path, max_seconds=9).samples) == 4000


def wav(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples.astype(np.float32), 16000, subtype="FLOAT")
    return path


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.wav", tmp_path / "text.wav"
    empty.touch()
    text.write_text("not audio at all, but long enough to look at")
    cases = [
        (tmp_path / "absent.wav", "no such file"),
        (tmp_path, "is a directory"),
        (empty, "0 bytes"),
        (text, "no audio that libsndfile reads"),
        (wav(tmp_path / "none.wav", np.zeros(0)), "has no samples"),
        (wav(tmp_path / "nan.wav", np.full(1600, np.nan)), "not finite"),
        (wav(tmp_path / "inf.wav", np.full(1600, np.inf)), "not finite"),
        (wav(tmp_path / "short.wav", np.ones(399)), r"0\.025 s long; at least 0\.025 s"),
        (wav(tmp_path / "silent.wav", np.zeros(1600)), "is silent"),
    ]
    for path, said in cases:
        with pytest.raises(UsageError, match=said) as caught:
            read_audio(path)
        assert str(path) in str(caught.value)
    assert len(read_audio(wav(tmp_path / "enough.wav", np.ones(400))).samples) == 400
    assert not read_audio(tmp_path / "silent.wav", allow_silence=True).samples.any()
    with pytest.raises(UsageError, match=r"0\.100 s long; at least 0\.5 s"):
        read_audio(wav(tmp_path / "half.wav", np.ones(1600)), min_seconds=0.5)


def test_resample_keeps_a_sine_and_is_an_identity_at_its_own_rate() -> None:
    audio = Audio(sine(1000, 44100), 44100)
    assert resample(audio, 44100) is audio
    result = resample(audio, 16000)
    assert (result.sample_rate, result.samples.dtype, len(result.samples)) == (16000, np.float32, 8000)
    assert np.abs(result.samples - sine(1000, 16000))[500:-500].max() < 1e-3
    assert np.abs(result.samples - sine(1010, 16000))[500:-500].max() > 0.1


def slow_sinc(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """The formula, term by term."""
    common = gcd(from_rate, to_rate)
    old, new = from_rate // common, to_rate // common
    base = min(old, new) * 0.99
    result = []
    for j in range(ceil(new * len(samples) / old)):
        total = 0.0
        for n, sample in enumerate(samples):
            t = (n / old - j / new) * base
            if abs(t) < 6:
                total += sample * (1.0 if t == 0 else np.sin(np.pi * t) / (np.pi * t)) * np.cos(np.pi * t / 12) ** 2
        result.append(total * base / old)
    return np.array(result)


@pytest.mark.parametrize(("old", "new"), [(22050, 16000), (16000, 22050), (96000, 16000), (11, 7), (3, 1), (1, 3)])
def test_resample_sinc_is_the_formula(old: int, new: int) -> None:
    samples = np.random.default_rng(0).standard_normal(97).astype(np.float32)
    result = resample_sinc(samples, old, new)
    assert len(result) == ceil(new * 97 / old)
    assert np.abs(result - slow_sinc(samples, old, new)).max() < 1e-6
    assert np.abs(result - slow_sinc(samples[::-1], old, new)).max() > 1e-2


@pytest.mark.parametrize(("old", "new"), [(22050, 16000), (48000, 22050), (16000, 24000), (44101, 16000)])
def test_resample_sinc_keeps_sines_and_levels(old: int, new: int) -> None:
    # -60 dB holds where the Hann window has no ripple left; it is the filter's own, not ours
    result = resample_sinc(sine(500, old, 1.0), old, new)
    inner = slice(200, -200)
    error = np.linalg.norm((result - sine(500, new, 1.0)[: len(result)])[inner]) / np.linalg.norm(result[inner])
    assert 20 * np.log10(error) < -60
    wrong = np.linalg.norm((result - sine(502, new, 1.0)[: len(result)])[inner]) / np.linalg.norm(result[inner])
    assert 20 * np.log10(wrong) > -60
    level = resample_sinc(np.ones(old // 2, np.float32), old, new)[inner]
    assert np.abs(level - 1).max() < 2e-3


def test_resample_sinc_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
    whole = resample_sinc(samples, 22050, 16000)
    monkeypatch.setattr("ovconvert.runtime.audio.BLOCK", 16)
    assert np.array_equal(resample_sinc(samples, 22050, 16000), whole)
    assert np.array_equal(resample_sinc(samples, 16000, 16000), samples)
    with pytest.raises(ValueError, match="at least 1 Hz"):
        resample_sinc(samples, 0, 16000)


def test_segments_are_joined_with_silence_between() -> None:
    one, two = np.ones(3, np.float32), np.full(2, 2, np.float32)
    assert join([one, two], 2).tolist() == [1, 1, 1, 0, 0, 2, 2]
    assert join([one, two, one], 0).tolist() == [1, 1, 1, 2, 2, 1, 1, 1]
    assert join([one], 5).tolist() == [1, 1, 1]
    assert join([], 5).dtype == np.float32 and len(join([], 5)) == 0
    with pytest.raises(ValueError, match="at least 0"):
        join([one], -1)


def test_wav_is_sixteen_bit_and_clipped(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    write_wav(path, np.array([0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0], np.float32), 22050)
    samples, rate = soundfile.read(path, dtype="int16")
    assert (rate, soundfile.info(path).subtype) == (22050, "PCM_16")
    assert samples.tolist() == [0, 16383, -16383, 32767, -32767, 32767, -32767]
    assert os.listdir(tmp_path) == ["out.wav"]


def test_wav_replaces_nothing_unasked_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.wav"
    write_wav(path, np.zeros(4), 8000)
    before = path.read_bytes()
    for target, said in (
        (path, "exists"),
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "x.wav", "cannot be written"),
    ):
        with pytest.raises(UsageError, match=said):
            write_wav(target, np.ones(4), 8000)
    with pytest.raises(QualityError, match="not finite"):
        write_wav(path, np.array([np.nan]), 8000, overwrite=True)

    def full(source: str, dest: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(EnvironmentFault, match="free the disk"):
            write_wav(path, np.ones(4), 8000, overwrite=True)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["out.wav"]
    write_wav(path, np.ones(4), 8000, overwrite=True)
    assert path.read_bytes() != before
