import pytest
import seeded
import torch

from ovconvert.networks.semantic_codec import CodeEmbedding, SemanticCodecConfig, SemanticDecoder, SemanticEncoder


@pytest.fixture(scope="module", params=["2", "25"])
def golden(request: pytest.FixtureRequest) -> seeded.Golden:
    return seeded.load(request.param, "codec")


@pytest.fixture(scope="module")
def config(golden: seeded.Golden) -> SemanticCodecConfig:
    return SemanticCodecConfig.from_shapes(seeded.shapes(golden.state))


def test_quantize(golden: seeded.Golden, config: SemanticCodecConfig) -> None:
    codes, quantized = seeded.build(SemanticEncoder, config, golden.state)(golden.vectors["feat"])
    assert torch.equal(codes, golden.vectors["indices"])
    assert seeded.relative(quantized, golden.vectors["quantized"]) <= seeded.ONE_CALL


@pytest.mark.parametrize("key", ["encoder.0.convnext.1.gamma", "quantizer.quantizers.0.in_project.weight"])
def test_quantize_notices_a_changed_weight(golden: seeded.Golden, config: SemanticCodecConfig, key: str) -> None:
    state = {**golden.state, key: golden.state[key].flip(0)}
    codes, _ = seeded.build(SemanticEncoder, config, state)(golden.vectors["feat"])
    assert not torch.equal(codes, golden.vectors["indices"])


def content(golden: seeded.Golden, config: SemanticCodecConfig, state: seeded.State) -> float:
    """Error of the way back from codes: the table in 2.0, the decoder in 2.5."""
    network, name = (CodeEmbedding, "vq2emb") if config.downsample == 1 else (SemanticDecoder, "decoded")
    got = seeded.build(network, config, state)(golden.vectors["indices"])
    return seeded.relative(got, golden.vectors[name])


def test_back_from_codes(golden: seeded.Golden, config: SemanticCodecConfig) -> None:
    assert content(golden, config, golden.state) <= seeded.ONE_CALL


@pytest.mark.parametrize("key", ["codebook.weight", "out_project.weight"])
def test_back_from_codes_notices_a_changed_weight(golden: seeded.Golden, config: SemanticCodecConfig, key: str) -> None:
    state = seeded.scaled(golden.state, f"quantizer.quantizers.0.{key}")
    assert content(golden, config, state) > seeded.ONE_CALL


def test_every_published_key_is_owned_or_unused(golden: seeded.Golden, config: SemanticCodecConfig) -> None:
    for network in (SemanticEncoder, CodeEmbedding, SemanticDecoder):
        assert seeded.unaccounted(golden.state, seeded.build(network, config, golden.state)) == []
