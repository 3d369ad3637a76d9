"""Front ends, against what the original computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovconvert.errors import UsageError
from ovconvert.runtime.features import decade_mel, kaldi_fbank, log_mel, mel_basis, semantic_features, speaker_fbank

GOLDEN = Path(__file__).parents[1] / "golden" / "indextts2-tiny"
MEL = {"sample_rate": 22050, "n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 80}


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def test_semantic_features_are_the_originals() -> None:
    golden = np.load(GOLDEN / "w2vbert.npz")
    wave, expected = golden["wave16k"], golden["fbank_features"]
    features, mask = semantic_features(wave)
    assert (features.dtype, mask.dtype) == (np.float32, np.int64)
    assert relative(features, expected) < 1e-4
    assert np.array_equal(mask, golden["fbank_mask"])
    assert relative(semantic_features(wave + 0.01 * wave[::-1])[0], expected) > 1e-4


@pytest.mark.parametrize(("samples", "pairs", "padded"), [(560, 1, False), (720, 2, True), (16000, 49, False)])
def test_odd_counts_are_padded_and_masked(samples: int, pairs: int, padded: bool) -> None:
    features, mask = semantic_features(np.random.default_rng(0).standard_normal(samples).astype(np.float32))
    assert features.shape == (1, pairs, 160)
    assert mask.tolist() == [[1] * (pairs - padded) + [0] * padded]
    assert bool((features[0, -1, 80:] == 1.0).all()) is padded


def test_speaker_fbank_is_centred_and_keeps_the_scale() -> None:
    wave = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    fbank = speaker_fbank(wave)
    assert fbank.shape == (1, 48, 80) and fbank.dtype == np.float32
    assert np.abs(fbank.mean(1)).max() < 1e-4
    raw = kaldi_fbank(wave)
    assert np.allclose(kaldi_fbank(wave * 10) - raw, np.log(100), atol=1e-3)
    assert kaldi_fbank(np.zeros(400, np.float32)).tolist() == [[pytest.approx(np.log(1.1920929e-07))] * 80]


def test_log_mel_is_the_originals() -> None:
    golden = np.load(GOLDEN / "mel.npz")
    wave, expected = golden["wave22k"][0], golden["mel"]
    mel = log_mel(wave, **MEL)
    assert mel.dtype == np.float32
    assert relative(mel, expected) < 1e-4
    assert relative(log_mel(wave, **MEL, fmax=8000.0), expected) > 1e-4
    assert log_mel(np.zeros(2560), **MEL).shape == (1, 80, 10)
    assert np.allclose(log_mel(np.zeros(2560), **MEL)[0, -1], np.log(1e-5), atol=0.5)


def test_mel_filters_have_unit_area_and_are_cached() -> None:
    basis = mel_basis(22050, 8192, 80)
    assert np.allclose(basis.sum(1) * 22050 / 8192, 1.0, atol=0.02)
    assert mel_basis(22050, 8192, 80) is basis
    with pytest.raises(ValueError, match="read-only"):
        basis[0, 0] = 1


def test_too_short_is_said() -> None:
    for call, count in ((kaldi_fbank, 399), (semantic_features, 559), (lambda wave: log_mel(wave, **MEL), 384)):
        with pytest.raises(UsageError, match="record more"):
            call(np.ones(count, np.float32))
        call(np.ones(count + 1, np.float32))


def test_what_a_recording_gives_a_token_model_is_the_originals() -> None:
    golden = np.load(GOLDEN.with_name("cosyvoice-tiny") / "frontend.npz")
    mel = {"sample_rate": 22050, "n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 80, "fmax": 8000.0}
    assert relative(log_mel(golden["wave22k"][0], **mel), golden["mel22k"]) < 1e-4
    low = golden["wave16k"][0]
    assert relative(decade_mel(low, 16000, 400, 160, 128), golden["whisper128"][0]) < 1e-4
    assert relative(kaldi_fbank(low), golden["kaldi_fbank"]) < 1e-4
    assert relative(speaker_fbank(low)[0], golden["kaldi_fbank_centred"]) < 1e-4
    assert relative(decade_mel(low * np.float32(1.01), 16000, 400, 160, 128), golden["whisper128"][0]) > 1e-4
