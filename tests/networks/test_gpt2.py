"""The language model with its prefix and its embeddings: recorded token sequences, logits and latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import seeded
import torch
from torch import Tensor, nn

from ovconvert.networks.gpt2 import Gpt2Config, Gpt2Sequence, Gpt2Step
from ovconvert.networks.prefix import Prefix, PrefixConfig, StylePrefix, StylePrefixConfig
from ovconvert.networks.speech_embeddings import SpeechEmbeddings, SpeechEmbeddingsConfig

TOKENS, PLACEHOLDER = 24, 1
Penalise = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module", params=["2", "25"])
def golden(request: pytest.FixtureRequest) -> seeded.Golden:
    return seeded.load(request.param, "gpt")


def positions_of_the_original(code: int) -> int:
    """The cached loop of the original counts the start token before it places the first code: 0, then 2, 3, ..."""
    return code + 2


class Model:
    """Everything between text and codes, from one state."""

    def __init__(self, golden: seeded.Golden, state: seeded.State | None = None) -> None:
        state = golden.state if state is None else state
        shapes, vectors = seeded.shapes(state), golden.vectors
        config = Gpt2Config.from_shapes(shapes, heads=golden.config["heads"])
        self.start = golden.config["start_mel_token"]
        self.stop = golden.config["stop_mel_token"]
        self.step = seeded.build(Gpt2Step, config, state)
        self.sequence = seeded.build(Gpt2Sequence, config, state)
        self.speech = seeded.build(SpeechEmbeddings, SpeechEmbeddingsConfig.from_shapes(shapes), state)
        self.prefix: nn.Module
        if "langs" in vectors:
            self.prefix = seeded.build(StylePrefix, StylePrefixConfig.from_shapes(shapes), state)
            given = (vectors["campplus_style"], vectors["emovec_alpha06"], vectors["text"], vectors["langs"])
        else:
            self.prefix = seeded.build(Prefix, PrefixConfig.from_shapes(shapes), state)
            given = (vectors["conditioning"], vectors["emovec_alpha06"], vectors["text"])
        self.rows = self.prefix(*given)

    def prefill(self) -> tuple[Tensor, list[Tensor]]:
        start = self.speech(torch.tensor([[self.start]]), torch.tensor([[0]]))
        embeds = torch.cat((self.rows, start), 1)
        config = self.step.config
        past = [torch.zeros(1, config.heads, 0, config.head_dim)] * (2 * config.layers)
        logits, _, *past = self.step(embeds, torch.ones(1, embeds.shape[1], dtype=torch.int64), *past)
        return logits, past

    def advance(self, codes: Tensor, position: int, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        embeds = self.speech(codes[:, None], torch.full((len(codes), 1), position))
        mask = torch.ones(len(codes), past[0].shape[2] + 1, dtype=torch.int64)
        logits, _, *past = self.step(embeds, mask, *past)
        return logits, past


def penalised(scores: Tensor, history: Tensor) -> Tensor:
    """Repetition penalty 10: what was seen is divided when positive, multiplied when negative."""
    seen = scores.gather(1, history)
    return scores.scatter(1, history, torch.where(seen < 0, seen * 10, seen / 10))


def greedy(
    model: Model,
    penalise: Penalise = lambda scores, _: scores,
    position: Callable[[int], int] = positions_of_the_original,
) -> tuple[Tensor, Tensor]:
    """Codes (1, 24) and the raw logits (1, 24, V) that they were chosen from."""
    logits, past = model.prefill()
    history = torch.tensor([[PLACEHOLDER, model.start]])
    codes, rows = [], [logits]
    for index in range(TOKENS):
        codes.append(penalise(rows[-1], history).argmax(-1))
        history = torch.cat((history, codes[-1][:, None]), 1)
        if index + 1 < TOKENS:
            logits, past = model.advance(codes[-1], position(index), past)
            rows.append(logits)
    return torch.stack(codes, 1), torch.stack(rows, 1)


def beam_search(model: Model, penalise: Penalise = penalised, beams: int = 3) -> tuple[Tensor, float]:
    """Deterministic search with length penalty 0; the stop token never comes up in the recorded case."""
    logits, past = model.prefill()
    logits, past = logits.expand(beams, -1), [part.expand(beams, -1, -1, -1) for part in past]
    history = torch.tensor([[PLACEHOLDER, model.start]]).expand(beams, -1)
    scores = torch.tensor([0.0, *[-1e9] * (beams - 1)])
    for index in range(TOKENS):
        total = penalise(logits.log_softmax(-1), history) + scores[:, None]
        scores, best = total.flatten().topk(beams)
        parents, codes = best // total.shape[1], best % total.shape[1]
        assert not (codes == model.stop).any()
        history = torch.cat((history[parents], codes[:, None]), 1)
        if index + 1 < TOKENS:
            logits, past = model.advance(codes, positions_of_the_original(index), [part[parents] for part in past])
    return history[:1, 2:], float(scores[0])


def test_greedy(golden: seeded.Golden) -> None:
    codes, logits = greedy(Model(golden))
    assert torch.equal(codes, golden.vectors["greedy_codes"])
    assert seeded.relative(logits, golden.vectors["greedy_logits"]) <= seeded.ONE_CALL


def test_greedy_with_repetition_penalty() -> None:
    golden = seeded.load("2", "gpt")
    codes, _ = greedy(Model(golden), penalised)
    assert torch.equal(codes, golden.vectors["greedy_rp10_codes"])


def test_beam_search(golden: seeded.Golden) -> None:
    codes, score = beam_search(Model(golden))
    assert torch.equal(codes, golden.vectors["beam3_rp10_codes"])
    assert abs(score / float(golden.vectors["beam3_score"]) - 1) <= seeded.ONE_CALL


def test_beam_search_notices_a_missing_penalty(golden: seeded.Golden) -> None:
    codes, _ = beam_search(Model(golden), lambda scores, _: scores)
    assert not torch.equal(codes, golden.vectors["beam3_rp10_codes"])


def test_greedy_notices_contiguous_positions(golden: seeded.Golden) -> None:
    _, logits = greedy(Model(golden), position=lambda code: code + 1)
    assert seeded.relative(logits, golden.vectors["greedy_logits"]) > seeded.ONE_CALL


@pytest.mark.parametrize(
    "change",
    [
        lambda state: seeded.swapped(state, "gpt.ln_f.", "final_norm."),
        lambda state: {**state, "gpt.ln_f.weight": torch.ones(80), "gpt.ln_f.bias": torch.zeros(80)},
        lambda state: seeded.scaled(state, "gpt.h.1.attn.c_attn.weight"),
        lambda state: seeded.scaled(state, "text_pos_embedding.emb.weight", 2.0),
        lambda state: {**state, **{key: state[key].flip(0) for key in state if key.startswith(("speed_emb", "lang_"))}},
    ],
    ids=["swapped norms", "without ln_f", "attention", "text positions", "speed or language rows"],
)
def test_greedy_notices(golden: seeded.Golden, change: Callable[[seeded.State], seeded.State]) -> None:
    _, logits = greedy(Model(golden, change(golden.state)))
    assert seeded.relative(logits, golden.vectors["greedy_logits"]) > seeded.ONE_CALL


def latent(model: Model, codes: Tensor) -> Tensor:
    """The second pass (spec 10.4): all codes between start and stop, positions 0, 1, 2, ..."""
    spoken = torch.cat((torch.tensor([[model.start]]), codes, torch.tensor([[model.stop]])), 1)
    embeds = torch.cat((model.rows, model.speech(spoken, torch.arange(spoken.shape[1])[None])), 1)
    _, hidden = model.sequence(embeds)
    return hidden[:, model.rows.shape[1] :][:, : codes.shape[1]]


def test_latent_pass() -> None:
    golden = seeded.load("2", "gpt")
    got = latent(Model(golden), golden.vectors["latent_codes"])
    assert seeded.relative(got, golden.vectors["latent"]) <= seeded.ONE_CALL


def test_latent_pass_notices_other_codes_and_norms() -> None:
    golden = seeded.load("2", "gpt")
    assert seeded.relative(latent(Model(golden), golden.vectors["greedy_codes"]), golden.vectors["latent"]) > seeded.ONE_CALL
    swapped = Model(golden, seeded.swapped(golden.state, "gpt.ln_f.", "final_norm."))
    assert seeded.relative(latent(swapped, golden.vectors["latent_codes"]), golden.vectors["latent"]) > seeded.ONE_CALL


def test_sequence_equals_step_in_one_piece_and_in_many(golden: seeded.Golden) -> None:
    model = Model(golden)
    everywhere, hidden = model.sequence(model.rows)
    config = model.step.config
    past = [torch.zeros(1, config.heads, 0, config.head_dim)] * (2 * config.layers)
    start = 0
    for stop in (5, 6, 13, model.rows.shape[1]):
        mask = torch.ones(1, stop, dtype=torch.int64)
        logits, state, *past = model.step(model.rows[:, start:stop], mask, *past)
        assert seeded.relative(logits, everywhere[:, stop - 1]) <= 1e-5
        assert seeded.relative(state, hidden[:, start:stop]) <= 1e-5
        start = stop


def test_a_masked_position_has_no_effect(golden: seeded.Golden) -> None:
    model = Model(golden)
    padded = torch.cat((torch.full_like(model.rows[:, :1], 9.0), model.rows), 1)
    mask = torch.ones(1, padded.shape[1], dtype=torch.int64)
    mask[:, 0] = 0
    logits, _ = model.sequence(padded, mask)
    assert seeded.relative(logits[:, 1:], model.sequence(model.rows)[0]) <= 1e-5


def test_every_published_key_is_owned_or_unused(golden: seeded.Golden) -> None:
    model = Model(golden)
    left = seeded.unaccounted(golden.state, model.step, model.speech, model.prefix)
    conditioners = ("conditioning_encoder.", "perceiver_encoder.", "emo")
    assert [key for key in left if not key.startswith(conditioners)] == []


def test_config_is_frozen(golden: seeded.Golden) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Gpt2Config.from_shapes(seeded.shapes(golden.state), heads=4).heads = 8
