"""Every key and shape of a published checkpoint, those that inference does not read included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ovconvert.checkpoint import construct
from ovconvert.families.indextts2.sizes import SIZES, Sizes
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
)

if TYPE_CHECKING:
    import torch

# Which weights are stored as magnitude and direction (spec section 19, item 15).
WEIGHT_NORMED = {
    "bigvgan": ("conv_pre", "conv_post", "ups.*.0", "resblocks.*.convs?.*"),
    "cfm": ("estimator.wavenet.*.conv.conv", "estimator.final_layer.linear", "estimator.x_embedder"),
    "codec": ("quantizer.*.in_project", "quantizer.*.out_project"),
}


def published(size: str, variant: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return {state dict: {key: shape}} of a checkpoint of `size`, as it is stored."""
    return stored_shapes(SIZES[size], variant)


def stored_shapes(sizes: Sizes, variant: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return {state dict: {key: shape}} as stored, weight norm not folded."""
    return {name: _stored(name, shapes) for name, shapes in _folded(sizes, variant).items()}


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
        "bigvgan": _shapes(lambda: bigvgan.BigVgan(sizes.vocoder)),
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
        style = sizes.speaker.embedding
        text = prefix.StylePrefixConfig(sizes.text_tokens_25 + 1, sizes.max_text + 2, 107, style, width, 0, 1)
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
    return replace(config, downsample=2)


def _shapes(network: Callable[[], torch.nn.Module]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in construct(network).state_dict().items()}


def weight_normed(name: str, key: str) -> bool:
    """Tell whether `key` ("....weight") of the state dict `name` is stored as `weight_g` and `weight_v`."""
    base = key.removesuffix(".weight")
    return base != key and any(fnmatchcase(base, pattern) for pattern in WEIGHT_NORMED.get(name, ()))


def _stored(name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes with weight-normed weights as their two stored parts."""
    stored: dict[str, tuple[int, ...]] = {}
    for key, shape in shapes.items():
        if weight_normed(name, key):
            base = key.removesuffix(".weight")
            stored[f"{base}.weight_g"] = (shape[0], *[1] * (len(shape) - 1))
            stored[f"{base}.weight_v"] = shape
        else:
            stored[key] = shape
    return stored
