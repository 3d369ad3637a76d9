"""The flow of speech tokens to a log-mel: encoder, length regulator, one estimate, and whole solves."""

from __future__ import annotations

import pytest
import seeded
import torch
from torch import Tensor

from ovconvert.networks.flow_unet import FlowUNet, FlowUNetConfig, GuidedUNet
from ovconvert.networks.speaker_projection import SpeakerProjection, SpeakerProjectionConfig
from ovconvert.networks.stretch_regulator import StretchRegulator, StretchRegulatorConfig
from ovconvert.networks.token_encoder import TokenEncoder, TokenEncoderConfig
from ovconvert.runtime.resize import linear_pieces

# (tokens, frames): the prompt has a stretch of its own, and of more than forty tokens the ends have
PIECES = {"sft": [(30, 51)], "zs": [(25, 43), (20, 34), (15, 26), (20, 34)]}
ESTIMATOR = "decoder.estimator."
STRENGTH = 0.7


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.read("cosyvoice-tiny", "flow")


def codes(golden: seeded.Golden, case: str) -> Tensor:
    given = [golden.vectors[name] for name in (f"{case}_prompt_token", f"{case}_token") if name in golden.vectors]
    return torch.cat(given, 1)


def encoded(golden: seeded.Golden, case: str, state: seeded.State) -> Tensor:
    return seeded.build(TokenEncoder, TokenEncoderConfig.from_shapes(seeded.shapes(state)), state)(codes(golden, case))


def regulated(golden: seeded.Golden, case: str, state: seeded.State, pieces: list[tuple[int, int]]) -> Tensor:
    module = seeded.build(StretchRegulator, StretchRegulatorConfig.from_shapes(seeded.shapes(state)), state)
    index, fraction = linear_pieces(pieces)
    return module(golden.vectors[f"{case}_encoder_out"], torch.from_numpy(index), torch.from_numpy(fraction))


def estimator(state: seeded.State) -> FlowUNet:
    own = seeded.below(state, ESTIMATOR)
    return seeded.build(FlowUNet, FlowUNetConfig.from_shapes(seeded.shapes(own), head_dim=16), own)


def estimate(golden: seeded.Golden, state: seeded.State) -> Tensor:
    return estimator(state)(*(golden.vectors[f"est_{name}"] for name in ("x", "mu", "t", "spks", "cond")))


@pytest.mark.parametrize("case", PIECES)
def test_token_encoder(golden: seeded.Golden, case: str) -> None:
    assert seeded.relative(encoded(golden, case, golden.state), golden.vectors[f"{case}_encoder_out"]) <= seeded.ONE_CALL


@pytest.mark.parametrize(
    "key", ["encoder.encoders.1.self_attn.linear_pos.weight", "encoder.encoders.0.feed_forward.w_2.weight"]
)
def test_token_encoder_notices(golden: seeded.Golden, key: str) -> None:
    changed = encoded(golden, "zs", seeded.scaled(golden.state, key))
    assert seeded.relative(changed, golden.vectors["zs_encoder_out"]) > seeded.ONE_CALL


def test_the_token_encoder_sees_the_future(golden: seeded.Golden) -> None:
    module = seeded.build(TokenEncoder, TokenEncoderConfig.from_shapes(seeded.shapes(golden.state)), golden.state)
    tokens = codes(golden, "sft")
    assert seeded.relative(module(tokens[:, :9]), module(tokens)[:, :9]) > seeded.ONE_CALL


@pytest.mark.parametrize("case", PIECES)
def test_regulator(golden: seeded.Golden, case: str) -> None:
    frames = regulated(golden, case, golden.state, PIECES[case])
    assert seeded.relative(frames, golden.vectors[f"{case}_mu"]) <= seeded.ONE_CALL


def test_regulator_notices_one_stretch_and_a_changed_weight(golden: seeded.Golden) -> None:
    expected = golden.vectors["zs_mu"]
    assert seeded.relative(regulated(golden, "zs", golden.state, [(80, 137)]), expected) > seeded.ONE_CALL
    changed = seeded.scaled(golden.state, "length_regulator.model.10.weight")
    assert seeded.relative(regulated(golden, "zs", changed, PIECES["zs"]), expected) > seeded.ONE_CALL


def test_estimate(golden: seeded.Golden) -> None:
    assert seeded.relative(estimate(golden, golden.state), golden.vectors["est_out"]) <= seeded.ONE_CALL


@pytest.mark.parametrize(
    "key",
    [
        "time_mlp.linear_1.weight",
        "down_blocks.0.2.conv.weight",
        "mid_blocks.2.0.mlp.1.weight",
        "mid_blocks.1.1.1.attn1.to_q.weight",
        "up_blocks.0.0.res_conv.weight",
        "up_blocks.0.2.conv.weight",
        "final_block.block.1.weight",
    ],
)
def test_estimate_notices(golden: seeded.Golden, key: str) -> None:
    changed = estimate(golden, seeded.scaled(golden.state, ESTIMATOR + key, 1.5))
    assert seeded.relative(changed, golden.vectors["est_out"]) > seeded.ONE_CALL


def speaker(golden: seeded.Golden, case: str) -> Tensor:
    both = ((name, seeded.read("cosyvoice-tiny", name).state) for name in ("llm", "flow"))
    state = {f"{name}.{key}": value for name, own in both for key, value in own.items()}
    config = SpeakerProjectionConfig.from_shapes(seeded.shapes(state))
    return seeded.build(SpeakerProjection, config, state)(golden.vectors[f"{case}_embedding"])[1]


@pytest.mark.parametrize("case", PIECES)
def test_speaker(golden: seeded.Golden, case: str) -> None:
    assert seeded.relative(speaker(golden, case), golden.vectors[f"{case}_spk80"]) <= seeded.ONE_CALL


def solved(golden: seeded.Golden, case: str, strength: float = STRENGTH) -> Tensor:
    """Ten Euler steps at cosine times from the recorded noise; the frames behind the prompt."""
    guided, vectors = GuidedUNet(estimator(golden.state)), golden.vectors
    x, mu = vectors[f"{case}_z"], vectors[f"{case}_mu"]
    prompt = vectors.get(f"{case}_prompt_feat", torch.zeros(1, 0, x.shape[1])).transpose(1, 2)
    cond = torch.cat((prompt, torch.zeros_like(x[:, :, prompt.shape[2] :])), 2)
    mask, weights = torch.tensor([1.0, 0.0]), torch.tensor([[1 + strength, -strength]])
    for t, end in zip(vectors["t_span"][:-1], vectors["t_span"][1:], strict=True):
        x = x + (end - t) * guided(x, cond, t[None], vectors[f"{case}_spk80"], mu, mask, weights)
    return x[:, :, prompt.shape[2] :]


@pytest.mark.parametrize("case", PIECES)
def test_solve(golden: seeded.Golden, case: str) -> None:
    assert seeded.relative(solved(golden, case), golden.vectors[f"{case}_mel"]) <= seeded.WHOLE_SOLVE


def test_solve_notices_another_guidance(golden: seeded.Golden) -> None:
    assert seeded.relative(solved(golden, "sft", 0.5), golden.vectors["sft_mel"]) > seeded.WHOLE_SOLVE


def test_a_branch_alone_is_the_estimate(golden: seeded.Golden) -> None:
    plain, vectors = estimator(golden.state), golden.vectors
    x, mu, t, speakers, cond = (vectors[f"est_{name}"][:1] for name in ("x", "mu", "t", "spks", "cond"))
    alone = GuidedUNet(plain)(x, cond, t, speakers, mu, torch.ones(1), torch.ones(1, 1))
    assert seeded.relative(alone, plain(x, mu, t, speakers, cond)) <= 1e-5


def test_every_published_key_is_owned(golden: seeded.Golden) -> None:
    shapes = seeded.shapes(golden.state)
    with torch.device("meta"):
        modules = [TokenEncoder(TokenEncoderConfig.from_shapes(shapes))]
        modules.append(StretchRegulator(StretchRegulatorConfig.from_shapes(shapes)))
    own = seeded.below(golden.state, ESTIMATOR)
    assert seeded.unaccounted(own, estimator(golden.state)) == []
    left = seeded.unaccounted(golden.state, *modules)
    assert [key for key in left if not key.startswith((ESTIMATOR, "spk_embed_affine_layer."))] == []
