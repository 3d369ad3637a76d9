import pytest
import seeded
import torch

from ovconvert.networks.w2v_bert import SemanticFeatures, W2vBert, W2vBertConfig


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.load("2", "w2vbert")


def error(golden: seeded.Golden, state: seeded.State, layers: int = 17, mask: torch.Tensor | None = None) -> float:
    config = W2vBertConfig.from_shapes(seeded.shapes(state), layers=layers)
    mask = golden.vectors["attention_mask"] if mask is None else mask
    hidden = seeded.build(W2vBert, config, state)(golden.vectors["features"], mask)
    return seeded.relative(hidden, golden.vectors["hidden17"])


def test_hidden_state_17(golden: seeded.Golden) -> None:
    assert error(golden, golden.state) <= seeded.ONE_CALL


@pytest.mark.parametrize(
    "key",
    ["feature_projection.projection.weight", "encoder.layers.16.conv_module.pointwise_conv2.weight"]
    + [f"encoder.layers.8.self_attn.{part}.weight" for part in ("linear_q", "distance_embedding")],
)
def test_notices_a_changed_weight(golden: seeded.Golden, key: str) -> None:
    assert error(golden, seeded.scaled(golden.state, key, 1.5)) > seeded.ONE_CALL


def test_notices_a_reversed_kernel(golden: seeded.Golden) -> None:
    key = "encoder.layers.16.conv_module.depthwise_conv.weight"  # its length cannot show: a norm follows it
    assert error(golden, {**golden.state, key: golden.state[key].flip(-1)}) > seeded.ONE_CALL


def test_notices_another_depth(golden: seeded.Golden) -> None:
    assert error(golden, golden.state, layers=18) > seeded.ONE_CALL


def test_notices_a_missing_mask(golden: seeded.Golden) -> None:
    assert golden.vectors["attention_mask"].min() == 0
    assert error(golden, golden.state, mask=torch.ones_like(golden.vectors["attention_mask"])) > seeded.ONE_CALL


def test_every_published_key_is_owned_or_unused(golden: seeded.Golden) -> None:
    config = W2vBertConfig.from_shapes(seeded.shapes(golden.state), layers=17)
    module = seeded.build(W2vBert, config, golden.state)
    assert seeded.unaccounted(golden.state, module) == []
    assert "encoder.layers.17.*" in module.UNUSED


def test_distances_that_do_not_fit_are_refused(golden: seeded.Golden) -> None:
    with pytest.raises(ValueError, match="73 rows"):
        W2vBertConfig.from_shapes(seeded.shapes(golden.state), left=32)


def test_statistics_are_applied_last(golden: seeded.Golden) -> None:
    width = golden.config["hidden_size"]
    statistics = {"mean": torch.linspace(-1, 1, width), "var": torch.linspace(0.5, 2, width)}
    config = W2vBertConfig.from_shapes(seeded.shapes(golden.state), layers=17)
    module = seeded.build(SemanticFeatures, config, {**golden.state, **statistics})
    got = module(golden.vectors["features"], golden.vectors["attention_mask"])
    expected = (golden.vectors["hidden17"] - statistics["mean"]) / statistics["var"].sqrt()
    assert seeded.relative(got, expected) <= seeded.ONE_CALL
