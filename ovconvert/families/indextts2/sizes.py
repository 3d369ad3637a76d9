"""Sizes of checkpoints: tiny for tests in seconds, full as published (spec section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ovconvert.networks import bigvgan, campplus, dit, length_regulator, qwen3, semantic_codec, w2v_bert, wavenet

EMOTION_GROUPS = (3, 17, 2, 8, 4, 5, 10, 24)
VARIANTS = ("2.0", "2.5")


@dataclass(frozen=True)
class Sizes:
    """What a checkpoint of one size is made of; the rest follows. The hop is the product of the vocoder's rates."""

    semantic: w2v_bert.W2vBertConfig
    codec: semantic_codec.SemanticCodecConfig
    speaker: campplus.CamPlusConfig
    width: int
    layers: int
    heads: int
    text_tokens: int  # of version 2.0 and 2.5
    text_tokens_25: int
    max_text: int
    max_speech: int
    conformer: tuple[int, int, int, int]  # width, heads, feed-forward width, blocks
    emotion_conformer: tuple[int, int, int, int]
    emotion_perceiver: tuple[int, int]  # width, heads
    sinusoids: int
    projector: tuple[int, ...]
    regulator: length_regulator.LengthRegulatorConfig
    regulator_rows: int
    estimator: dit.DiTConfig
    estimator_rows: int
    vocoder: bigvgan.BigVganConfig
    classifier: qwen3.Qwen3Config
    stop_bias: float  # of seeded weights, which would not stop by themselves
    sample_rate: int = 22050  # of the mel and of the speech
    n_fft: int = 1024
    win_length: int = 1024
    fmin: int = 0
    fmax: int | None = None  # None: half the sample rate
    emotion_groups: tuple[int, ...] = EMOTION_GROUPS  # stored vectors per emotion
    length_ratio: float | None = None  # mel frames per content frame; None: the original's, which is not written down


def _campplus(channels: int, tdnn: int, layers: tuple[int, ...], bottleneck: int, growth: int) -> campplus.CamPlusConfig:
    """Return CAM++ sizes: every transit halves what its dense block has grown to."""
    transits: list[int] = []
    width = tdnn
    for count in layers:
        width = (width + count * growth) // 2
        transits.append(width)
    return campplus.CamPlusConfig(
        channels=channels,
        head_blocks=(2, 2),
        head_out=channels * 10,
        tdnn=tdnn,
        tdnn_kernel=5,
        layers=layers,
        bottleneck=bottleneck,
        growth=growth,
        kernel=3,
        context=bottleneck // 2,
        dilations=(1, 2, 2),
        transits=tuple(transits),
        embedding=192,
    )


def _estimator(width: int, heads: int, depth: int, content: int, wavenet_layers: int) -> dit.DiTConfig:
    return dit.DiTConfig(
        width=width,
        heads=heads,
        head_dim=width // heads,
        inner=256 * math.ceil(int(2 / 3 * 4 * width) / 256),
        depth=depth,
        mel=80,
        content=content,
        style=192,
        frequencies=128,
        wavenet=wavenet.WaveNetConfig(width=width, layers=wavenet_layers, kernel=5),
    )


def _vocoder(
    channels: int, rates: tuple[int, ...], block_kernels: tuple[int, ...], dilations: tuple[int, ...]
) -> bigvgan.BigVganConfig:
    kernels = tuple(2 * rate for rate in rates)
    return bigvgan.BigVganConfig(80, channels, rates, kernels, block_kernels, dilations, False, True, False)


SIZES: dict[str, Sizes] = {
    "tiny": Sizes(
        semantic=w2v_bert.W2vBertConfig(160, 64, 96, 4, 16, 31, 18, 18, 64, 8),
        codec=semantic_codec.SemanticCodecConfig(64, 24, 48, 3, 128, 8, 1),
        speaker=_campplus(8, 32, (3, 4, 3), 32, 8),
        width=80,
        layers=3,
        heads=4,
        text_tokens=300,
        text_tokens_25=2000,
        max_text=130,
        max_speech=300,
        conformer=(32, 4, 64, 2),
        emotion_conformer=(32, 2, 48, 2),
        emotion_perceiver=(64, 2),
        sinusoids=400,
        projector=(80, 32, 16, 64),
        regulator=length_regulator.LengthRegulatorConfig(64, 48, 48, 4),
        regulator_rows=64,
        estimator=_estimator(48, 4, 5, 48, 3),
        estimator_rows=16,
        vocoder=_vocoder(64, (8, 8, 4), (3, 7), (1, 3)),  # the published depth would be half of an export's time
        classifier=qwen3.Qwen3Config(2, 32, 4, 2, 8, 64, 640, True, 1e6, 1e-6),
        stop_bias=-0.5,
    ),
    "full": Sizes(
        semantic=w2v_bert.W2vBertConfig(160, 1024, 4096, 16, 64, 31, 24, 24, 64, 8),
        codec=semantic_codec.SemanticCodecConfig(1024, 384, 2048, 12, 8192, 8, 1),
        speaker=_campplus(32, 128, (12, 24, 16), 128, 32),
        width=1280,
        layers=24,
        heads=20,
        text_tokens=12000,
        text_tokens_25=60509,
        max_text=600,
        max_speech=1815,
        conformer=(512, 8, 2048, 6),
        emotion_conformer=(512, 4, 1024, 4),
        emotion_perceiver=(1024, 4),
        sinusoids=5000,
        projector=(1280, 256, 128, 1024),
        regulator=length_regulator.LengthRegulatorConfig(1024, 512, 512, 4),
        regulator_rows=2048,
        estimator=_estimator(512, 8, 13, 512, 8),
        estimator_rows=1024,
        vocoder=_vocoder(1536, (4, 4, 2, 2, 2, 2), (3, 7, 11), (1, 3, 5)),
        classifier=qwen3.Qwen3Config(28, 1024, 16, 8, 128, 3072, 151936, True, 1e6, 1e-6),
        stop_bias=1.0,
    ),
}
