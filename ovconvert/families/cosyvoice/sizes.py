"""Sizes of seeded checkpoints: tiny for tests, full as published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ovconvert.networks.f0_predictor import F0PredictorConfig
from ovconvert.networks.flow_unet import FlowUNetConfig
from ovconvert.networks.harmonic_source import HarmonicSourceConfig
from ovconvert.networks.hift import HiftConfig
from ovconvert.networks.relative_encoder import RelativeEncoderConfig
from ovconvert.networks.speaker_projection import SpeakerProjectionConfig
from ovconvert.networks.speech_lm import POSITIONS, SpeechLmConfig
from ovconvert.networks.stretch_regulator import StretchRegulatorConfig
from ovconvert.networks.text_encoder import TextEncoderConfig
from ovconvert.networks.token_embeddings import TokenEmbeddingsConfig
from ovconvert.networks.token_encoder import TokenEncoderConfig

MEL, SPEAKER = 80, 192


@dataclass(frozen=True)
class Sizes:
    """What a size chooses; `text`, `trunk` and `tokens` are (heads, head width, feed-forward width, blocks)."""

    text_tokens: int
    ranks: int  # text tokens that are no special ones
    codes: int
    text_inputs: int
    token_inputs: int
    width: int
    text: tuple[int, int, int, int]
    trunk: tuple[int, int, int, int]
    tokens: tuple[int, int, int, int]
    unet: tuple[int, int, int, int, int]  # channels, heads, head width, transformers a stage, middle stages
    f0: int
    vocoder: int
    stop_bias: float  # of seeded weights, which would not stop by themselves

    def configs(self) -> dict[str, Any]:
        """Return the configuration of every part by its name."""
        channels, heads, head_dim, transformers, middle = self.unet
        codes, width = self.codes, self.width
        return {
            "text_encoder": TextEncoderConfig(self.text_tokens, width, _encoder(self.text_inputs, self.text)),
            "speaker_projection": SpeakerProjectionConfig(SPEAKER, width, MEL),
            "speech_embeddings": TokenEmbeddingsConfig(codes, 2, width),
            "decoder": SpeechLmConfig(_encoder(width, self.trunk), codes + 1, POSITIONS),
            "token_encoder": TokenEncoderConfig(codes, MEL, _encoder(self.token_inputs, self.tokens)),
            "length_regulator": StretchRegulatorConfig(MEL, MEL, 4),
            "flow_estimator": FlowUNetConfig(
                4 * MEL, MEL, 4 * channels, (channels, channels), transformers, middle, heads, head_dim, 4 * channels
            ),
            "f0_predictor": F0PredictorConfig(MEL, self.f0, 5),
            "harmonic_source": HarmonicSourceConfig(9),
            "vocoder": HiftConfig(
                mel=MEL,
                channels=self.vocoder,
                rates=(8, 8),
                kernels=(16, 16),
                block_kernels=(3, 7, 11),
                source_kernels=(16, 1),
                source_block_kernels=(7, 11),
                dilations=(1, 3, 5),
                fft=16,
                fft_hop=4,
                slope=0.1,
                limit=0.99,
            ),
        }


def _encoder(inputs: int, sizes: tuple[int, int, int, int]) -> RelativeEncoderConfig:
    heads, head_dim, inner, blocks = sizes
    return RelativeEncoderConfig(inputs, heads * head_dim, heads, head_dim, inner, blocks)


SIZES: dict[str, Sizes] = {
    "tiny": Sizes(
        text_tokens=300,
        ranks=256,
        codes=128,
        text_inputs=48,
        token_inputs=48,
        width=64,
        text=(4, 16, 160, 2),
        trunk=(4, 16, 192, 3),
        tokens=(4, 16, 160, 2),
        unet=(32, 4, 16, 2, 3),
        f0=48,
        vocoder=64,
        stop_bias=0.0,
    ),
    "full": Sizes(
        text_tokens=51866,
        ranks=50257,
        codes=4096,
        text_inputs=512,
        token_inputs=512,
        width=1024,
        text=(16, 64, 4096, 6),
        trunk=(16, 64, 4096, 14),
        tokens=(8, 64, 2048, 6),
        unet=(256, 8, 64, 4, 12),
        f0=512,
        vocoder=512,
        stop_bias=2.0,
    ),
}
