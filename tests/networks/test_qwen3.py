"""Our Qwen3 against the one of transformers, with a small random model."""

import pytest
import seeded
import torch
from transformers import Qwen3Config as PublishedConfig
from transformers import Qwen3ForCausalLM

from ovconvert.networks.qwen3 import Qwen3Config, Qwen3Step

THETA = 50000.0


def published(tied: bool) -> Qwen3ForCausalLM:
    torch.manual_seed(11)
    config = PublishedConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
        tie_word_embeddings=tied,
    )
    model = Qwen3ForCausalLM(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3)  # the initial values leave attention nearly flat
    return model


def worst(model: Qwen3ForCausalLM, tied: bool, theta: float = THETA, offset: int = 0) -> float:
    """Largest error over a prefill of five and six single steps, each against the whole sequence at once."""
    state = {key: value for key, value in model.state_dict().items() if not (tied and key == "lm_head.weight")}
    config = Qwen3Config.from_shapes(seeded.shapes(state), rope_theta=theta)
    assert config.tied == tied
    step = seeded.build(Qwen3Step, config, state)
    ids = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(5))
    expected = model(ids).logits
    past = [torch.zeros(2, config.kv_heads, 0, config.head_dim)] * (2 * config.layers)
    errors, start = [], 0
    for stop in [5, *range(6, 12)]:
        positions = torch.arange(start, stop)[None].expand(2, -1) + (offset if start else 0)
        logits, *past = step(ids[:, start:stop], torch.ones(2, stop, dtype=torch.int64), positions, *past)
        errors.append(seeded.relative(logits, expected[:, stop - 1]))
        start = stop
    return max(errors)


@pytest.mark.parametrize("tied", [False, True])
def test_prefill_and_steps(tied: bool) -> None:
    assert worst(published(tied), tied) <= seeded.ONE_CALL


def test_notices_wrong_rotation_and_positions() -> None:
    model = published(False)
    assert worst(model, False, theta=10000.0) > seeded.ONE_CALL
    assert worst(model, False, offset=1) > seeded.ONE_CALL


def test_a_left_padded_row_equals_the_row_alone() -> None:
    model = published(False)
    step = seeded.build(
        Qwen3Step, Qwen3Config.from_shapes(seeded.shapes(model.state_dict()), rope_theta=THETA), model.state_dict()
    )
    past = [torch.zeros(1, 2, 0, 12)] * 6
    ids = torch.tensor([[7, 3, 9]])
    alone, *_ = step(ids, torch.ones(1, 3, dtype=torch.int64), torch.arange(3)[None], *past)
    padded = torch.tensor([[0, 0, 7, 3, 9]])
    masked, *_ = step(padded, torch.tensor([[0, 0, 1, 1, 1]]), torch.tensor([[0, 0, 0, 1, 2]]), *past)
    assert seeded.relative(masked, alone) <= 1e-5
