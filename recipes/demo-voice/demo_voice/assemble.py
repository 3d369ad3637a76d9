"""Trained networks to a checkpoint directory in the published layout: the same files and keys, at the voice's sizes.

Matrices are stored as float16 (the card's figures are of the stored weights), vectors and statistics as float32. Keys that
are published and that no inference reads are zeros.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from demo_voice import classifier, speaker, vocoder
from demo_voice.corpus import RATE, SPEAKERS, STYLES
from demo_voice.flow import RATIO, compute_styles
from demo_voice.flow import load as load_flow
from demo_voice.language_model import Examples
from demo_voice.language_model import load as load_language_model
from demo_voice.semantic import Codec
from demo_voice.sizes import (
    CODEC,
    CONFORMER,
    EMOTION_CONDITIONER,
    ESTIMATOR,
    HEADS,
    LAYERS,
    MAX_SPEECH,
    MAX_TEXT,
    PIECES,
    PROJECTOR,
    REGULATOR,
    SEMANTIC,
    SINUSOIDS,
    WIDTH,
)
from demo_voice.subwords import open_pieces
from demo_voice.training import trained
from ovconvert.families.indextts2 import published, settings_files
from ovconvert.families.indextts2.sizes import Sizes

# What the original's defaults are not good for: codes repeat here for as long as a third of a phone lasts, and texts in
# training had at most two sentences.
GENERATION = {
    "do_sample": True,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "temperature": 0.5,
    "top_k": 30,
    "top_p": 0.8,
    "max_new_tokens": 450,
    "segment_tokens": 24,
    "steps": 10,
    "guidance": 1.5,
}
STRETCHES = 24  # recordings that a stored emotion vector is the mean of
STRETCH_FRAMES = 200  # of 20 ms


def sizes() -> Sizes:
    """Return the sizes in the form from which settings files and stored shapes are made."""
    conformer = (CONFORMER.width, CONFORMER.heads, CONFORMER.inner, CONFORMER.blocks)
    return Sizes(
        semantic=SEMANTIC,
        codec=CODEC,
        speaker=speaker.CONFIG,
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        text_tokens=PIECES,
        text_tokens_25=PIECES,
        max_text=MAX_TEXT,
        max_speech=MAX_SPEECH,
        conformer=conformer,
        emotion_conformer=conformer,
        emotion_perceiver=(EMOTION_CONDITIONER.perceiver.width, EMOTION_CONDITIONER.perceiver.heads),
        sinusoids=SINUSOIDS,
        projector=PROJECTOR.widths,
        regulator=REGULATOR,
        regulator_rows=16,
        estimator=ESTIMATOR,
        estimator_rows=16,
        vocoder=vocoder.CONFIG,
        classifier=classifier.CONFIG,
        stop_bias=0.0,
        sample_rate=RATE,
        emotion_groups=(len(SPEAKERS),) * len(STYLES),
        length_ratio=RATIO,
    )


def assemble(work: Path, dest: Path) -> None:
    """Write the checkpoint directory `dest`, less the voices and the model card.

    Raises FileNotFoundError for a training that was not run, ValueError for a tensor without a published place or shape.
    """
    made = sizes()
    shapes = published.stored_shapes(made, "2.0")
    model = {name: _stored(name, given, shapes[name]) for name, given in _states(work).items()}
    for folder in ("hf_cache/bigvgan", "hf_cache/w2v-bert-2.0", "qwen0.6bemo4-merge"):
        (dest / folder).mkdir(parents=True, exist_ok=True)
    torch.save(model["gpt"], dest / "gpt.pth")
    torch.save({"net": {name: model[name] for name in ("cfm", "length_regulator", "gpt_layer")}}, dest / "s2mel.pth")
    save_file(model["codec"], dest / "hf_cache/semantic_codec_model.safetensors")
    torch.save(model["campplus"], dest / "hf_cache/campplus_cn_common.bin")
    torch.save({"generator": model["bigvgan"]}, dest / "hf_cache/bigvgan/bigvgan_generator.pt")
    save_file(model["w2v_bert"], dest / "hf_cache/w2v-bert-2.0/model.safetensors")
    torch.save(trained_statistics(work), dest / "wav2vec2bert_stats.pt")
    speakers, emotions = emotion_matrices(work)
    torch.save(speakers, dest / "feat1.pt")
    torch.save(emotions, dest / "feat2.pt")
    open_pieces(work)
    (dest / "bpe.model").write_bytes((work / "bpe.model").read_bytes())
    classifier.write(work, dest / "qwen0.6bemo4-merge")
    for path, text in {
        "config.yaml": settings_files.config_yaml(made, "2.0"),
        "hf_cache/bigvgan/config.json": settings_files.vocoder_json(made),
        "hf_cache/w2v-bert-2.0/config.json": settings_files.semantic_json(made),
        "generation_config.json": json.dumps(GENERATION, indent=1) + "\n",
    }.items():
        (dest / path).write_text(text, encoding="utf-8")


def trained_statistics(work: Path) -> dict[str, Tensor]:
    """Return mean and variance of the features over the training corpus, float32."""
    found = torch.load(work / "features" / "statistics.pt", weights_only=True)
    return {key: found[key].float() for key in ("mean", "var")}


@torch.no_grad()
def emotion_matrices(work: Path, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the stored speaker (32, 192) and emotion (32, width) vectors: four speakers in each of the eight emotions.

    Every row is the mean over recordings of one speaker in one style, by the trained encoders themselves.
    """
    examples, model, styles = Examples(work), load_language_model(work), compute_styles(work)
    rng = np.random.default_rng(seed)
    corpus = examples.corpus
    training = np.array(corpus.training[: len(styles)])
    speakers, emotions = [], []
    for style in range(len(STYLES)):
        for who in range(len(SPEAKERS)):
            mine = training[(corpus.speakers[training] == who) & (corpus.styles[training] == style)]
            speakers.append(styles[mine].mean(0))
            stretches = np.stack([examples.reference(who, style, STRETCH_FRAMES, rng) for _ in range(STRETCHES)])
            emotions.append(model.emotion(torch.from_numpy(stretches)).mean(0).numpy())
    return torch.from_numpy(np.stack(speakers).astype(np.float32)), torch.from_numpy(np.stack(emotions))


def _states(work: Path) -> dict[str, dict[str, Tensor]]:
    """Return every state dict, weights whole, under the published keys."""
    language, flow = load_language_model(work), load_flow(work)
    codec = Codec()
    codec.load_state_dict(trained(work, "codec", "model"))
    gpt: dict[str, Tensor] = {}
    for part in (language.speaker, language.emotion, language.prefix, language.speech, language.decoder):
        gpt |= part.state_dict()
    return {
        "gpt": gpt,
        "cfm": {f"estimator.{key}": value for key, value in flow.estimator.state_dict().items()},
        "length_regulator": dict(flow.regulator.state_dict()),
        "gpt_layer": dict(flow.projector.gpt_layer.state_dict()),
        "codec": {
            **codec.into.state_dict(),
            **{f"decoder.{key}": value for key, value in codec.back.decoder.state_dict().items()},
        },
        "campplus": speaker.weights(work),
        "bigvgan": vocoder.weights(work),
        "w2v_bert": trained(work, "features", "model"),
    }


def _stored(name: str, given: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the tensors under `shapes`, weight norm split, dead keys zero. Raises ValueError where they do not fit."""
    found: dict[str, Tensor] = {}
    for key, value in given.items():
        if published.weight_normed(name, key):
            base = key.removesuffix(".weight")
            axes = tuple(range(1, value.ndim))
            found[f"{base}.weight_g"] = torch.linalg.vector_norm(value, dim=axes, keepdim=True)
            found[f"{base}.weight_v"] = value
        else:
            found[key] = value
    strange = [key for key in found if key not in shapes]
    misshapen = [key for key in found if key in shapes and tuple(found[key].shape) != shapes[key]]
    if strange or misshapen:
        raise ValueError(f"{name}: {strange[:5]} have no place, {misshapen[:5]} another shape")
    for key, shape in shapes.items():
        if key not in found:
            found[key] = torch.arange(shape[0]) if key.endswith("input_pos") else torch.zeros(shape)
    return {key: _halved(found[key]) for key in shapes}


def _halved(value: Tensor) -> Tensor:
    """Return a matrix of weights as float16, anything else as it is."""
    halve = value.is_floating_point() and value.ndim > 1 and value.numel() >= 4096
    return (value.half() if halve else value).detach().contiguous().clone()
