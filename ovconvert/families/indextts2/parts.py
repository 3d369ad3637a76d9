"""The components of both versions: which network, which tensors it reads, which ports it has (spec section 16.1)."""

from __future__ import annotations

import numpy as np

from ovconvert.families.indextts2.layout import Contents
from ovconvert.families.indextts2.reach import vocoder_reach
from ovconvert.networks import (
    bigvgan,
    campplus,
    conditioning,
    dit,
    gpt2,
    latent_projector,
    length_regulator,
    prefix,
    qwen3,
    semantic_codec,
    speech_embeddings,
    w2v_bert,
)
from ovconvert.networks.shapes import below
from ovconvert.parts import Example, Part, Ports, Reads, Shapes, Sizes, floats, ids
from ovconvert.runtime.resize import nearest_index
from ovconvert.spec import CacheSpec, Dim

SEMANTIC_LAYERS = 17  # hidden_states[17], the output of the seventeenth layer (spec section 5)
DOWNSAMPLE = 2  # of the codec of version 2.5, whose files alone have the resampling convolutions (spec section 17)

# Sizes that validation must pass; the i-th trial of every axis belongs to the i-th case. The traced sizes come first.
# Odd lengths, lengths below any kernel, and an empty cache are among them.
DIMS: dict[str, Dim] = {
    "batch": Dim(2, (1, 3, 1)),
    "semantic_frames": Dim(50, (7, 31, 96)),
    "fbank_frames": Dim(98, (61, 250, 33)),
    "conditioning_length": Dim(32, (1, 32, 7)),
    "text_length": Dim(12, (1, 5, 33)),
    "sequence_length": Dim(6, (1, 1, 9)),
    "past_sequence_length": Dim(5, (17, 0, 0)),
    "code_length": Dim(20, (1, 13, 47)),
    "content_length": Dim(20, (9, 31, 13)),
    "target_length": Dim(34, (15, 53, 44)),
    "mel_frames": Dim(24, (9, 33, 61)),
    "prompt_frames": Dim(27, (5, 1, 40)),  # fewer and more than the head of the estimator reaches
    "guidance_branches": Dim(2, (1, 2, 2)),
    "guidance_outputs": Dim(2, (1, 1, 2)),
}
GUIDANCE = {1: [[1.0]], 2: [[1.7, -0.7], [1.0, -1.0]]}  # branches -> weights of theirs, a row per output


def _draw(high: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, high, shape)


def _estimator_example(config: dit.DiTConfig, sizes: Sizes, rng: np.random.Generator) -> Example:
    branches = sizes["guidance_branches"]
    return {
        "t": rng.uniform(0.0, 0.96, 1).astype(np.float32),
        "branch_mask": np.array([1.0, 0.0], np.float32)[:branches],
        "branch_weights": np.array(GUIDANCE[branches], np.float32)[: sizes["guidance_outputs"]],
    }


def _classifier_example(config: qwen3.Qwen3Config, sizes: Sizes, rng: np.random.Generator) -> Example:
    past, new, batch = sizes["past_sequence_length"], sizes["sequence_length"], sizes["batch"]
    return {
        "input_ids": _draw(config.vocabulary, (batch, new), rng),
        "position_ids": np.tile(np.arange(past, past + new, dtype=np.int64), (batch, 1)),
    }


def _semantic_mask(config: w2v_bert.W2vBertConfig, sizes: Sizes, rng: np.random.Generator) -> Example:
    frames = sizes["semantic_frames"]
    # an odd number of filter-bank frames leaves the last position masked (spec section 4.2)
    return {"attention_mask": np.array([[1] * (frames - 1) + [frames % 2]], np.int64)}


def _semantic_config(shapes: Shapes, contents: Contents) -> w2v_bert.W2vBertConfig:
    settings = contents.semantic_config
    return w2v_bert.W2vBertConfig.from_shapes(
        shapes,
        layers=SEMANTIC_LAYERS,
        left=settings.get("left_max_position_embeddings", 64),
        right=settings.get("right_max_position_embeddings", 8),
    )


def _vocoder_config(shapes: Shapes, contents: Contents) -> bigvgan.BigVganConfig:
    settings = contents.vocoder_config
    return bigvgan.BigVganConfig.from_shapes(
        shapes,
        rates=tuple(settings["upsample_rates"]),
        dilations=tuple(settings["resblock_dilation_sizes"][0]),
        log_scale=settings.get("snake_logscale", True),
        tanh=settings.get("use_tanh_at_final", True),
    )


def _decoder_ports(config: gpt2.Gpt2Config) -> tuple[Ports, Ports]:
    return (
        floats(("inputs_embeds", ("batch", "sequence_length", config.width)))
        + ids(("attention_mask", ("batch", "total_sequence_length"))),
        floats(
            ("logits", ("batch", config.vocabulary)),
            ("last_hidden_state", ("batch", "sequence_length", config.width)),
        ),
    )


SEMANTIC_ENCODER = Part(
    "semantic_encoder",
    "frontend",
    (Reads("w2v_bert"), Reads("w2v_stats")),
    _semantic_config,
    w2v_bert.SemanticFeatures,
    lambda config: (
        floats(("input_features", (1, "semantic_frames", config.features)))
        + ids(("attention_mask", (1, "semantic_frames"))),
        floats(("features", (1, "semantic_frames", config.width))),
    ),
    example=_semantic_mask,
)
SEMANTIC_CODEC = Part(
    "semantic_codec",
    "frontend",
    (Reads("codec"),),
    lambda shapes, contents: semantic_codec.SemanticCodecConfig.from_shapes(shapes, downsample=DOWNSAMPLE),
    semantic_codec.SemanticEncoder,
    lambda config: (
        floats(("features", (1, "semantic_frames", config.hidden))),
        ids(("codes", (1, "semantic_frames"))) + floats(("quantized", (1, "semantic_frames", config.hidden))),
    ),
)
SPEAKER_ENCODER = Part(
    "speaker_encoder",
    "frontend",
    (Reads("campplus"),),
    lambda shapes, contents: campplus.CamPlusConfig.from_shapes(shapes),
    campplus.CamPlus,
    lambda config: (
        floats(("fbank", (1, "fbank_frames", 80))),
        floats(("style", (1, config.embedding))),
    ),
)
SPEAKER_CONDITIONER = Part(
    "speaker_conditioner",
    "encoder",
    (Reads("gpt"),),
    lambda shapes, contents: conditioning.SpeakerConditionerConfig.from_shapes(shapes),
    conditioning.SpeakerConditioner,
    lambda config: (
        floats(("features", (1, "semantic_frames", config.conformer.features))),
        floats(("conditioning", (1, config.perceiver.latents, config.perceiver.width))),
    ),
)
EMOTION_CONDITIONER = Part(
    "emotion_conditioner",
    "encoder",
    (Reads("gpt"),),
    lambda shapes, contents: conditioning.EmotionConditionerConfig.from_shapes(shapes),
    conditioning.EmotionConditioner,
    lambda config: (
        floats(("features", (1, "semantic_frames", config.conformer.features))),
        floats(("emotion", (1, config.width))),
    ),
)
TEXT_EMBEDDINGS = Part(
    "text_embeddings",
    "encoder",
    (Reads("gpt"),),
    lambda shapes, contents: prefix.PrefixConfig.from_shapes(shapes, **_text_marks(contents)),
    prefix.Prefix,
    lambda config: (
        floats(("conditioning", (1, "conditioning_length", config.width)), ("emotion", (1, config.width)))
        + ids(("text_ids", (1, "text_length"))),
        floats(("inputs_embeds", (1, "prefix_length", config.width))),
    ),
    example=lambda config, sizes, rng: {"text_ids": _draw(config.text_tokens, (1, sizes["text_length"]), rng)},
)
STYLE_TEXT_EMBEDDINGS = Part(
    "text_embeddings",
    "encoder",
    (Reads("gpt"),),
    lambda shapes, contents: prefix.StylePrefixConfig.from_shapes(shapes, **_text_marks(contents)),
    prefix.StylePrefix,
    lambda config: (
        floats(("style", (1, config.style)), ("emotion", (1, config.width)))
        + ids(("text_ids", (1, "text_length")), ("language", (1,))),
        floats(("inputs_embeds", (1, "prefix_length", config.width))),
    ),
    example=lambda config, sizes, rng: {
        "text_ids": _draw(config.text_tokens, (1, sizes["text_length"]), rng),
        "language": _draw(config.languages, (1,), rng),
    },
)
SPEECH_EMBEDDINGS = Part(
    "speech_embeddings",
    "encoder",
    (Reads("gpt"),),
    lambda shapes, contents: speech_embeddings.SpeechEmbeddingsConfig.from_shapes(shapes),
    speech_embeddings.SpeechEmbeddings,
    lambda config: (
        ids(("codes", ("batch", "sequence_length")), ("position_ids", ("batch", "sequence_length"))),
        floats(("inputs_embeds", ("batch", "sequence_length", config.width))),
    ),
    example=lambda config, sizes, rng: {
        "codes": _draw(config.codes, (sizes["batch"], sizes["sequence_length"]), rng),
        "position_ids": _draw(config.positions, (sizes["batch"], sizes["sequence_length"]), rng),
    },
)
DECODER = Part(
    "decoder",
    "step",
    (Reads("gpt"),),
    lambda shapes, contents: gpt2.Gpt2Config.from_shapes(shapes, heads=contents.config["gpt"]["heads"]),
    gpt2.Gpt2Step,
    _decoder_ports,
    cache=lambda config: CacheSpec(config.layers, config.heads, config.head_dim),
    keep_fp=("mel_head.*",),
)
FULL_SEQUENCE_DECODER = Part(
    "decoder",
    "step",
    DECODER.reads,
    DECODER.configure,
    gpt2.Gpt2Sequence,
    lambda config: (
        floats(("inputs_embeds", ("batch", "sequence_length", config.width)))
        + ids(("attention_mask", ("batch", "sequence_length"))),
        floats(
            ("logits", ("batch", "sequence_length", config.vocabulary)),
            ("last_hidden_state", ("batch", "sequence_length", config.width)),
        ),
    ),
    keep_fp=DECODER.keep_fp,
)
LATENT_PROJECTOR = Part(
    "latent_projector",
    "encoder",
    (Reads("gpt_layer", instead="gpt_layer."), Reads("codec")),
    lambda shapes, contents: latent_projector.LatentProjectorConfig.from_shapes(shapes),
    latent_projector.LatentProjector,
    lambda config: (
        floats(("latent", (1, "code_length", config.widths[0]))) + ids(("codes", (1, "code_length"))),
        floats(("content", (1, "code_length", config.widths[-1]))),
    ),
    example=lambda config, sizes, rng: {"codes": _draw(config.codec.codes, (1, sizes["code_length"]), rng)},
)
SEMANTIC_DECODER = Part(
    "semantic_decoder",
    "encoder",
    (Reads("codec"),),
    lambda shapes, contents: semantic_codec.SemanticCodecConfig.from_shapes(shapes, downsample=DOWNSAMPLE),
    semantic_codec.SemanticDecoder,
    lambda config: (
        ids(("codes", (1, "code_length"))),
        floats(("content", (1, "decoded_length", config.hidden))),
    ),
    example=lambda config, sizes, rng: {"codes": _draw(config.codes, (1, sizes["code_length"]), rng)},
)
LENGTH_REGULATOR = Part(
    "length_regulator",
    "encoder",
    (Reads("length_regulator"),),
    lambda shapes, contents: length_regulator.LengthRegulatorConfig.from_shapes(shapes),
    length_regulator.LengthRegulator,
    lambda config: (
        floats(("content", (1, "content_length", config.inputs))) + ids(("index", ("target_length",))),
        floats(("condition", (1, "target_length", config.outputs))),
    ),
    example=lambda config, sizes, rng: {"index": nearest_index(sizes["content_length"], sizes["target_length"])},
)
FLOW_ESTIMATOR = Part(
    "flow_estimator",
    "estimator",
    (Reads("cfm"),),
    lambda shapes, contents: dit.DiTConfig.from_shapes(
        below(shapes, "estimator."), heads=contents.config["s2mel"]["DiT"]["num_heads"]
    ),
    lambda config: dit.GuidedEstimator(dit.DiT(config)),
    lambda config: (
        floats(
            ("x", (1, config.mel, "mel_frames")),
            ("prompt", (1, config.mel, "prompt_frames")),
            ("t", (1,)),
            ("style", (1, config.style)),
            ("prompt_mu", (1, "prompt_frames", config.content)),
            ("mu", (1, "mel_frames", config.content)),
            ("branch_mask", ("guidance_branches",)),
            ("branch_weights", ("guidance_outputs", "guidance_branches")),
        ),
        floats(("velocity", ("guidance_outputs", config.mel, "mel_frames"))),
    ),
    example=_estimator_example,
    keep_fp=("estimator.final_layer.*", "estimator.conv2.*"),
)
VOCODER = Part(
    "vocoder",
    "vocoder",
    (Reads("bigvgan"),),
    _vocoder_config,
    bigvgan.BigVgan,
    lambda config: (
        floats(("mel", (1, config.mel, "mel_frames"))),
        floats(("waveform", (1, 1, "samples"))),
    ),
    # log-magnitudes of speech: silence is at -11.5, vowels near 0
    example=lambda config, sizes, rng: {
        "mel": (rng.standard_normal((1, config.mel, sizes["mel_frames"])) * 2 - 5).astype(np.float32)
    },
    keep_fp=("conv_post.*",),
    reach=vocoder_reach,
)
EMOTION_CLASSIFIER = Part(
    "emotion_classifier",
    "step",
    (Reads("qwen"),),
    lambda shapes, contents: qwen3.Qwen3Config.from_shapes(shapes),
    qwen3.Qwen3Step,
    lambda config: (
        ids(
            ("input_ids", ("batch", "sequence_length")),
            ("attention_mask", ("batch", "total_sequence_length")),
            ("position_ids", ("batch", "sequence_length")),
        ),
        floats(("logits", ("batch", config.vocabulary))),
    ),
    cache=lambda config: CacheSpec(config.layers, config.kv_heads, config.head_dim),
    example=_classifier_example,
)

PARTS: dict[str, tuple[Part, ...]] = {
    "2.0": (
        SEMANTIC_ENCODER,
        SEMANTIC_CODEC,
        SPEAKER_ENCODER,
        SPEAKER_CONDITIONER,
        EMOTION_CONDITIONER,
        TEXT_EMBEDDINGS,
        SPEECH_EMBEDDINGS,
        DECODER,
        LATENT_PROJECTOR,
        LENGTH_REGULATOR,
        FLOW_ESTIMATOR,
        VOCODER,
    ),
    "2.5": (
        SEMANTIC_ENCODER,
        SPEAKER_ENCODER,
        EMOTION_CONDITIONER,
        STYLE_TEXT_EMBEDDINGS,
        SPEECH_EMBEDDINGS,
        DECODER,
        SEMANTIC_DECODER,
        LENGTH_REGULATOR,
        FLOW_ESTIMATOR,
        VOCODER,
    ),
}
# State dicts that a version publishes and does not read (spec section 17: gpt_layer is dead in 2.5).
DEAD = {"2.0": (), "2.5": ("gpt_layer",)}


def _text_marks(contents: Contents) -> dict[str, int]:
    gpt = contents.config["gpt"]
    return {"start_text": gpt.get("start_text_token", 0), "stop_text": gpt.get("stop_text_token", 1)}
