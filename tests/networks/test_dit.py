from itertools import pairwise

import pytest
import seeded
import torch
from torch import Tensor

from ovconvert.networks.dit import DiT, DiTConfig, GuidedEstimator

GUIDED = (torch.tensor([1.0, 0.0]), torch.tensor([[1.7, -0.7]]))
PLAIN = (torch.tensor([1.0]), torch.tensor([[1.0]]))


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.load("2", "s2mel")


@pytest.fixture(scope="module")
def state(golden: seeded.Golden) -> seeded.State:
    return golden.below("models.cfm.estimator.")


def build(golden: seeded.Golden, state: seeded.State) -> DiT:
    heads = golden.config["DiT"]["num_heads"]
    return seeded.build(DiT, DiTConfig.from_shapes(seeded.shapes(state), heads=heads), state)


def error(golden: seeded.Golden, state: seeded.State) -> float:
    given = (golden.vectors[f"est_{name}"] for name in ("x", "prompt_x", "t", "style", "mu"))
    return seeded.relative(build(golden, state)(*given), golden.vectors["est_out"])


def test_estimator(golden: seeded.Golden, state: seeded.State) -> None:
    assert error(golden, state) <= seeded.ONE_CALL


@pytest.mark.parametrize(
    "key",
    [
        "transformer.layers.3.skip_in_linear.weight",
        "transformer.layers.2.attention.wqkv.weight",
        "t_embedder.freqs",
        "t_embedder2.mlp.2.weight",
        "wavenet.res_skip_layers.2.conv.conv.weight",
        "final_layer.adaLN_modulation.1.weight",
    ],
)
def test_estimator_notices_a_changed_weight(golden: seeded.Golden, state: seeded.State, key: str) -> None:
    assert error(golden, seeded.scaled(state, key)) > seeded.ONE_CALL


def test_estimator_notices_crossed_skips(golden: seeded.Golden, state: seeded.State) -> None:
    layer = "transformer.layers.{}.skip_in_linear."
    assert error(golden, seeded.swapped(state, layer.format(3), layer.format(4))) > seeded.ONE_CALL


def test_every_published_key_is_owned_or_unused(golden: seeded.Golden, state: seeded.State) -> None:
    module = build(golden, state)
    assert seeded.unaccounted(state, module) == []
    assert not set(module.state_dict()) & {"transformer.layers.2.skip_in_linear.weight", "x_embedder.weight"}


def solve(golden: seeded.Golden, state: seeded.State, steps: int, branches: tuple[Tensor, Tensor]) -> Tensor:
    """Uniform Euler steps; the prompt's frames stay zero (spec section 13.2)."""
    vectors = golden.vectors
    estimator = GuidedEstimator(build(golden, state))
    prompt = vectors["prompt"]
    frames = prompt.shape[2]
    x = vectors["z"][:, :, frames:].clone()
    mu, style = vectors["est_mu"][:1], vectors["est_style"][:1]
    times = torch.linspace(0, 1, steps + 1)
    for now, later in pairwise(times):
        x = x + (later - now) * estimator(x, prompt, now[None], style, mu[:, :frames], mu[:, frames:], *branches)
    return torch.cat((torch.zeros_like(prompt), x), 2)


SOLVES = [("mel_n4_cfg0.7", 4, GUIDED), ("mel_n3_cfg0.0", 3, PLAIN)]


@pytest.mark.parametrize(("name", "steps", "branches"), SOLVES)
def test_solve(golden: seeded.Golden, state: seeded.State, name: str, steps: int, branches: tuple) -> None:
    assert seeded.relative(solve(golden, state, steps, branches), golden.vectors[name]) <= seeded.WHOLE_SOLVE


@pytest.mark.parametrize(
    ("name", "steps", "branches"),
    [(name, steps, other) for (name, steps, _), other in zip(SOLVES, (PLAIN, GUIDED), strict=True)],
)
def test_solve_notices_other_guidance(
    golden: seeded.Golden, state: seeded.State, name: str, steps: int, branches: tuple
) -> None:
    assert seeded.relative(solve(golden, state, steps, branches), golden.vectors[name]) > seeded.WHOLE_SOLVE


def test_guidance_zero_equals_one_branch(golden: seeded.Golden, state: seeded.State) -> None:
    both = (torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0]]))
    assert seeded.relative(solve(golden, state, 1, both), solve(golden, state, 1, PLAIN)) <= 1e-6


@pytest.mark.parametrize("wanted", [7, 20, 60])
def test_the_last_frames_alone(golden: seeded.Golden, state: seeded.State, wanted: int) -> None:
    # fewer frames than the head reaches, and more, up to all
    given = [golden.vectors[f"est_{name}"] for name in ("x", "prompt_x", "t", "style", "mu")]
    estimator = build(golden, state)
    wanted = min(wanted, given[0].shape[2])
    assert seeded.relative(estimator(*given, wanted), golden.vectors["est_out"][:, :, -wanted:]) <= seeded.ONE_CALL


def test_the_head_reaches_as_far_as_it_says(golden: seeded.Golden, state: seeded.State) -> None:
    given = [golden.vectors[f"est_{name}"] for name in ("x", "prompt_x", "t", "style", "mu")]
    estimator = build(golden, state)
    estimator.reach -= estimator.config.wavenet.kernel // 2
    assert seeded.relative(estimator(*given, 7), golden.vectors["est_out"][:, :, -7:]) > seeded.ONE_CALL
