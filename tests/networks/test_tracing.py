"""One trace of every network, made at one length, must compute the same as the network at other lengths."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import seeded
import torch
from torch import Tensor, nn

from ovconvert.networks.bigvgan import BigVgan, BigVganConfig
from ovconvert.networks.campplus import CamPlus, CamPlusConfig
from ovconvert.networks.conditioning import (
    EmotionConditioner,
    EmotionConditionerConfig,
    SpeakerConditioner,
    SpeakerConditionerConfig,
)
from ovconvert.networks.conformer import Conformer, ConformerConfig
from ovconvert.networks.dit import DiT, DiTConfig, GuidedEstimator
from ovconvert.networks.f0_predictor import F0Predictor, F0PredictorConfig
from ovconvert.networks.flow_unet import FlowUNet, FlowUNetConfig, GuidedUNet
from ovconvert.networks.gpt2 import Gpt2Config, Gpt2Sequence, Gpt2Step
from ovconvert.networks.harmonic_source import HarmonicSource, HarmonicSourceConfig
from ovconvert.networks.hift import Hift, HiftConfig
from ovconvert.networks.latent_projector import LatentProjector, LatentProjectorConfig
from ovconvert.networks.length_regulator import LengthRegulator, LengthRegulatorConfig
from ovconvert.networks.perceiver import Perceiver, PerceiverConfig
from ovconvert.networks.prefix import Prefix, PrefixConfig, StylePrefix, StylePrefixConfig
from ovconvert.networks.qwen3 import Qwen3Config, Qwen3Step
from ovconvert.networks.semantic_codec import CodeEmbedding, SemanticCodecConfig, SemanticDecoder, SemanticEncoder
from ovconvert.networks.speaker_projection import SpeakerProjection, SpeakerProjectionConfig
from ovconvert.networks.speech_embeddings import SpeechEmbeddings, SpeechEmbeddingsConfig
from ovconvert.networks.speech_lm import SpeechLmConfig, SpeechLmStep
from ovconvert.networks.stretch_regulator import StretchRegulator, StretchRegulatorConfig
from ovconvert.networks.text_encoder import TextEncoder, TextEncoderConfig
from ovconvert.networks.token_embeddings import TokenEmbeddings, TokenEmbeddingsConfig
from ovconvert.networks.token_encoder import TokenEncoder, TokenEncoderConfig
from ovconvert.networks.w2v_bert import SemanticFeatures, W2vBert, W2vBertConfig
from ovconvert.networks.wavenet import WaveNet, WaveNetConfig

TOLERANCE = 1e-5
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """`lengths`: the traced one first; `inputs` makes the arguments for one of them."""

    name: str
    module: Callable[[], nn.Module]
    inputs: Callable[..., Inputs]
    lengths: tuple[tuple[int, ...], ...]


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def ids(high: int, *shape: int) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(sum(shape)))


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.int64)


def seeded_module(
    network: type[nn.Module], config: Callable, version: str, component: str, prefix: str = "", **known: object
) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        golden = seeded.load(version, component) if version.isdigit() else seeded.read(version, component)
        state = golden.below(prefix)
        return seeded.build(network, config(seeded.shapes(state), **known), state)

    return cache(make)  # several tests look at it, and none changes it


def random_module(network: type[nn.Module], config: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        with torch.device("meta"):
            module = network(config)
        state = {key: 0.1 * draw(*value.shape) for key, value in module.state_dict().items()}
        state |= {key: value.abs() + 1 for key, value in state.items() if key == "var"}
        return seeded.fill(module, state)

    return cache(make)


def guided() -> nn.Module:
    return GuidedEstimator(ESTIMATOR())


def guided_unet() -> nn.Module:
    return GuidedUNet(UNET())


def masked(frames: int) -> Tensor:
    mask = ones(1, frames)
    mask[:, -1] = 0
    return mask


def gpt_step(batch: int, past: int, new: int) -> Inputs:
    return draw(batch, new, 80), ones(batch, past + new), *[draw(batch, 4, past, 20)] * 6


def speech_step(batch: int, past: int, new: int) -> Inputs:
    return draw(batch, new, 64), ones(batch, past + new), *[draw(batch, 4, past, 16)] * 6


def qwen_step(batch: int, past: int, new: int) -> Inputs:
    positions = torch.arange(past, past + new)[None].expand(batch, -1)
    return ids(61, batch, new), ones(batch, past + new), positions, *[draw(batch, 2, past, 12)] * 4


def estimate(batch: int, frames: int) -> Inputs:
    return (
        draw(batch, 80, frames),
        draw(batch, 80, frames),
        draw(batch).sigmoid(),
        draw(batch, 192),
        draw(batch, frames, 48),
    )


def guided_estimate(branches: int, heard: int, frames: int) -> Inputs:
    return (
        draw(1, 80, frames),
        draw(1, 80, heard),
        draw(1).sigmoid(),
        draw(1, 192),
        draw(1, heard, 48),
        draw(1, frames, 48),
        torch.tensor([1.0, 0.0, 0.5])[:branches],
        torch.tensor([[1.7, -0.7, 0.1]])[:, :branches],
    )


ESTIMATOR = seeded_module(DiT, DiTConfig.from_shapes, "2", "s2mel", "models.cfm.estimator.", heads=4)
TOKENS = "cosyvoice-tiny"
UNET = seeded_module(FlowUNet, FlowUNetConfig.from_shapes, TOKENS, "flow", "decoder.estimator.", head_dim=16)
ONE = ((40,), (57,), (131,))
PAST = ((1, 0, 7), (1, 7, 1), (3, 4, 5), (2, 0, 1))
QWEN = Qwen3Config(2, 32, 4, 2, 12, 48, 61, False, 1e6, 1e-6)
PROJECTOR = LatentProjectorConfig((80, 24, 16, 64), SemanticCodecConfig(64, 24, 48, 3, 128, 8, 1))
CODEC, W2V = SemanticCodecConfig.from_shapes, W2vBertConfig.from_shapes
STATISTICS = W2vBertConfig(160, 32, 48, 2, 16, 31, 2, 2, 64, 8)

CASES = (
    Case("w2v_bert", seeded_module(W2vBert, W2V, "2", "w2vbert", layers=5), lambda t: (draw(1, t, 160), masked(t)), ONE),
    Case("semantic_features", random_module(SemanticFeatures, STATISTICS), lambda t: (draw(1, t, 160), ones(1, t)), ONE),
    Case("codec_encoder", seeded_module(SemanticEncoder, CODEC, "2", "codec"), lambda t: (draw(1, t, 64),), ONE),
    Case("codec_encoder_25", seeded_module(SemanticEncoder, CODEC, "25", "codec"), lambda t: (draw(1, t, 64),), ONE),
    Case("codec_decoder_25", seeded_module(SemanticDecoder, CODEC, "25", "codec"), lambda t: (ids(128, 1, t),), ONE),
    Case("code_embedding", seeded_module(CodeEmbedding, CODEC, "2", "codec"), lambda t: (ids(128, 1, t),), ONE),
    Case(
        "campplus",
        seeded_module(CamPlus, CamPlusConfig.from_shapes, "2", "campplus"),
        lambda t: (draw(1, t, 80),),
        ((150,), (77,), (419,)),
    ),
    Case(
        "conformer",
        seeded_module(Conformer, ConformerConfig.from_shapes, "2", "gpt", "conditioning_encoder."),
        lambda t: (draw(1, t, 1024),),
        ONE,
    ),
    Case(
        "perceiver",
        seeded_module(Perceiver, PerceiverConfig.from_shapes, "2", "gpt", "perceiver_encoder."),
        lambda t: (draw(1, t, 32),),
        ONE,
    ),
    Case(
        "speaker_conditioner",
        seeded_module(SpeakerConditioner, SpeakerConditionerConfig.from_shapes, "2", "gpt"),
        lambda t: (draw(1, t, 1024),),
        ONE,
    ),
    Case(
        "emotion_conditioner",
        seeded_module(EmotionConditioner, EmotionConditionerConfig.from_shapes, "2", "gpt"),
        lambda t: (draw(1, t, 1024),),
        ONE,
    ),
    Case("gpt2_step", seeded_module(Gpt2Step, Gpt2Config.from_shapes, "2", "gpt", heads=4), gpt_step, PAST),
    Case(
        "gpt2_sequence",
        seeded_module(Gpt2Sequence, Gpt2Config.from_shapes, "2", "gpt", heads=4),
        lambda b, t: (draw(b, t, 80),),
        ((1, 12), (1, 1), (2, 31)),
    ),
    Case("qwen3_step", random_module(Qwen3Step, QWEN), qwen_step, PAST),
    Case(
        "prefix",
        seeded_module(Prefix, PrefixConfig.from_shapes, "2", "gpt"),
        lambda t: (draw(1, 32, 80), draw(1, 80), ids(200, 1, t)),
        ((17,), (1,), (38,)),
    ),
    Case(
        "style_prefix",
        seeded_module(StylePrefix, StylePrefixConfig.from_shapes, "25", "gpt"),
        lambda t: (draw(1, 192), draw(1, 80), ids(200, 1, t), torch.tensor([t])),
        ((17,), (1,), (38,)),
    ),
    Case(
        "speech_embeddings",
        seeded_module(SpeechEmbeddings, SpeechEmbeddingsConfig.from_shapes, "2", "gpt"),
        lambda b, t: (ids(130, b, t), ids(123, b, t)),
        ((1, 1), (3, 1), (1, 57)),
    ),
    Case("latent_projector", random_module(LatentProjector, PROJECTOR), lambda t: (draw(1, t, 80), ids(128, 1, t)), ONE),
    Case(
        "length_regulator",
        seeded_module(LengthRegulator, LengthRegulatorConfig.from_shapes, "2", "s2mel", "models.length_regulator."),
        lambda n, t: (draw(1, n, 1024), ids(n, t)),
        ((20, 34), (33, 57), (57, 33)),
    ),
    Case(
        "wavenet",
        seeded_module(WaveNet, WaveNetConfig.from_shapes, "2", "s2mel", "models.cfm.estimator.wavenet."),
        lambda t: (draw(1, 48, t), draw(1, 48, 1)),
        ((60,), (3,), (101,)),
    ),
    Case("dit", ESTIMATOR, estimate, ((2, 60), (1, 33), (3, 101))),
    Case("guided_estimator", guided, guided_estimate, ((2, 27, 60), (1, 5, 33), (3, 1, 101), (2, 40, 9))),
    Case(
        "bigvgan",
        seeded_module(BigVgan, BigVganConfig.from_shapes, "2", "bigvgan"),
        lambda t: (draw(1, 80, t),),
        ((12,), (7,), (25,)),
    ),
    Case(
        "text_encoder",
        seeded_module(TextEncoder, TextEncoderConfig.from_shapes, TOKENS, "llm"),
        lambda t: (ids(200, 1, t),),
        ((13,), (1,), (40,)),
    ),
    Case(
        "token_embeddings",
        seeded_module(TokenEmbeddings, TokenEmbeddingsConfig.from_shapes, TOKENS, "llm"),
        lambda b, t: (ids(130, b, t),),
        ((1, 5), (3, 1), (1, 40)),
    ),
    Case(
        "speaker_projection",
        random_module(SpeakerProjection, SpeakerProjectionConfig(192, 64, 80)),
        lambda: (draw(1, 192),),
        ((), ()),
    ),
    Case("speech_lm", seeded_module(SpeechLmStep, SpeechLmConfig.from_shapes, TOKENS, "llm"), speech_step, PAST),
    Case(
        "token_encoder",
        seeded_module(TokenEncoder, TokenEncoderConfig.from_shapes, TOKENS, "flow"),
        lambda t: (ids(128, 1, t),),
        ((30,), (1,), (80,)),
    ),
    Case(
        "stretch_regulator",
        seeded_module(StretchRegulator, StretchRegulatorConfig.from_shapes, TOKENS, "flow"),
        lambda n, t: (draw(1, n, 80), ids(n, t), draw(t).sigmoid()),
        ((30, 51), (1, 3), (80, 137)),
    ),
    Case(
        "guided_unet",
        guided_unet,
        lambda g, t: (
            *(draw(1, 80, t), draw(1, 80, t), draw(1).sigmoid(), draw(1, 80), draw(1, 80, t)),
            *(torch.tensor([1.0, 0.0, 0.5])[:g], torch.tensor([[1.7, -0.7, 0.1]])[:, :g]),
        ),
        ((2, 50), (1, 33), (3, 7), (2, 51)),
    ),
    Case(
        "f0_predictor",
        seeded_module(F0Predictor, F0PredictorConfig.from_shapes, TOKENS, "hift"),
        lambda t: (draw(1, 80, t),),
        ((12,), (1,), (25,)),
    ),
    Case(
        "harmonic_source",
        seeded_module(HarmonicSource, HarmonicSourceConfig.from_shapes, TOKENS, "hift"),
        lambda t: (200 * draw(1, t).relu(), draw(1, 9), draw(1, 9, 256 * t)),
        ((12,), (1,), (25,)),
    ),
    Case(
        "hift",
        seeded_module(Hift, HiftConfig.from_shapes, TOKENS, "hift"),
        lambda t: (draw(1, 80, t), draw(1, 1, 256 * t)),
        ((12,), (1,), (25,)),
    ),
)


def outputs(module: Callable, inputs: Inputs) -> list[Tensor]:
    given = module(*inputs)
    return [given] if isinstance(given, Tensor) else list(given)


def errors(module: nn.Module, inputs: Callable[..., Inputs], lengths: tuple[tuple[int, ...], ...]) -> list[float]:
    """Relative errors of the trace at every length but the traced one; infinite where it fails or may."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", torch.jit.TracerWarning)
        traced = torch.jit.trace(module, inputs(*lengths[0]), check_trace=False)
    # what the tracer warns of is a value that it could not follow and made a constant
    found = [float("inf") for warning in caught if issubclass(warning.category, torch.jit.TracerWarning)]
    for length in lengths[1:]:
        expected = outputs(module, inputs(*length))
        try:
            with torch.jit.optimized_execution(False):  # the nodes as traced; optimising for one call costs more than it
                actual = outputs(traced, inputs(*length))
        except RuntimeError:
            found.append(float("inf"))
            continue
        if [x.shape for x in actual] != [x.shape for x in expected]:
            found.append(float("inf"))
        found += [seeded.relative(a, b) for a, b in zip(actual, expected, strict=True) if a.shape == b.shape]
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_trace_holds_at_other_lengths(case: Case) -> None:
    assert max(errors(case.module(), case.inputs, case.lengths)) <= TOLERANCE


class _Unrolled(nn.Module):
    """What the networks avoid: a Python loop over time becomes as many nodes as the traced length."""

    def forward(self, x: Tensor) -> Tensor:
        return sum(x.unbind(1))


class _Frozen(nn.Module):
    """What the networks avoid: a length that went through a Python number stays in the graph as a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / float(x.shape[1])


def test_a_frozen_length_is_noticed() -> None:
    lengths = ((6,), (9,))
    for module in (_Unrolled(), _Frozen()):
        assert max(errors(module, lambda t: (draw(1, t, 4),), lengths)) > TOLERANCE


def test_every_network_file_is_traced() -> None:
    folder = seeded.FOLDER.parent.parent / "ovconvert" / "networks"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "attention", "shapes"}
    traced = {type(part).__module__.rsplit(".", 1)[-1] for case in CASES for part in case.module().modules()}
    ours = {"conditioning", "bigvgan", "campplus", "conformer", "dit", "gpt2", "latent_projector", "length_regulator"}
    ours |= {"perceiver", "prefix", "qwen3", "semantic_codec", "speech_embeddings", "w2v_bert", "wavenet"}
    ours |= {"text_encoder", "token_embeddings", "speaker_projection", "speech_lm", "relative_encoder", "token_encoder"}
    ours |= {"stretch_regulator", "group_norm", "flow_unet", "f0_predictor", "harmonic_source", "hift"}
    assert ours <= files & traced
