"""F0, excitation and waveform of the HiFT vocoder."""

from __future__ import annotations

import pytest
import seeded
import torch
from torch import Tensor

from ovconvert.networks.f0_predictor import F0Predictor, F0PredictorConfig
from ovconvert.networks.harmonic_source import HarmonicSource, HarmonicSourceConfig
from ovconvert.networks.hift import LOUDEST, Hift, HiftConfig
from ovconvert.networks.stft import Stft

ACCUMULATED = 1e-3  # the original sums the phase sample by sample in float32; ours reached 3e-5 against it
HOP = 256


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.read("cosyvoice-tiny", "hift")


def hift(state: seeded.State) -> Hift:
    return seeded.build(Hift, HiftConfig.from_shapes(seeded.shapes(state)), state)


def f0(golden: seeded.Golden, state: seeded.State) -> Tensor:
    module = seeded.build(F0Predictor, F0PredictorConfig.from_shapes(seeded.shapes(state)), state)
    return module(golden.vectors["mel"])


def test_f0(golden: seeded.Golden) -> None:
    assert seeded.relative(f0(golden, golden.state), golden.vectors["f0"]) <= seeded.ONE_CALL
    changed = seeded.scaled(golden.state, "f0_predictor.condnet.6.weight")
    assert seeded.relative(f0(golden, changed), golden.vectors["f0"]) > seeded.ONE_CALL


def source(golden: seeded.Golden, *, threshold: float = 10.0, phase: float = 0.0, noise: float = 0.0) -> Tensor:
    config = HarmonicSourceConfig.from_shapes(seeded.shapes(golden.state), threshold=threshold)
    module = seeded.build(HarmonicSource, config, golden.state)
    given = golden.vectors["f0_given"]
    shape = (1, config.harmonics, given.shape[1] * HOP)
    draw = noise * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return module(given, torch.full((1, config.harmonics), phase), draw)


def test_source(golden: seeded.Golden) -> None:
    assert seeded.relative(source(golden), golden.vectors["source_zero_phase"]) <= ACCUMULATED


def test_source_notices(golden: seeded.Golden) -> None:
    expected = golden.vectors["source_zero_phase"]
    for change in ({"threshold": 12.0}, {"phase": 0.1}, {"noise": 1.0}):
        assert seeded.relative(source(golden, **change), expected) > ACCUMULATED


def test_the_noise_is_loud_where_there_is_no_voice() -> None:
    """Without harmonics left over: one harmonic, a merging weight of one, so that atanh gives back what was merged."""
    module = HarmonicSource(HarmonicSourceConfig(harmonics=1, hop=8))
    seeded.fill(module, {"m_source.l_linear.weight": torch.ones(1, 1), "m_source.l_linear.bias": torch.zeros(1)})
    noise = torch.ones(1, 1, 16)
    merged = torch.atanh(module(torch.tensor([[0.0, 220.0]]), torch.zeros(1, 1), noise))
    sines = torch.atanh(module(torch.tensor([[0.0, 220.0]]), torch.zeros(1, 1), 0 * noise))
    expected = torch.tensor([0.1 / 3] * 8 + [0.003] * 8)
    assert torch.allclose((merged - sines)[0, 0], expected, atol=1e-6)


def test_spectrum(golden: seeded.Golden) -> None:
    expected = torch.cat((golden.vectors["stft_real"], golden.vectors["stft_imag"]), 1)
    assert seeded.relative(Stft(16, 4).forward(golden.vectors["source"]), expected) <= seeded.ONE_CALL


def test_inverse(golden: seeded.Golden) -> None:
    magnitude, phase, expected = (golden.vectors[f"istft_{name}"] for name in ("mag", "phase", "out"))
    limited = Stft(16, 4).inverse(magnitude.clamp(max=LOUDEST), phase)[:, 0]
    assert seeded.relative(limited, expected) <= seeded.ONE_CALL
    assert seeded.relative(Stft(16, 4).inverse(magnitude, phase)[:, 0], expected) > seeded.ONE_CALL


@pytest.mark.parametrize("samples", [16, 64, 1024])
def test_there_and_back(samples: int) -> None:
    """Also at the two ends, where fewer windows overlap."""
    x = torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(samples))
    stft = Stft(16, 4)
    real, imaginary = stft.forward(x).chunk(2, 1)
    again = stft.inverse(torch.hypot(real, imaginary), torch.atan2(imaginary, real))
    assert seeded.relative(again, x) <= 1e-5


def waveform(golden: seeded.Golden, state: seeded.State) -> Tensor:
    return hift(state)(golden.vectors["mel"], golden.vectors["source"])[:, 0]


def test_waveform(golden: seeded.Golden) -> None:
    module, vectors = hift(golden.state), golden.vectors
    decoded = module.decode(vectors["mel"], module.stft.forward(vectors["source"]))
    assert seeded.relative(decoded, vectors["conv_post_out"]) <= seeded.ONE_CALL
    assert seeded.relative(waveform(golden, golden.state), vectors["wav"]) <= seeded.ONE_CALL


@pytest.mark.parametrize(
    "key",
    [
        "ups.0.weight",
        "source_downs.0.weight",
        "source_resblocks.1.convs1.2.weight",
        "resblocks.4.activations2.1.alpha",
        "conv_post.bias",
    ],
)
def test_waveform_notices(golden: seeded.Golden, key: str) -> None:
    changed = waveform(golden, seeded.scaled(golden.state, key))
    assert seeded.relative(changed, golden.vectors["wav"]) > seeded.ONE_CALL


def test_every_published_key_is_owned(golden: seeded.Golden) -> None:
    shapes = seeded.shapes(golden.state)
    with torch.device("meta"):
        modules = [
            F0Predictor(F0PredictorConfig.from_shapes(shapes)),
            HarmonicSource(HarmonicSourceConfig.from_shapes(shapes)),
            Hift(HiftConfig.from_shapes(shapes)),
        ]
    assert seeded.unaccounted(golden.state, *modules) == []
