"""Checkpoints with seeded random weights in the published layout: tiny for tests, full for honest timing.

They speak no language. What they share with a published checkpoint is every key, shape and dtype of both state dicts, the
size of the vocabulary, and the settings files. A recording and its text to continue lie beside them.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.checkpoint import construct
from ovconvert.errors import UsageError
from ovconvert.families.f5tts import layout, parts
from ovconvert.networks.character_embedding import CharacterEmbeddingConfig
from ovconvert.networks.infilling_dit import InfillingDiTConfig
from ovconvert.networks.vocos import VocosConfig

if TYPE_CHECKING:
    import torch

# version -> (settings file, heads that know positions or None for all, whether frames without text are masked)
VARIANTS: dict[str, tuple[str, int | None, bool]] = {
    "1": ("F5TTS_v1_Base.yaml", None, True),
    "0": ("F5TTS_Base.yaml", 1, False),
}
RATE = 24000
INITIALS = ("", *"bpmfdtnlgkhjqxrzcsyw", "zh", "ch", "sh")
VOICE = "voices/sample.wav"
VOICE_TEXT = "This is said in the recording."
VOICE_SECONDS = 2.0
FINALS = (*"aoeiuv", "ai", "ei", "ao", "ou", "an", "en", "ang", "eng", "ong", "ia", "ie", "iu", "ian", "in", "ing")


@dataclass(frozen=True)
class Sizes:
    """Everything that is smaller in a tiny checkpoint. `symbols` are those of the vocabulary."""

    symbols: int
    text: int
    text_blocks: int
    width: int
    depth: int
    heads: int
    mel: int
    fft: int
    hop: int
    vocoder: int
    vocoder_inner: int
    vocoder_blocks: int

    def configs(self) -> dict[str, Any]:
        """Return the configuration of every component."""
        return {
            "text_embedding": CharacterEmbeddingConfig(self.symbols + 1, self.text, 2 * self.text, self.text_blocks),
            "flow_estimator": InfillingDiTConfig(
                mel=self.mel,
                text=self.text,
                width=self.width,
                depth=self.depth,
                heads=self.heads,
                rotary_heads=self.heads,
                inner=2 * self.width,
                frequencies=256,
                groups=16,
                kernel=31,
            ),
            "vocoder": VocosConfig(self.mel, self.vocoder, self.vocoder_inner, self.vocoder_blocks, self.fft, self.hop),
        }


SIZES = {
    "tiny": Sizes(140, 24, 2, 64, 2, 4, 20, 512, 256, 32, 64, 2),
    "full": Sizes(2545, 512, 4, 1024, 22, 16, 100, 1024, 256, 512, 1536, 8),
}


def make_checkpoint(dest: Path, *, size: str, seed: int, variant: str = "") -> None:
    """Write a checkpoint directory of `size` (tiny or full) with weights drawn from `seed`.

    `variant` is 1 unless given. The same arguments give the same tensors on any machine. Raises UsageError for a size or
    variant that does not exist.
    """
    import torch
    from safetensors.torch import save_file

    variant = variant or next(iter(VARIANTS))
    for what, given, allowed in (("size", size, tuple(SIZES)), ("variant", variant, tuple(VARIANTS))):
        if given not in allowed:
            raise UsageError(f"no {what} {given!r}; have: {', '.join(allowed)}")
    sizes = SIZES[size]
    folder = dest / layout.VOCODERS[0]
    folder.mkdir(parents=True, exist_ok=True)
    shapes = stored_shapes(sizes)
    model = {key: _draw(key, shape, seed) for key, shape in shapes["model"].items()}
    save_file(model | {"initted": torch.tensor([True]), "step": torch.tensor([0])}, dest / "model_0.safetensors")
    torch.save({key: _draw(key, shape, seed) for key, shape in shapes["vocoder"].items()}, folder / layout.WEIGHTS[0])
    file, rotary_heads, masked = VARIANTS[variant]
    (dest / file).write_text(_model_settings(sizes, file, rotary_heads, masked), encoding="utf-8")
    (folder / "config.yaml").write_text(_vocoder_settings(sizes), encoding="utf-8")
    _write_voice(dest / VOICE, seed)
    (dest / layout.VOCABULARY).write_text("".join(f"{symbol}\n" for symbol in symbols(sizes.symbols)), encoding="utf-8")


def symbols(count: int) -> list[str]:
    """Return a vocabulary of so many symbols: the blank first, what ASCII prints, syllables with their tone, Hangul."""
    ascii_ = [chr(code) for code in range(32, 127)]
    syllables = [first + last + tone for first, last, tone in product(INITIALS, FINALS, "1234")]
    rest = (chr(code) for code in range(0xAC00, 0xD7A4))
    return [*ascii_, *syllables, *rest][:count]


def stored_shapes(sizes: Sizes) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shape of every tensor of the two files, by the names under which they are stored."""
    configs = sizes.configs()
    bins = sizes.fft // 2 + 1
    mel = ".mel_scale.fb", (bins, sizes.mel)
    stored: dict[str, dict[str, tuple[int, ...]]] = {
        "model": {
            "ema_model.transformer.rotary_embed.inv_freq": (sizes.width // sizes.heads // 2,),
            "ema_model.mel_spec.mel_stft.spectrogram.window": (sizes.fft,),
            f"ema_model.mel_spec.mel_stft{mel[0]}": mel[1],
        },
        "vocoder": {
            "feature_extractor.mel_spec.spectrogram.window": (sizes.fft,),
            f"feature_extractor.mel_spec{mel[0]}": mel[1],
            "head.istft.window": (sizes.fft,),
        },
    }
    for part in parts.PARTS:
        ((state, start, instead),) = part.reads
        module = construct(partial(part.network, configs[part.name]))
        for key, value in module.state_dict().items():
            stored[state][start + key.removeprefix(instead)] = tuple(value.shape)
    return stored


def _draw(key: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return the random tensor of a key: unit gains, small biases, weights that keep the variance of their input."""
    import torch

    rng = np.random.Generator(np.random.Philox((seed << 32) | zlib.crc32(key.encode())))
    values: np.ndarray = rng.standard_normal(shape, dtype=np.float32)
    if key.endswith(".gamma") or (key.endswith(".weight") and len(shape) == 1):
        values = 1.0 + 0.1 * np.abs(values)
    elif key.endswith((".bias", ".beta")):
        values *= 0.02
    elif "text_embed.weight" not in key:
        values /= np.float32(math.sqrt(math.prod(shape[1:])))
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _write_voice(path: Path, seed: int) -> None:
    """Write a recording, a tone that rises through noise, and beside it what is said in it."""
    import soundfile

    time = np.arange(int(VOICE_SECONDS * RATE)) / RATE
    tone = 0.2 * np.sin(2 * np.pi * (150.0 + 40.0 * time) * time) * np.sin(np.pi * time / VOICE_SECONDS)
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(time))
    path.parent.mkdir()
    soundfile.write(path, tone + noise, RATE, subtype="PCM_16")
    path.with_suffix(".txt").write_text(f"{VOICE_TEXT}\n", encoding="utf-8")


def _model_settings(sizes: Sizes, file: str, rotary_heads: int | None, masked: bool) -> str:
    return f"""# seeded weights
model:
  name: {file.removesuffix(".yaml")}
  tokenizer: pinyin
  tokenizer_path: null
  backbone: DiT
  arch:
    dim: {sizes.width}
    depth: {sizes.depth}
    heads: {sizes.heads}
    ff_mult: 2
    text_dim: {sizes.text}
    text_mask_padding: {masked}
    qk_norm: null
    conv_layers: {sizes.text_blocks}
    pe_attn_head: {"null" if rotary_heads is None else rotary_heads}
    checkpoint_activations: False
  mel_spec:
    target_sample_rate: {RATE}
    n_mel_channels: {sizes.mel}
    hop_length: {sizes.hop}
    win_length: {sizes.fft}
    n_fft: {sizes.fft}
    mel_spec_type: vocos
  vocoder:
    is_local: False
    local_path: null
"""


def _vocoder_settings(sizes: Sizes) -> str:
    return f"""# seeded weights
feature_extractor:
  class_path: vocos.feature_extractors.MelSpectrogramFeatures
  init_args:
    sample_rate: {RATE}
    n_fft: {sizes.fft}
    hop_length: {sizes.hop}
    n_mels: {sizes.mel}
    padding: center
backbone:
  class_path: vocos.models.VocosBackbone
  init_args:
    input_channels: {sizes.mel}
    dim: {sizes.vocoder}
    intermediate_dim: {sizes.vocoder_inner}
    num_layers: {sizes.vocoder_blocks}
head:
  class_path: vocos.heads.ISTFTHead
  init_args:
    dim: {sizes.vocoder}
    n_fft: {sizes.fft}
    hop_length: {sizes.hop}
    padding: center
"""
