"""The components: which network, which tensors it reads, which ports it has (spec section 11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ovconvert.networks import (
    f0_predictor,
    flow_unet,
    harmonic_source,
    hift,
    speaker_projection,
    speech_lm,
    stretch_regulator,
    text_encoder,
    token_embeddings,
    token_encoder,
)
from ovconvert.networks.shapes import below
from ovconvert.parts import FLOORS, Example, Part, Ports, Reads, Shapes, Sizes, floats, ids
from ovconvert.runtime.resize import linear_index
from ovconvert.spec import CacheSpec, Component, Dim, Port

HOP = 256  # samples per mel frame
SPEAKER = "spk_embed_affine_layer."  # in two files, with weights of its own in each

# Sizes that validation must pass; the i-th trial of every axis belongs to the i-th case. The traced sizes come first.
_FRAMES = Dim(24, (9, 33, 61))
DIMS: dict[str, Dim] = {
    "batch": Dim(2, (1, 3, 1)),
    "text_length": Dim(12, (1, 5, 33)),
    "sequence_length": Dim(6, (1, 1, 9)),
    "past_sequence_length": Dim(5, (17, 0, 0)),
    "code_length": Dim(20, (1, 13, 47)),
    "content_length": Dim(20, (9, 31, 13)),
    "target_length": Dim(34, (15, 53, 22)),
    "mel_frames": _FRAMES,
    "fbank_frames": Dim(98, (61, 250, 33)),
    "prompt_frames": Dim(50, (8, 31, 96)),
    "source_samples": Dim(HOP * _FRAMES.example, tuple(HOP * frames for frames in _FRAMES.trials)),
    "guidance_branches": Dim(2, (1, 2, 2)),
    "guidance_outputs": Dim(2, (1, 1, 2)),
}
GUIDANCE = {1: [[1.0]], 2: [[1.7, -0.7], [1.0, -1.0]]}  # branches -> weights of theirs, a row per output

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class GraphPart:
    """One component whose graph the checkpoint brings along (spec section 2)."""

    name: str
    role: str
    inputs: Ports
    outputs: Ports
    example: Callable[[Sizes, np.random.Generator], Example] = lambda sizes, rng: {}

    def component(self) -> Component:
        """Return the description of the component."""
        return Component(self.name, self.role, self.inputs, self.outputs, floor_db=FLOORS)


def _stretch_example(config: stretch_regulator.StretchRegulatorConfig, sizes: Sizes, rng: np.random.Generator) -> Example:
    index, fraction = linear_index(sizes["content_length"], sizes["target_length"])
    return {"index": index, "fraction": fraction}


def _estimator_example(config: flow_unet.FlowUNetConfig, sizes: Sizes, rng: np.random.Generator) -> Example:
    branches = sizes["guidance_branches"]
    return {
        "t": rng.uniform(0.0, 0.96, 1).astype(np.float32),
        "branch_mask": np.array([1.0, 0.0], np.float32)[:branches],
        "branch_weights": np.array(GUIDANCE[branches], np.float32)[: sizes["guidance_outputs"]],
    }


def _mel(mel: int, sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    """Return log-magnitudes as of speech: silence is at -11.5, vowels near 0."""
    return (rng.standard_normal((1, mel, sizes["mel_frames"])) * 2 - 5).astype(np.float32)


def _source_example(config: harmonic_source.HarmonicSourceConfig, sizes: Sizes, rng: np.random.Generator) -> Example:
    f0 = rng.uniform(-100.0, 300.0, (1, sizes["mel_frames"])).clip(min=0.0)
    return {"f0": f0.astype(np.float32), "phase": rng.uniform(-np.pi, np.pi, (1, config.harmonics)).astype(np.float32)}


def _vocoder_example(config: hift.HiftConfig, sizes: Sizes, rng: np.random.Generator) -> Example:
    source = 0.1 * rng.standard_normal((1, 1, sizes["source_samples"]))
    return {"mel": _mel(config.mel, sizes, rng), "source": source.astype(np.float32)}


def _hift_config(shapes: Shapes, settings: Settings) -> hift.HiftConfig:
    own = settings["hift"]
    return hift.HiftConfig.from_shapes(
        shapes,
        rates=tuple(own["upsample_rates"]),
        dilations=tuple(own["resblock_dilation_sizes"][0]),
        fft_hop=own["istft_params"]["hop_len"],
        slope=own["lrelu_slope"],
        limit=own["audio_limit"],
    )


def _source_config(shapes: Shapes, settings: Settings) -> harmonic_source.HarmonicSourceConfig:
    own = settings["hift"]
    return harmonic_source.HarmonicSourceConfig.from_shapes(
        shapes,
        hop=HOP,
        sample_rate=settings["sample_rate"],
        amplitude=own["nsf_alpha"],
        noise=own["nsf_sigma"],
        threshold=own["nsf_voiced_threshold"],
    )


DECODER = Part(
    "decoder",
    "step",
    (Reads("llm"),),
    lambda shapes, settings: speech_lm.SpeechLmConfig.from_shapes(shapes),
    speech_lm.SpeechLmStep,
    lambda config: (
        floats(("inputs_embeds", ("batch", "sequence_length", config.trunk.inputs)))
        + ids(("attention_mask", ("batch", "total_sequence_length"))),
        floats(
            ("logits", ("batch", config.vocabulary)),
            ("last_hidden_state", ("batch", "sequence_length", config.trunk.width)),
        ),
    ),
    cache=lambda config: CacheSpec(config.trunk.blocks, config.trunk.heads, config.trunk.head_dim),
    keep_fp=("llm_decoder.*",),
)
FULL_SEQUENCE_DECODER = replace(
    DECODER,
    network=speech_lm.SpeechLmSequence,
    ports=lambda config: (
        floats(("inputs_embeds", ("batch", "sequence_length", config.trunk.inputs)))
        + ids(("attention_mask", ("batch", "sequence_length"))),
        floats(
            ("logits", ("batch", "sequence_length", config.vocabulary)),
            ("last_hidden_state", ("batch", "sequence_length", config.trunk.width)),
        ),
    ),
    cache=lambda config: None,
)
GRAPH_PARTS: tuple[GraphPart, ...] = (
    GraphPart(
        "speaker_encoder",
        "frontend",
        floats(("fbank", (1, "fbank_frames", 80))),
        floats(("speaker", (1, 192))),
    ),
    GraphPart(
        "speech_tokenizer",
        "frontend",
        (*floats(("mel", (1, 128, "prompt_frames"))), Port("frames", "int32", (1,))),
        ids(("codes", (1, "prompt_codes"))),
        example=lambda sizes, rng: {"frames": np.array([sizes["prompt_frames"]], np.int32)},
    ),
)
PARTS: tuple[Part, ...] = (
    Part(
        "text_encoder",
        "encoder",
        (Reads("llm"),),
        lambda shapes, settings: text_encoder.TextEncoderConfig.from_shapes(shapes),
        text_encoder.TextEncoder,
        lambda config: (
            ids(("text_ids", (1, "text_length"))),
            floats(("states", (1, "text_length", config.width))),
        ),
        example=lambda config, sizes, rng: {"text_ids": rng.integers(0, config.tokens, (1, sizes["text_length"]))},
    ),
    Part(
        "speaker_projection",
        "encoder",
        tuple(Reads(name, SPEAKER, f"{name}.{SPEAKER}") for name in ("llm", "flow")),
        lambda shapes, settings: speaker_projection.SpeakerProjectionConfig.from_shapes(shapes),
        speaker_projection.SpeakerProjection,
        lambda config: (
            floats(("speaker", (1, config.speaker))),
            floats(("row", (1, 1, config.width)), ("flow_speaker", (1, config.mel))),
        ),
    ),
    Part(
        "speech_embeddings",
        "encoder",
        (Reads("llm"),),
        lambda shapes, settings: token_embeddings.TokenEmbeddingsConfig.from_shapes(shapes),
        token_embeddings.TokenEmbeddings,
        lambda config: (
            ids(("codes", ("batch", "sequence_length"))),
            floats(("inputs_embeds", ("batch", "sequence_length", config.width))),
        ),
        example=lambda config, sizes, rng: {
            "codes": rng.integers(0, config.codes + config.marks, (sizes["batch"], sizes["sequence_length"]))
        },
    ),
    DECODER,
    Part(
        "token_encoder",
        "encoder",
        (Reads("flow"),),
        lambda shapes, settings: token_encoder.TokenEncoderConfig.from_shapes(shapes),
        token_encoder.TokenEncoder,
        lambda config: (
            ids(("codes", (1, "code_length"))),
            floats(("content", (1, "code_length", config.mel))),
        ),
        example=lambda config, sizes, rng: {"codes": rng.integers(0, config.codes, (1, sizes["code_length"]))},
    ),
    Part(
        "length_regulator",
        "encoder",
        (Reads("flow"),),
        lambda shapes, settings: stretch_regulator.StretchRegulatorConfig.from_shapes(shapes),
        stretch_regulator.StretchRegulator,
        lambda config: (
            floats(("content", (1, "content_length", config.channels)))
            + ids(("index", ("target_length",)))
            + floats(("fraction", ("target_length",))),
            floats(("mu", (1, config.outputs, "target_length"))),
        ),
        example=_stretch_example,
    ),
    Part(
        "flow_estimator",
        "estimator",
        (Reads("flow", "decoder.estimator.", "estimator."),),
        lambda shapes, settings: flow_unet.FlowUNetConfig.from_shapes(
            below(shapes, "estimator."), head_dim=settings["flow"]["decoder"]["estimator"]["attention_head_dim"]
        ),
        lambda config: flow_unet.GuidedUNet(flow_unet.FlowUNet(config)),
        lambda config: (
            floats(
                ("x", (1, config.mel, "mel_frames")),
                ("cond", (1, config.mel, "mel_frames")),
                ("t", (1,)),
                ("speaker", (1, config.inputs - 3 * config.mel)),
                ("mu", (1, config.mel, "mel_frames")),
                ("branch_mask", ("guidance_branches",)),
                ("branch_weights", ("guidance_outputs", "guidance_branches")),
            ),
            floats(("velocity", ("guidance_outputs", config.mel, "mel_frames"))),
        ),
        example=_estimator_example,
        keep_fp=("estimator.time_mlp.*", "estimator.final_proj.*"),
    ),
    Part(
        "f0_predictor",
        "vocoder",
        (Reads("hift"),),
        lambda shapes, settings: f0_predictor.F0PredictorConfig.from_shapes(shapes),
        f0_predictor.F0Predictor,
        lambda config: (
            floats(("mel", (1, config.mel, "mel_frames"))),
            floats(("f0", (1, "mel_frames"))),
        ),
        example=lambda config, sizes, rng: {"mel": _mel(config.mel, sizes, rng)},
        keep_fp=(".*",),
    ),
    Part(
        "harmonic_source",
        "vocoder",
        (Reads("hift"),),
        _source_config,
        harmonic_source.HarmonicSource,
        lambda config: (
            floats(
                ("f0", (1, "mel_frames")),
                ("phase", (1, config.harmonics)),
                ("noise", (1, config.harmonics, "source_samples")),
            ),
            floats(("source", (1, 1, "source_samples"))),
        ),
        example=_source_example,
        keep_fp=(".*",),
    ),
    Part(
        "vocoder",
        "vocoder",
        (Reads("hift"),),
        _hift_config,
        hift.Hift,
        lambda config: (
            floats(("mel", (1, config.mel, "mel_frames")), ("source", (1, 1, "source_samples"))),
            floats(("waveform", (1, 1, "source_samples"))),
        ),
        example=_vocoder_example,
        keep_fp=("conv_post.*",),
    ),
)
