"""The three components: which network, which tensors it reads, which ports it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovconvert.families.f5tts.settings import Settings
from ovconvert.networks import character_embedding, infilling_dit, vocos
from ovconvert.spec import Dim, Port

# Sizes that validation must pass; the i-th trial of every axis belongs to the i-th case. One frame, and odd lengths, are
# among them, and more frames than the first layers see.
DIMS: dict[str, Dim] = {
    "frames": Dim(40, (9, 1, 131)),
    "guidance_branches": Dim(2, (1, 2, 2)),
    "guidance_outputs": Dim(2, (1, 1, 2)),
    "mel_frames": Dim(24, (2, 33, 91)),
}
GUIDANCE = {1: [[1.0]], 2: [[3.0, -2.0], [1.0, -1.0]]}  # branches -> weights of theirs, a row per output

Shapes = Mapping[str, tuple[int, ...]]
Ports = tuple[Port, ...]
Sizes = Mapping[str, int]
Example = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Part:
    """One component. `reads` is a state dict, what its keys begin with, and what stands there in the network."""

    name: str
    role: str
    reads: tuple[str, str, str]
    configure: Callable[[Shapes, Settings], Any]
    network: Callable[[Any], Any]
    ports: Callable[[Any], tuple[Ports, Ports]]
    example: Callable[[Any, Sizes, np.random.Generator], Example] = lambda config, sizes, rng: {}
    keep_fp: tuple[str, ...] = ()
    weights_only: bool = False


def _floats(*ports: tuple[str, tuple[int | str, ...]]) -> Ports:
    return tuple(Port(name, "float32", shape) for name, shape in ports)


def _ids(*ports: tuple[str, tuple[int | str, ...]]) -> Ports:
    return tuple(Port(name, "int64", shape) for name, shape in ports)


def _text_example(config: character_embedding.CharacterEmbeddingConfig, sizes: Sizes, rng: np.random.Generator) -> Example:
    """Return a text over the first half of the frames, and in a second branch nothing under the same mask."""
    branches, frames = sizes["guidance_branches"], sizes["frames"]
    seen = np.arange(frames) < (frames + 1) // 2
    ids = np.where(seen, rng.integers(1, config.symbols, frames), 0)
    return {
        "text_ids": np.stack([ids, np.zeros_like(ids)])[:branches],
        "text_mask": np.tile(seen.astype(np.int64), (branches, 1)),
    }


def _estimator_example(config: infilling_dit.InfillingDiTConfig, sizes: Sizes, rng: np.random.Generator) -> Example:
    branches, frames = sizes["guidance_branches"], sizes["frames"]
    cond = rng.standard_normal((1, config.mel, frames), dtype=np.float32)
    cond[:, :, frames // 2 :] = 0.0
    return {
        "cond": cond,
        "t": rng.uniform(0.0, 1.0, 1).astype(np.float32),
        "branch_mask": np.array([1.0, 0.0], np.float32)[:branches],
        "branch_weights": np.array(GUIDANCE[branches], np.float32)[: sizes["guidance_outputs"]],
    }


PARTS: tuple[Part, ...] = (
    Part(
        "text_embedding",
        "encoder",
        ("model", "ema_model.transformer.text_embed.", ""),
        lambda shapes, settings: character_embedding.CharacterEmbeddingConfig.from_shapes(shapes),
        character_embedding.CharacterEmbedding,
        lambda config: (
            _ids(("text_ids", ("guidance_branches", "frames")), ("text_mask", ("guidance_branches", "frames"))),
            _floats(("text", ("guidance_branches", "frames", config.width))),
        ),
        example=_text_example,
        # its response norm multiplies and adds up activations: in INT8 2 to 10 dB, and it runs once per utterance
        weights_only=True,
    ),
    Part(
        "flow_estimator",
        "estimator",
        ("model", "ema_model.transformer.", "estimator."),
        lambda shapes, settings: infilling_dit.InfillingDiTConfig.from_shapes(
            {key.removeprefix("estimator."): shape for key, shape in shapes.items()},
            heads=settings.heads,
            rotary_heads=settings.rotary_heads,
        ),
        infilling_dit.GuidedInfilling,
        lambda config: (
            _floats(
                ("x", (1, config.mel, "frames")),
                ("cond", (1, config.mel, "frames")),
                ("text", ("guidance_branches", "frames", config.text)),
                ("t", (1,)),
                ("branch_mask", ("guidance_branches",)),
                ("branch_weights", ("guidance_outputs", "guidance_branches")),
            ),
            _floats(("velocity", ("guidance_outputs", config.mel, "frames"))),
        ),
        example=_estimator_example,
        keep_fp=("estimator.norm_out.*", "estimator.proj_out.*"),
    ),
    Part(
        "vocoder",
        "vocoder",
        ("vocoder", "", ""),
        lambda shapes, settings: vocos.VocosConfig.from_shapes(shapes, hop=settings.hop_length),
        vocos.Vocos,
        lambda config: (
            _floats(("mel", (1, config.mel, "mel_frames"))),
            _floats(("waveform", (1, 1, "samples"))),
        ),
        keep_fp=("head.out.*",),
    ),
)
