"""What the published code does more than our networks and loops, as data (spec sections 5 to 14 and 16.1).

The shares are upper estimates from counted operations and bytes at a reference of 15 s, not measurements.
"""

from __future__ import annotations

from ovconvert.original import Difference, Original, Runs

VOICE = (
    Runs("semantic_encoder", "voice", 2, 2, why="the recording is resampled in two ways: for speaker and emotion"),
    Runs("speaker_encoder", "voice", 1, 1),
    Runs("length_regulator", "voice", 1, 1, call="prompt"),
    Runs("emotion_conditioner", "voice", 0, 1, why="the published code keeps the features, not what is made of them"),
    Runs("emotion_conditioner", "segment", 2, 0, why="for the emotion and for the speaker's own, anew in every segment"),
)
SEGMENT = (
    Runs("text_embeddings", "segment", 1, 1),
    Runs("decoder", "segment", 1, 1, call="prompt", why="with as many rows as beams in the published code"),
    Runs("speech_embeddings", "token", 1, 1),
    Runs("decoder", "token", 1, 1, call="step"),
    Runs("length_regulator", "segment", 1, 1, call="speech"),
    Runs("flow_estimator", "step", 1, 1, why="both branches of the guidance in one call of two rows"),
    Runs("vocoder", "segment", 1, 1),
)
RUNS: dict[str, tuple[Runs, ...]] = {
    "2.0": (
        *VOICE,
        Runs("semantic_codec", "voice", 1, 1),
        Runs("speaker_conditioner", "voice", 0, 1, why="the published code keeps the features, not what is made of them"),
        Runs("speaker_conditioner", "segment", 1, 0, why="anew in every segment"),
        *SEGMENT,
        Runs("decoder", "segment", 1, 1, call="latents", why="a second pass over prompt and codes"),
        Runs("latent_projector", "segment", 1, 1),
    ),
    "2.5": (*VOICE, *SEGMENT, Runs("semantic_decoder", "segment", 1, 1)),
}

DIFFERENCES: tuple[Difference, ...] = (
    Difference("semantic_encoder", "all 24 layers are run", "the 17 below the state that is read", restored=True),
    Difference(
        "semantic_encoder",
        "a distance embedding per pair of positions, and softmax written out",
        "scores per distance, gathered; fused attention",
        restored=True,
    ),
    Difference(
        "vocoder",
        "activations at twice the rate by a transposed and a strided convolution",
        "their polyphase form: four convolutions at the lower rate",
        restored=True,
    ),
    Difference("decoder", "the prompt is read once per beam", "once, and spread over the beams", restored=True),
    Difference(
        "decoder",
        "the head on every position of the prompt",
        "on the last one (of the prompt's call alone: a step has one position)",
        restored=False,
        share=0.022,
    ),
    Difference(
        "speaker_conditioner",
        "two score products, one with the positions, and softmax written out",
        "one product with key plus position; fused attention",
        restored=False,
        share=0.01,
    ),
    Difference(
        "emotion_conditioner",
        "two score products, one with the positions, and softmax written out",
        "one product with key plus position; fused attention",
        restored=False,
        share=0.01,
    ),
    Difference(
        "speaker_encoder",
        "the gate of a dense layer computed in every frame",
        "once per segment of 100 frames",
        restored=False,
        share=0.05,
    ),
    Difference(
        "semantic_codec",
        "squared distances to every row of the codebook",
        "cosines alone, which have the same winner",
        restored=False,
        share=0.02,
    ),
    Difference(
        "flow_estimator",
        "head and last layer over the frames of the prompt as well",
        "over the frames behind it, and those that the head reads",
        restored=True,
    ),
    Difference(
        "flow_estimator",
        "weight norm computed in every call, and a mask of lengths that hides nothing",
        "weights folded when loaded, no mask",
        restored=False,
        share=0.01,
    ),
)


def original(variant: str) -> Original:
    """Return what the published code of a version does. Raises KeyError for a version that there is not."""
    runs = RUNS[variant]
    components = {row.component for row in runs}
    return Original(runs, tuple(row for row in DIFFERENCES if row.component in components))
