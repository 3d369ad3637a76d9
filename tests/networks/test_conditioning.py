"""Conformer, perceiver and the emotion linears, through the two conditioners that they form."""

import pytest
import seeded

from ovconvert.networks.conditioning import (
    EmotionConditioner,
    EmotionConditionerConfig,
    SpeakerConditioner,
    SpeakerConditionerConfig,
)

SPEAKER = (SpeakerConditioner, SpeakerConditionerConfig, "spk_cond", "conditioning")
EMOTION_SPEAKER = (EmotionConditioner, EmotionConditionerConfig, "spk_cond", "emovec_spk")
EMOTION = (EmotionConditioner, EmotionConditionerConfig, "emo_cond", "emovec_emo")


@pytest.fixture(scope="module")
def golden() -> seeded.Golden:
    return seeded.load("2", "gpt")


def error(golden: seeded.Golden, case: tuple[type, type, str, str], state: seeded.State) -> float:
    network, config, given, expected = case
    module = seeded.build(network, config.from_shapes(seeded.shapes(state)), state)
    return seeded.relative(module(golden.vectors[given]), golden.vectors[expected])


@pytest.mark.parametrize("case", [SPEAKER, EMOTION_SPEAKER, EMOTION], ids=lambda case: case[3])
def test_equals_recording(golden: seeded.Golden, case: tuple[type, type, str, str]) -> None:
    assert error(golden, case, golden.state) <= seeded.ONE_CALL


@pytest.mark.parametrize(
    ("case", "key"),
    [
        (SPEAKER, "conditioning_encoder.embed.pos_enc.pe"),
        (SPEAKER, "conditioning_encoder.encoders.0.self_attn.pos_bias_v"),
        (SPEAKER, "conditioning_encoder.encoders.1.self_attn.pos_bias_u"),
        (SPEAKER, "perceiver_encoder.layers.1.1.0.weight"),
        (SPEAKER, "perceiver_encoder.norm.gamma"),
        (EMOTION, "emo_conditioning_encoder.encoders.1.conv_module.depthwise_conv.weight"),
        (EMOTION, "emo_perceiver_encoder.layers.0.0.to_kv.weight"),
        (EMOTION, "emovec_layer.weight"),
    ],
    ids=str,
)
def test_notices_a_changed_weight(golden: seeded.Golden, case: tuple[type, type, str, str], key: str) -> None:
    assert error(golden, case, seeded.scaled(golden.state, key, 3.0)) > seeded.ONE_CALL


def test_notices_swapped_norms(golden: seeded.Golden) -> None:
    block = "conditioning_encoder.encoders.0."
    state = seeded.swapped(golden.state, block + "norm_mha.", block + "norm_conv.")
    assert error(golden, SPEAKER, state) > seeded.ONE_CALL
