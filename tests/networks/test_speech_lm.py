"""The language model of speech tokens with what it reads: recorded states, token sequences, logits and cache."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import seeded
import torch
from torch import Tensor

from ovconvert.networks import relative_encoder
from ovconvert.networks.speaker_projection import SpeakerProjection, SpeakerProjectionConfig
from ovconvert.networks.speech_lm import SpeechLmConfig, SpeechLmSequence, SpeechLmStep
from ovconvert.networks.text_encoder import TextEncoder, TextEncoderConfig
from ovconvert.networks.token_embeddings import TokenEmbeddings, TokenEmbeddingsConfig

TOKENS, POSITIONS = 24, 70
CASES = ("sft", "zs", "instruct")


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.read("cosyvoice-tiny", "llm")


@pytest.fixture(scope="module")
def speakers() -> seeded.State:
    """The two speaker projections, one from each file."""
    states = {name: seeded.read("cosyvoice-tiny", name).state for name in ("llm", "flow")}
    return {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}


class Model:
    """Everything between text and codes, from one state."""

    def __init__(self, golden: seeded.Golden, speakers: seeded.State, state: seeded.State | None = None) -> None:
        state = golden.state if state is None else state
        shapes = seeded.shapes(state)
        self.vectors = golden.vectors
        self.text = seeded.build(TextEncoder, TextEncoderConfig.from_shapes(shapes), state)
        self.step = seeded.build(SpeechLmStep, SpeechLmConfig.from_shapes(shapes, positions=POSITIONS), state)
        self.codes = seeded.build(TokenEmbeddings, TokenEmbeddingsConfig.from_shapes(shapes), state)
        config = SpeakerProjectionConfig.from_shapes(seeded.shapes(speakers))
        self.speaker = seeded.build(SpeakerProjection, config, speakers)

    def given(self, case: str, name: str) -> Tensor | None:
        return self.vectors.get(f"{case}_{name}")

    def states(self, case: str) -> Tensor:
        prompt = self.given(case, "prompt_text")
        text = self.vectors[f"{case}_text"]
        return self.text(text if prompt is None else torch.cat((prompt, text), 1))

    def rows(self, case: str) -> Tensor:
        """Opening mark, speaker, text, second mark, prompt speech; what a case has not is left out."""
        mark = self.codes.config.codes
        parts = [self.codes(torch.tensor([[mark]]))]
        if (speaker := self.given(case, "embedding")) is not None:
            parts.append(self.speaker(speaker)[0])
        parts += [self.states(case), self.codes(torch.tensor([[mark + 1]]))]
        if (speech := self.given(case, "prompt_speech")) is not None:
            parts.append(self.codes(speech))
        return torch.cat(parts, 1)

    def none(self) -> list[Tensor]:
        trunk = self.step.config.trunk
        return [torch.zeros(1, trunk.heads, 0, trunk.head_dim)] * (2 * trunk.blocks)

    def call(self, embeds: Tensor, past: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        mask = torch.ones(1, past[0].shape[2] + embeds.shape[1], dtype=torch.int64)
        logits, hidden, *past = self.step(embeds, mask, *past)
        return logits, hidden, past

    def greedy(self, case: str) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Codes (24,), the logits (24, V) that they were chosen from, and the cache after the last call."""
        logits, _, past = self.call(self.rows(case), self.none())
        rows = [logits]
        while len(rows) < TOKENS:
            logits, _, past = self.call(self.codes(rows[-1].argmax(-1)[None]), past)
            rows.append(logits)
        found = torch.cat(rows)
        return found.argmax(-1), found, past


@pytest.fixture(scope="module")
def model(golden: seeded.Golden, speakers: seeded.State) -> Model:
    with torch.no_grad():
        return Model(golden, speakers)


@pytest.mark.parametrize("case", CASES)
def test_text_states_and_rows(model: Model, case: str) -> None:
    assert seeded.relative(model.states(case), model.vectors[f"{case}_text_encoder_out"]) <= seeded.ONE_CALL
    assert seeded.relative(model.rows(case), model.vectors[f"{case}_lm_input"]) <= seeded.ONE_CALL


def test_the_text_encoder_is_causal(model: Model) -> None:
    text = model.vectors["sft_text"]
    assert seeded.relative(model.text(text[:, :5]), model.text(text)[:, :5]) <= 1e-5


@pytest.mark.parametrize("case", CASES)
def test_prefill(model: Model, case: str) -> None:
    _, hidden, _ = model.call(model.vectors[f"{case}_lm_input"], model.none())
    assert seeded.relative(hidden, model.vectors[f"{case}_prefill_out"]) <= seeded.ONE_CALL


@pytest.mark.parametrize("case", CASES)
def test_greedy(model: Model, case: str) -> None:
    codes, logits, _ = model.greedy(case)
    assert torch.equal(codes, model.vectors[f"{case}_greedy_codes"])
    assert seeded.relative(logits, model.vectors[f"{case}_greedy_logits"]) <= seeded.ONE_CALL


def test_cache(model: Model) -> None:
    _, _, past = model.greedy("zs")
    packed = torch.stack([torch.cat((key, value), 3)[0] for key, value in zip(past[::2], past[1::2], strict=True)])
    assert seeded.relative(packed, model.vectors["zs_att_cache_last"]) <= seeded.ONE_CALL


def test_one_piece_equals_many(model: Model) -> None:
    rows = model.rows("zs")
    _, expected, _ = model.call(rows, model.none())
    past, start = model.none(), 0
    for stop in (5, 6, 13, rows.shape[1]):
        _, hidden, past = model.call(rows[:, start:stop], past)
        assert seeded.relative(hidden, expected[:, start:stop]) <= 1e-5
        start = stop


def test_sequence_equals_step(golden: seeded.Golden, model: Model) -> None:
    sequence = seeded.build(SpeechLmSequence, model.step.config, golden.state)
    rows = model.rows("instruct")
    everywhere, hidden = sequence(rows, torch.ones(rows.shape[:2], dtype=torch.int64))
    logits, state, _ = model.call(rows, model.none())
    assert seeded.relative(everywhere[:, -1], logits) <= 1e-5
    assert seeded.relative(hidden, state) <= 1e-5


def test_a_longer_table_changes_nothing(golden: seeded.Golden, model: Model) -> None:
    config = SpeechLmConfig.from_shapes(seeded.shapes(golden.state))
    longer = seeded.build(SpeechLmStep, config, golden.state)
    rows = model.rows("sft")
    mask = torch.ones(rows.shape[:2], dtype=torch.int64)
    assert config.positions > POSITIONS
    assert seeded.relative(longer(rows, mask)[0], model.step(rows, mask)[0]) <= 1e-6


def test_the_table_replaces_the_projection(model: Model) -> None:
    keys = list(model.step.state_dict())
    assert sum(key.endswith(".positions") for key in keys) == model.step.config.trunk.blocks
    assert not [key for key in keys if "linear_pos" in key]


@pytest.mark.parametrize(
    ("key", "factor"),
    [
        ("llm.encoders.2.self_attn.linear_pos.weight", 1.1),
        ("llm.encoders.0.self_attn.pos_bias_v", 3.0),
        ("llm.encoders.1.norm1.weight", 1.1),
        ("text_encoder.encoders.1.self_attn.linear_pos.weight", 1.1),
        ("text_encoder.encoders.0.self_attn.pos_bias_u", 3.0),
        ("llm_embedding.weight", 1.1),
    ],
)
def test_greedy_notices(golden: seeded.Golden, speakers: seeded.State, key: str, factor: float) -> None:
    _, logits, _ = Model(golden, speakers, seeded.scaled(golden.state, key, factor)).greedy("sft")
    assert seeded.relative(logits, golden.vectors["sft_greedy_logits"]) > seeded.ONE_CALL


@pytest.mark.parametrize(
    "wrong",
    [lambda distances, width: RIGHT(distances + 1, width), lambda distances, width: RIGHT(-distances, width)],
    ids=["one further", "backwards"],
)
def test_prefill_notices_wrong_distances(
    golden: seeded.Golden, speakers: seeded.State, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Tensor, int], Tensor]
) -> None:
    monkeypatch.setattr("ovconvert.networks.speech_lm.sinusoids", wrong)
    _, hidden, _ = (other := Model(golden, speakers)).call(golden.vectors["zs_lm_input"], other.none())
    assert seeded.relative(hidden, golden.vectors["zs_prefill_out"]) > seeded.ONE_CALL


RIGHT = relative_encoder.sinusoids


def test_every_published_key_is_owned(golden: seeded.Golden, speakers: seeded.State) -> None:
    shapes = seeded.shapes(golden.state)
    with torch.device("meta"):
        modules = [
            TextEncoder(TextEncoderConfig.from_shapes(shapes)),
            SpeechLmStep(SpeechLmConfig.from_shapes(shapes)),
            TokenEmbeddings(TokenEmbeddingsConfig.from_shapes(shapes)),
        ]
    left = seeded.unaccounted(golden.state, *modules)
    assert left == ["spk_embed_affine_layer.weight", "spk_embed_affine_layer.bias"]
    assert {f"llm.{key}" for key in left} <= set(speakers)
