"""The three components: which network, which tensors it reads, which ports it has."""

from __future__ import annotations

import numpy as np

from ovconvert.networks import character_embedding, infilling_dit, vocos
from ovconvert.parts import Example, Part, Reads, Sizes, floats, ids
from ovconvert.spec import Dim

# Sizes that validation must pass; the i-th trial of every axis belongs to the i-th case. One frame, and odd lengths, are
# among them, and more frames than the first layers see.
DIMS: dict[str, Dim] = {
    "frames": Dim(40, (9, 1, 131)),
    "guidance_branches": Dim(2, (1, 2, 2)),
    "guidance_outputs": Dim(2, (1, 1, 2)),
    "mel_frames": Dim(24, (2, 33, 91)),
}
GUIDANCE = {1: [[1.0]], 2: [[3.0, -2.0], [1.0, -1.0]]}  # branches -> weights of theirs, a row per output


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
        (Reads("model", "ema_model.transformer.text_embed."),),
        lambda shapes, settings: character_embedding.CharacterEmbeddingConfig.from_shapes(shapes),
        character_embedding.CharacterEmbedding,
        lambda config: (
            ids(("text_ids", ("guidance_branches", "frames")), ("text_mask", ("guidance_branches", "frames"))),
            floats(("text", ("guidance_branches", "frames", config.width))),
        ),
        example=_text_example,
        # its response norm multiplies and adds up activations: in INT8 2 to 10 dB, and it runs once per utterance
        weights_only=True,
    ),
    Part(
        "flow_estimator",
        "estimator",
        (Reads("model", "ema_model.transformer.", "estimator."),),
        lambda shapes, settings: infilling_dit.InfillingDiTConfig.from_shapes(
            {key.removeprefix("estimator."): shape for key, shape in shapes.items()},
            heads=settings.heads,
            rotary_heads=settings.rotary_heads,
        ),
        infilling_dit.GuidedInfilling,
        lambda config: (
            floats(
                ("x", (1, config.mel, "frames")),
                ("cond", (1, config.mel, "frames")),
                ("text", ("guidance_branches", "frames", config.text)),
                ("t", (1,)),
                ("branch_mask", ("guidance_branches",)),
                ("branch_weights", ("guidance_outputs", "guidance_branches")),
            ),
            floats(("velocity", ("guidance_outputs", config.mel, "frames"))),
        ),
        example=_estimator_example,
        keep_fp=("estimator.norm_out.*", "estimator.proj_out.*"),
    ),
    Part(
        "vocoder",
        "vocoder",
        (Reads("vocoder"),),
        lambda shapes, settings: vocos.VocosConfig.from_shapes(shapes, hop=settings.hop_length),
        vocos.Vocos,
        lambda config: (
            floats(("mel", (1, config.mel, "mel_frames"))),
            floats(("waveform", (1, 1, "samples"))),
        ),
        keep_fp=("head.out.*",),
    ),
)
