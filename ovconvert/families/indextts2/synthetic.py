"""Checkpoints with seeded random weights in the published layout: tiny for tests, full for honest timing.

They speak no language. What they share with a published checkpoint is every file, key, shape and dtype.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import UsageError
from ovconvert.families.indextts2 import sample_assets
from ovconvert.families.indextts2.published import stored_shapes
from ovconvert.families.indextts2.settings_files import classifier_json, config_yaml, semantic_json, vocoder_json
from ovconvert.families.indextts2.sizes import SIZES, VARIANTS, Sizes

if TYPE_CHECKING:
    import torch

# Random weights neither stop nor stay quiet by themselves: the stop token is made likely enough to come within some
# hundred tokens, the vocoder's residual branches and last layer are damped so that nothing clips.
SCALED = {
    ("bigvgan", "resblocks.*.convs2.*.weight_g"): 0.1,
    ("bigvgan", "conv_post.weight_g"): 0.02,
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
    (dest / "config.yaml").write_text(config_yaml(sizes, variant), encoding="utf-8")
    sample_assets.write(dest, variant, seed, classifier_vocabulary=sizes.classifier.vocabulary)


def _files(sizes: Sizes, seed: int, variant: str) -> dict[str, Callable[[Path], None]]:
    """Return how each weight file is written. A file is drawn when it is written, so that one is in memory at a time."""
    shapes = stored_shapes(sizes, variant)

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
    style = sizes.speaker.embedding
    rows = sum(sizes.emotion_groups)
    return {
        "gpt.pth": pickled(lambda: state("gpt")),
        "s2mel.pth": pickled(lambda: {"net": {name: state(name) for name in ("cfm", "length_regulator", "gpt_layer")}}),
        **codec,
        "hf_cache/campplus_cn_common.bin": pickled(lambda: state("campplus")),
        "hf_cache/bigvgan/bigvgan_generator.pt": pickled(lambda: {"generator": state("bigvgan")}),
        "hf_cache/bigvgan/config.json": lambda path: path.write_text(vocoder_json(sizes)) and None,
        "hf_cache/w2v-bert-2.0/model.safetensors": safe("w2v_bert"),
        "hf_cache/w2v-bert-2.0/config.json": lambda path: path.write_text(semantic_json(sizes)) and None,
        "wav2vec2bert_stats.pt": pickled(lambda: state("w2v_stats")),
        "feat1.pt": pickled(lambda: _draw("matrices", "speaker", (rows, style), sizes, seed) * math.sqrt(style)),
        "feat2.pt": pickled(lambda: _draw("matrices", "emotion", (rows, sizes.width), sizes, seed)),
        "qwen0.6bemo4-merge/model.safetensors": safe("qwen", "float16"),
        "qwen0.6bemo4-merge/config.json": lambda path: path.write_text(classifier_json(sizes)) and None,
    }


def _draw(name: str, key: str, shape: tuple[int, ...], sizes: Sizes, seed: int) -> torch.Tensor:
    """Return the random tensor of a key: unit gains, small biases, weights that keep the variance of their input."""
    import torch

    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if key.endswith("input_pos"):
        return torch.arange(shape[0])
    constant = constant_table(key, shape)
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


def constant_table(key: str, shape: tuple[int, ...]) -> np.ndarray | None:
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
