import pytest
import seeded
import torch
import torch.nn.functional as F

from ovconvert.networks.bigvgan import BigVgan, BigVganConfig, _Activation


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.load("2", "bigvgan")


def config(golden: seeded.Golden) -> BigVganConfig:
    rates, dilations = golden.config["upsample_rates"], golden.config["resblock_dilation_sizes"][0]
    return BigVganConfig.from_shapes(seeded.shapes(golden.state), rates=tuple(rates), dilations=tuple(dilations))


def error(golden: seeded.Golden, state: seeded.State) -> float:
    module = seeded.build(BigVgan, config(golden), state)
    assert seeded.unaccounted(state, module) == []
    return seeded.relative(module(golden.vectors["mel"]), golden.vectors["wav"])


def test_waveform(golden: seeded.Golden) -> None:
    assert error(golden, golden.state) <= seeded.ONE_CALL


@pytest.mark.parametrize(
    "key",
    [
        "ups.2.0.weight",
        "resblocks.7.convs1.2.weight",
        "resblocks.16.activations.3.act.beta",
        "resblocks.4.activations.0.upsample.filter",
        "activation_post.downsample.lowpass.filter",
    ],
)
def test_notices_a_changed_weight(golden: seeded.Golden, key: str) -> None:
    assert error(golden, seeded.scaled(golden.state, key)) > seeded.ONE_CALL


@pytest.mark.parametrize("frames", [1, 2, 7, 32])
def test_activation_equals_the_published_form(frames: int) -> None:
    """Transposed and strided convolutions around the snake, also where the padding meets itself."""
    draw = torch.Generator().manual_seed(3)
    up, down = (torch.randn(1, 1, 12, generator=draw) for _ in range(2))  # not symmetric: the order of taps shows
    alpha, beta = (0.3 * torch.randn(4, generator=draw) for _ in range(2))
    x = torch.randn(2, 4, frames, generator=draw)
    state = {"act.alpha": alpha, "act.beta": beta, "upsample.filter": up, "downsample.lowpass.filter": down}
    y = 2 * F.conv_transpose1d(F.pad(x, (5, 5), mode="replicate"), up.expand(4, 1, 12), stride=2, groups=4)[..., 15:-15]
    y = y + (y * alpha[:, None].exp()).sin().square() / (beta[:, None].exp() + 1e-9)
    expected = F.conv1d(F.pad(y, (5, 6), mode="replicate"), down.expand(4, 1, 12), stride=2, groups=4)
    module = seeded.fill(_Activation(4, log_scale=True), state)
    assert seeded.relative(module(x), expected) <= 1e-6
