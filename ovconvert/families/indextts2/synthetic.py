"""Checkpoints with seeded random weights in the published layout: tiny for tests, full for honest timing.

They speak no language. What they share with a published checkpoint is every file, key, shape and dtype.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.checkpoint import construct
from ovconvert.errors import UsageError
from ovconvert.families.indextts2 import sample_assets
from ovconvert.networks import (
    bigvgan,
    campplus,
    conditioning,
    conformer,
    dit,
    gpt2,
    latent_projector,
    length_regulator,
    perceiver,
    prefix,
    qwen3,
    semantic_codec,
    speech_embeddings,
    w2v_bert,
    wavenet,
)

if TYPE_CHECKING:
    import torch

EMOTION_GROUPS = (3, 17, 2, 8, 4, 5, 10, 24)
RATES = (4, 4, 2, 2, 2, 2)
VARIANTS = ("2.0", "2.5")
# Which weights are stored as magnitude and direction (spec section 19, item 15).
WEIGHT_NORMED = {
    "bigvgan": ("conv_pre", "conv_post", "ups.*.0", "resblocks.*.convs?.*"),
    "cfm": ("estimator.wavenet.*.conv.conv", "estimator.final_layer.linear", "estimator.x_embedder"),
    "codec": ("quantizer.*.in_project", "quantizer.*.out_project"),
}
# Random weights neither stop nor stay quiet by themselves: the stop token is made likely enough to come within some
# hundred tokens, the vocoder's residual branches and last layer are damped so that nothing clips.
SCALED = {
    ("bigvgan", "resblocks.*.convs2.*.weight_g"): 0.1,
    ("bigvgan", "conv_post.weight_g"): 0.02,
}


@dataclass(frozen=True)
class Sizes:
    """What a checkpoint of one size is made of; the rest follows."""

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
    vocoder_channels: int
    classifier: qwen3.Qwen3Config
    stop_bias: float


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
        vocoder_channels=64,
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
        vocoder_channels=1536,
        classifier=qwen3.Qwen3Config(28, 1024, 16, 8, 128, 3072, 151936, True, 1e6, 1e-6),
        stop_bias=1.0,
    ),
}


def make_checkpoint(dest: Path, *, size: str, seed: int, variant: str = "") -> None:
    """Write a checkpoint directory of `size` (tiny or full) with weights drawn from `seed`.

    `variant` is 2.0 unless given. The same arguments give the same tensors on any machine. Raises UsageError for a size or
    variant that does not exist.
    """
    variant = variant or VARIANTS[0]
    for what, given, allowed in (("size", size, tuple(SIZES)), ("variant", variant, VARIANTS)):
        if given not in allowed:
            raise UsageError(f"no {what} {given!r}; have: {', '.join(allowed)}")
    sizes = SIZES[size]
    dest.mkdir(parents=True, exist_ok=True)
    for path, write in _files(sizes, seed, variant).items():
        (dest / path).parent.mkdir(parents=True, exist_ok=True)
        write(dest / path)
    (dest / "config.yaml").write_text(_config_yaml(sizes, variant), encoding="utf-8")
    sample_assets.write(dest, variant, seed, classifier_vocabulary=sizes.classifier.vocabulary)


def published(size: str, variant: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return {state dict: {key: shape}} of a checkpoint, as it is stored, weight norm not folded."""
    return {name: _stored(name, shapes) for name, shapes in _folded(SIZES[size], variant).items()}


def _folded(sizes: Sizes, variant: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return {state dict: {key: shape}} with weight norm folded: the networks' keys and the unused ones."""
    gpt = _gpt_networks(sizes, variant)
    text_tokens = sizes.text_tokens if variant == "2.0" else sizes.text_tokens_25
    codec = sizes.codec if variant == "2.0" else _with_resampling(sizes.codec)
    estimator = sizes.estimator
    skips = {
        f"estimator.transformer.layers.{index}.skip_in_linear.{part}": shape
        for index in range(estimator.depth // 2 + 1)
        for part, shape in (("weight", (estimator.width, 2 * estimator.width)), ("bias", (estimator.width,)))
    }
    return {
        "gpt": {
            **{key: shape for network in gpt for key, shape in _shapes(network).items()},
            "text_head.weight": (text_tokens + 1, sizes.width),
            "text_head.bias": (text_tokens + 1,),
        },
        "cfm": {
            **_shapes(lambda: dit.GuidedEstimator(dit.DiT(estimator))),
            **skips,
            "estimator.input_pos": (16384,),
            "estimator.x_embedder.weight": (estimator.width, estimator.mel),
            "estimator.x_embedder.bias": (estimator.width,),
            "estimator.cond_embedder.weight": (sizes.estimator_rows, estimator.width),
            "estimator.content_mask_embedder.weight": (1, estimator.width),
        },
        "length_regulator": {
            **_shapes(lambda: length_regulator.LengthRegulator(sizes.regulator)),
            "embedding.weight": (sizes.regulator_rows, sizes.regulator.channels),
            "mask_token": (1, sizes.regulator.channels),
        },
        "gpt_layer": {
            key.removeprefix("gpt_layer."): shape
            for key, shape in _shapes(
                lambda: latent_projector.LatentProjector(
                    latent_projector.LatentProjectorConfig(sizes.projector, sizes.codec)
                )
            ).items()
            if key.startswith("gpt_layer.")
        },
        "codec": {
            **_shapes(lambda: semantic_codec.SemanticEncoder(codec)),
            **_shapes(lambda: semantic_codec.SemanticDecoder(codec)),
        },
        "campplus": _shapes(lambda: campplus.CamPlus(sizes.speaker)),
        "bigvgan": _shapes(lambda: bigvgan.BigVgan(_vocoder(sizes))),
        "w2v_bert": {
            **_shapes(lambda: w2v_bert.W2vBert(sizes.semantic)),
            "masked_spec_embed": (sizes.semantic.width,),
        },
        "w2v_stats": {"mean": (sizes.semantic.width,), "var": (sizes.semantic.width,)},
        "qwen": _shapes(lambda: qwen3.Qwen3Step(sizes.classifier)),
    }


def _gpt_networks(sizes: Sizes, variant: str) -> list[Callable[[], torch.nn.Module]]:
    """Return the networks that share gpt.pth."""
    width = sizes.width
    heads = sizes.heads
    decoder = gpt2.Gpt2Config(sizes.layers, width, heads, width // heads, 4 * width, sizes.codec.codes + 2)
    emotion_width, emotion_heads = sizes.emotion_perceiver
    emotion = conditioning.EmotionConditionerConfig(
        _conformer(sizes, sizes.emotion_conformer),
        _perceiver(emotion_width, 1, sizes.emotion_conformer[0], emotion_heads),
        width,
    )
    codes = speech_embeddings.SpeechEmbeddingsConfig(sizes.codec.codes + 2, sizes.max_speech + 3, width)
    networks: list[Callable[[], torch.nn.Module]] = [
        lambda: gpt2.Gpt2Step(decoder),
        lambda: conditioning.EmotionConditioner(emotion),
        lambda: speech_embeddings.SpeechEmbeddings(codes),
    ]
    if variant == "2.5":
        text = prefix.StylePrefixConfig(sizes.text_tokens_25 + 1, sizes.max_text + 2, 107, 192, width, 0, 1)
        return [*networks, lambda: prefix.StylePrefix(text)]
    speaker = conditioning.SpeakerConditionerConfig(
        _conformer(sizes, sizes.conformer), _perceiver(width, 32, sizes.conformer[0], sizes.conformer[1])
    )
    plain = prefix.PrefixConfig(sizes.text_tokens + 1, sizes.max_text + 2, 2, width, 0, 1)
    return [*networks, lambda: conditioning.SpeakerConditioner(speaker), lambda: prefix.Prefix(plain)]


def _conformer(sizes: Sizes, given: tuple[int, int, int, int]) -> conformer.ConformerConfig:
    width, heads, inner, blocks = given
    flattened = width * ((sizes.semantic.width - 3) // 2 + 1)
    return conformer.ConformerConfig(width, heads, width // heads, inner, blocks, 15, flattened, sizes.sinusoids)


def _perceiver(width: int, latents: int, context: int, heads: int) -> perceiver.PerceiverConfig:
    return perceiver.PerceiverConfig(width, latents, context, 2, heads, 64, int(width * 4 / 3))


def _with_resampling(config: semantic_codec.SemanticCodecConfig) -> semantic_codec.SemanticCodecConfig:
    from dataclasses import replace

    return replace(config, downsample=2)


def _vocoder(sizes: Sizes) -> bigvgan.BigVganConfig:
    kernels = tuple(2 * rate for rate in RATES)
    return bigvgan.BigVganConfig(80, sizes.vocoder_channels, RATES, kernels, (3, 7, 11), (1, 3, 5), False, True, False)


def _shapes(network: Callable[[], torch.nn.Module]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in construct(network).state_dict().items()}


def _stored(name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes with weight-normed weights as their two stored parts."""
    stored: dict[str, tuple[int, ...]] = {}
    for key, shape in shapes.items():
        base = key.removesuffix(".weight")
        if base != key and any(fnmatchcase(base, pattern) for pattern in WEIGHT_NORMED.get(name, ())):
            stored[f"{base}.weight_g"] = (shape[0], *[1] * (len(shape) - 1))
            stored[f"{base}.weight_v"] = shape
        else:
            stored[key] = shape
    return stored


def _files(sizes: Sizes, seed: int, variant: str) -> dict[str, Callable[[Path], None]]:
    """Return how each weight file is written. A file is drawn when it is written, so that one is in memory at a time."""
    shapes = {name: _stored(name, folded) for name, folded in _folded(sizes, variant).items()}

    def state(name: str) -> dict[str, torch.Tensor]:
        return {key: _draw(name, key, shape, sizes, seed) for key, shape in shapes[name].items()}

    def pickled(content: Callable[[], Any]) -> Callable[[Path], None]:
        import torch

        return lambda path: torch.save(content(), path)

    def safe(name: str, dtype: str = "float32") -> Callable[[Path], None]:
        import torch
        from safetensors.torch import save_file

        return lambda path: save_file({key: value.to(getattr(torch, dtype)) for key, value in state(name).items()}, path)

    codec: dict[str, Callable[[Path], None]] = (
        {"hf_cache/semantic_codec_model.safetensors": safe("codec")}
        if variant == "2.0"
        else {"codec.pth": pickled(lambda: {"model": state("codec")})}
    )
    rows = sum(EMOTION_GROUPS)
    return {
        "gpt.pth": pickled(lambda: state("gpt")),
        "s2mel.pth": pickled(lambda: {"net": {name: state(name) for name in ("cfm", "length_regulator", "gpt_layer")}}),
        **codec,
        "hf_cache/campplus_cn_common.bin": pickled(lambda: state("campplus")),
        "hf_cache/bigvgan/bigvgan_generator.pt": pickled(lambda: {"generator": state("bigvgan")}),
        "hf_cache/bigvgan/config.json": lambda path: path.write_text(_vocoder_json(sizes)) and None,
        "hf_cache/w2v-bert-2.0/model.safetensors": safe("w2v_bert"),
        "hf_cache/w2v-bert-2.0/config.json": lambda path: path.write_text(_semantic_json(sizes)) and None,
        "wav2vec2bert_stats.pt": pickled(lambda: state("w2v_stats")),
        "feat1.pt": pickled(lambda: _draw("matrices", "speaker", (rows, 192), sizes, seed) * math.sqrt(192)),
        "feat2.pt": pickled(lambda: _draw("matrices", "emotion", (rows, sizes.width), sizes, seed)),
        "qwen0.6bemo4-merge/model.safetensors": safe("qwen", "float16"),
        "qwen0.6bemo4-merge/config.json": lambda path: path.write_text(_classifier_json(sizes)) and None,
    }


def _draw(name: str, key: str, shape: tuple[int, ...], sizes: Sizes, seed: int) -> torch.Tensor:
    """Return the random tensor of a key: unit gains, small biases, weights that keep the variance of their input."""
    import torch

    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if key.endswith("input_pos"):
        return torch.arange(shape[0])
    constant = _constant(key, shape)
    if constant is not None:
        return torch.from_numpy(constant)
    rng = np.random.Generator(np.random.Philox((seed << 32) | zlib.crc32(f"{name}/{key}".encode())))
    values: np.ndarray = rng.standard_normal(shape, dtype=np.float32)
    if key.endswith(("running_var", "var")):
        values = 0.5 + 0.5 * np.abs(values)
    elif key.endswith("weight_g") or (key.endswith((".weight", ".gamma")) and len(shape) == 1):
        values = 1.0 + 0.1 * np.abs(values)
    elif key.endswith((".alpha", ".beta")):
        values *= 0.1
    elif len(shape) <= 1:
        values *= 0.02
    elif "emb" in key and len(shape) == 2:
        values *= 0.1
    else:
        conv1d = key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))  # stored (in, out)
        values /= np.float32(math.sqrt(shape[0] if conv1d else math.prod(shape[1:])))
    for (where, pattern), factor in SCALED.items():
        if where == name and fnmatchcase(key, pattern):
            values *= factor
    if key == "mel_head.bias":
        values[-1] += sizes.stop_bias
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _constant(key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the value of a stored table that is no weight, or None."""
    if key.endswith("pos_enc.pe"):
        angle = np.arange(shape[1])[:, None] * 10000.0 ** (-np.arange(0, shape[2], 2) / shape[2])
        return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(shape).astype(np.float32)
    if key.endswith(".freqs"):
        return (10000.0 ** (-np.arange(shape[0]) / shape[0])).astype(np.float32)
    if key.endswith(".filter"):
        return _kaiser_sinc(shape[-1]).reshape(shape)
    return None


def _kaiser_sinc(taps: int) -> np.ndarray:
    """Return the low-pass of the alias-free activation: cutoff 0.25, transition half-width 0.3 (spec section 14)."""
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * 0.3 + 7.95
    beta = (
        0.1102 * (attenuation - 8.7)
        if attenuation > 50
        else 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    )
    position = np.arange(-(taps // 2), taps // 2) + 0.5
    response = 2 * 0.25 * np.kaiser(taps, beta) * np.sinc(2 * 0.25 * position)
    return (response / response.sum()).astype(np.float32)


def _vocoder_json(sizes: Sizes) -> str:
    config = _vocoder(sizes)
    return json.dumps(
        {
            "resblock": "1",
            "upsample_rates": config.rates,
            "upsample_kernel_sizes": config.kernels,
            "upsample_initial_channel": config.channels,
            "resblock_kernel_sizes": config.block_kernels,
            "resblock_dilation_sizes": [config.dilations] * 3,
            "use_tanh_at_final": False,
            "use_bias_at_final": False,
            "activation": "snakebeta",
            "snake_logscale": True,
            "num_mels": config.mel,
            "sampling_rate": 22050,
            "hop_size": 256,
            "n_fft": 1024,
            "win_size": 1024,
        },
        indent=1,
    )


def _semantic_json(sizes: Sizes) -> str:
    config = sizes.semantic
    return json.dumps(
        {
            "model_type": "wav2vec2-bert",
            "hidden_size": config.width,
            "num_hidden_layers": config.published_layers,
            "num_attention_heads": config.heads,
            "intermediate_size": config.inner,
            "feature_projection_input_dim": config.features,
            "position_embeddings_type": "relative_key",
            "left_max_position_embeddings": config.left,
            "right_max_position_embeddings": config.right,
            "conv_depthwise_kernel_size": config.kernel,
        },
        indent=1,
    )


def _classifier_json(sizes: Sizes) -> str:
    config = sizes.classifier
    return json.dumps(
        {
            "model_type": "qwen3",
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "intermediate_size": config.inner,
            "vocab_size": config.vocabulary,
            "rope_theta": config.rope_theta,
            "rms_norm_eps": config.eps,
            "tie_word_embeddings": config.tied,
        },
        indent=1,
    )


def _config_yaml(sizes: Sizes, variant: str) -> str:
    import yaml

    codes = sizes.codec.codes
    text_tokens = sizes.text_tokens if variant == "2.0" else sizes.text_tokens_25
    estimator = sizes.estimator

    def module(given: tuple[int, int, int, int]) -> dict[str, Any]:
        width, heads, inner, blocks = given
        return {
            "output_size": width,
            "linear_units": inner,
            "attention_heads": heads,
            "num_blocks": blocks,
            "input_layer": "conv2d2",
            "perceiver_mult": 2,
        }

    content = {
        "dataset": {"bpe_model": "bpe.model", "sample_rate": 24000},
        "gpt": {
            "model_dim": sizes.width,
            "layers": sizes.layers,
            "heads": sizes.heads,
            "max_mel_tokens": sizes.max_speech,
            "max_text_tokens": sizes.max_text,
            "number_text_tokens": text_tokens,
            "number_mel_codes": codes + 2,
            "start_mel_token": codes,
            "stop_mel_token": codes + 1,
            "start_text_token": 0,
            "stop_text_token": 1,
            "use_mel_codes_as_input": True,
            "condition_type": "conformer_perceiver",
            "condition_module": module(sizes.conformer),
            "emo_condition_module": module(sizes.emotion_conformer),
        },
        "semantic_codec": {
            "codebook_size": codes,
            "hidden_size": sizes.codec.hidden,
            "codebook_dim": sizes.codec.code_dim,
            "vocos_dim": sizes.codec.width,
            "vocos_intermediate_dim": sizes.codec.inner,
            "vocos_num_layers": sizes.codec.layers,
        },
        "s2mel": {
            "preprocess_params": {
                "sr": 22050,
                "spect_params": {
                    "n_fft": 1024,
                    "win_length": 1024,
                    "hop_length": 256,
                    "n_mels": 80,
                    "fmin": 0,
                    "fmax": "None",
                },
            },
            "dit_type": "DiT",
            "style_encoder": {"dim": 192},
            "length_regulator": {
                "channels": sizes.regulator.channels,
                "in_channels": sizes.regulator.inputs,
                "is_discrete": False,
                "content_codebook_size": sizes.regulator_rows,
                "sampling_ratios": [1, 1, 1, 1],
                "n_codebooks": 1,
            },
            "DiT": {
                "hidden_dim": estimator.width,
                "num_heads": estimator.heads,
                "depth": estimator.depth,
                "in_channels": estimator.mel,
                "content_dim": estimator.content,
                "content_codebook_size": sizes.estimator_rows,
                "style_condition": True,
                "final_layer_type": "wavenet",
                "is_causal": False,
                "long_skip_connection": True,
                "uvit_skip_connection": True,
            },
            "wavenet": {
                "hidden_dim": estimator.wavenet.width,
                "num_layers": estimator.wavenet.layers,
                "kernel_size": estimator.wavenet.kernel,
                "dilation_rate": 1,
                "style_condition": True,
            },
        },
        "gpt_checkpoint": "gpt.pth",
        "s2mel_checkpoint": "s2mel.pth",
        "w2v_stat": "wav2vec2bert_stats.pt",
        "emo_matrix": "feat2.pt",
        "spk_matrix": "feat1.pt",
        "emo_num": list(EMOTION_GROUPS),
        "qwen_emo_path": "qwen0.6bemo4-merge/",
        "version": float(variant),
    }
    return yaml.safe_dump(content, sort_keys=False)
