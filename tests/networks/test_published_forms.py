"""The published forms of what our networks compute more cheaply: the same values, by the published code's operations."""

from __future__ import annotations

import pytest
import seeded
import torch
from torch import nn

from ovconvert.baselines.published import AliasFreeActivation, DistanceAttention, EveryFrame, LayersAbove, restore
from ovconvert.networks import bigvgan, dit, w2v_bert
from ovconvert.networks.wavenet import WaveNetConfig

FORMS = 1e-5  # two ways to sum the same products in float32


class Counted(nn.Module):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + 1


def activation() -> bigvgan._Activation:
    draw = torch.Generator().manual_seed(5)
    state = {
        "act.alpha": 0.3 * torch.randn(4, generator=draw),
        "act.beta": 0.3 * torch.randn(4, generator=draw),
        "upsample.filter": seeded.kaiser_sinc() + 0.01 * torch.randn(1, 1, 12, generator=draw),
        "downsample.lowpass.filter": seeded.kaiser_sinc() + 0.01 * torch.randn(1, 1, 12, generator=draw),
    }
    return seeded.fill(bigvgan._Activation(4, log_scale=True), state)


@pytest.mark.parametrize("frames", [1, 2, 7, 64])
def test_the_activation_equals_ours(frames: int) -> None:
    x = torch.randn(2, 4, frames, generator=torch.Generator().manual_seed(frames))
    ours = activation()
    expected = ours(x)
    assert seeded.relative(AliasFreeActivation(ours)(x), expected) <= FORMS
    other = activation()
    other.upsample.filter[0, 0, 3] += 0.01
    assert seeded.relative(AliasFreeActivation(other)(x), expected) > FORMS


class Positions(nn.Module):
    """Gives the number of each frame, so that it shows which ones are returned."""

    def forward(self, x: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        return torch.arange(x.shape[2], dtype=torch.float32).expand(x.shape)


def test_every_frame_is_estimated_and_the_last_are_returned() -> None:
    x = torch.zeros(1, 2, 9)
    ours = Positions()
    assert EveryFrame(ours)(x, x, x, x, x, 4)[0, 0].tolist() == [5, 6, 7, 8]


def test_the_estimator_is_replaced() -> None:
    with torch.device("meta"):
        estimator = dit.GuidedEstimator(dit.DiT(dit.DiTConfig(8, 2, 4, 16, 2, 4, 8, 4, 4, WaveNetConfig(8, 2, 3))))
    assert isinstance(restore(estimator).estimator, EveryFrame)


def test_the_attention_equals_ours() -> None:
    config = w2v_bert.W2vBertConfig(8, 16, 32, 2, 8, 3, 1, 1, left=4, right=2)
    draw = torch.Generator().manual_seed(6)
    ours = w2v_bert._Attention(config)
    for parameter in ours.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=draw))
    x = torch.randn(1, 9, 16, generator=draw)
    position = torch.arange(9)
    distance = (position[None] - position[:, None]).clamp(-4, 2) + 4
    mask = torch.zeros(1, 1, 1, 9)
    mask[..., -1] = w2v_bert.HIDDEN
    expected = ours(x, distance, mask)
    published = DistanceAttention(ours)
    assert seeded.relative(published(x, distance, mask), expected) <= FORMS
    assert seeded.relative(published(x, distance.t(), mask), expected) > FORMS
    assert seeded.relative(published(x, distance, torch.zeros_like(mask)), expected) > FORMS


def test_the_layers_above_are_run_and_change_nothing() -> None:
    wrapped = LayersAbove(Counted(), 7)
    assert float(wrapped(torch.zeros(1))) == 1.0
    assert [layer.calls for layer in wrapped.above] == [1] * 7


def test_a_vocoder_is_restored_whole() -> None:
    golden = seeded.load("2", "bigvgan")
    rates, dilations = golden.config["upsample_rates"], golden.config["resblock_dilation_sizes"][0]
    config = bigvgan.BigVganConfig.from_shapes(seeded.shapes(golden.state), rates=tuple(rates), dilations=tuple(dilations))
    network = restore(seeded.build(bigvgan.BigVgan, config, golden.state))
    kinds = [type(module) for module in network.modules()]
    assert bigvgan._Activation not in kinds
    assert kinds.count(AliasFreeActivation) > 1
    assert seeded.relative(network(golden.vectors["mel"]), golden.vectors["wav"]) <= seeded.ONE_CALL


def test_an_encoder_is_restored_with_its_layers_above() -> None:
    golden = seeded.load("2", "w2vbert")
    config = w2v_bert.W2vBertConfig.from_shapes(seeded.shapes(golden.state), layers=17)
    network = restore(seeded.build(w2v_bert.W2vBert, config, golden.state))
    hidden = network(golden.vectors["features"], golden.vectors["attention_mask"])
    assert seeded.relative(hidden, golden.vectors["hidden17"]) <= seeded.ONE_CALL
    assert w2v_bert._Attention not in [type(module) for module in network.modules()]
    layers = [module for module in network.modules() if isinstance(module, w2v_bert._Layer)]
    assert len(layers) == config.published_layers > config.layers
