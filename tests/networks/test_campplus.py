import pytest
import seeded
import torch

from ovconvert.networks.campplus import CamPlus, CamPlusConfig, segments


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.load("2", "campplus")


def error(golden: seeded.Golden, state: seeded.State) -> float:
    module = seeded.build(CamPlus, CamPlusConfig.from_shapes(seeded.shapes(state)), state)
    return seeded.relative(module(golden.vectors["fbank"]), golden.vectors["embedding"])


def test_style(golden: seeded.Golden) -> None:
    assert error(golden, golden.state) <= seeded.ONE_CALL


@pytest.mark.parametrize(
    "key",
    [
        "head.layer1.0.shortcut.0.weight",
        "xvector.block2.tdnnd7.cam_layer.linear1.weight",
        "xvector.dense.nonlinear.batchnorm.running_var",
    ],
)
def test_notices_a_changed_weight(golden: seeded.Golden, key: str) -> None:
    assert error(golden, seeded.scaled(golden.state, key)) > seeded.ONE_CALL


def test_notices_wrong_dilations(golden: seeded.Golden) -> None:
    config = CamPlusConfig.from_shapes(seeded.shapes(golden.state), dilations=(1, 1, 2))
    module = seeded.build(CamPlus, config, golden.state)
    assert seeded.relative(module(golden.vectors["fbank"]), golden.vectors["embedding"]) > seeded.ONE_CALL


def test_every_published_key_is_owned(golden: seeded.Golden) -> None:
    module = seeded.build(CamPlus, CamPlusConfig.from_shapes(seeded.shapes(golden.state)), golden.state)
    assert seeded.unaccounted(golden.state, module) == []


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 250])
def test_segment_means_equal_pooling_with_a_short_last_window(frames: int) -> None:
    x = torch.arange(3 * frames, dtype=torch.float32).reshape(1, 3, frames)
    average, spread = segments(frames, torch.device("cpu"))
    pooled = torch.nn.functional.avg_pool1d(x, 100, 100, ceil_mode=True)
    expected = pooled.repeat_interleave(100, dim=-1)[..., :frames]
    assert torch.allclose(x @ average @ spread, expected, rtol=1e-5)
