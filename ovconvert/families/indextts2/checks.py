"""Where config.yaml and the tensors say the same thing, they must agree; so must components that feed each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Configs = Mapping[str, Any]


@dataclass(frozen=True)
class Agreement:
    """A value of config.yaml, by its dotted path, and what the tensors make it."""

    path: str
    component: str
    value: Callable[[Any], int]


AGREEMENTS = (
    Agreement("gpt.model_dim", "decoder", lambda c: c.width),
    Agreement("gpt.layers", "decoder", lambda c: c.layers),
    Agreement("gpt.number_mel_codes", "decoder", lambda c: c.vocabulary),
    Agreement("gpt.number_mel_codes", "speech_embeddings", lambda c: c.codes),
    Agreement("gpt.max_mel_tokens", "speech_embeddings", lambda c: c.positions - 3),
    Agreement("gpt.number_text_tokens", "text_embeddings", lambda c: c.text_tokens - 1),
    Agreement("gpt.max_text_tokens", "text_embeddings", lambda c: c.text_positions - 2),
    Agreement("gpt.condition_module.output_size", "speaker_conditioner", lambda c: c.conformer.width),
    Agreement("gpt.condition_module.linear_units", "speaker_conditioner", lambda c: c.conformer.inner),
    Agreement("gpt.condition_module.attention_heads", "speaker_conditioner", lambda c: c.conformer.heads),
    Agreement("gpt.condition_module.num_blocks", "speaker_conditioner", lambda c: c.conformer.blocks),
    Agreement("gpt.emo_condition_module.output_size", "emotion_conditioner", lambda c: c.conformer.width),
    Agreement("gpt.emo_condition_module.linear_units", "emotion_conditioner", lambda c: c.conformer.inner),
    Agreement("gpt.emo_condition_module.attention_heads", "emotion_conditioner", lambda c: c.conformer.heads),
    Agreement("gpt.emo_condition_module.num_blocks", "emotion_conditioner", lambda c: c.conformer.blocks),
    Agreement("semantic_codec.codebook_size", "semantic_codec", lambda c: c.codes),
    Agreement("semantic_codec.codebook_dim", "semantic_codec", lambda c: c.code_dim),
    Agreement("semantic_codec.hidden_size", "semantic_codec", lambda c: c.hidden),
    Agreement("semantic_codec.vocos_dim", "semantic_codec", lambda c: c.width),
    Agreement("semantic_codec.vocos_intermediate_dim", "semantic_codec", lambda c: c.inner),
    Agreement("semantic_codec.vocos_num_layers", "semantic_codec", lambda c: c.layers),
    Agreement("semantic_codec.codebook_size", "semantic_decoder", lambda c: c.codes),
    Agreement("semantic_codec.hidden_size", "semantic_decoder", lambda c: c.hidden),
    Agreement("s2mel.style_encoder.dim", "flow_estimator", lambda c: c.style),
    Agreement("s2mel.length_regulator.channels", "length_regulator", lambda c: c.channels),
    Agreement("s2mel.length_regulator.in_channels", "length_regulator", lambda c: c.inputs),
    Agreement("s2mel.DiT.hidden_dim", "flow_estimator", lambda c: c.width),
    Agreement("s2mel.DiT.depth", "flow_estimator", lambda c: c.depth),
    Agreement("s2mel.DiT.in_channels", "flow_estimator", lambda c: c.mel),
    Agreement("s2mel.DiT.content_dim", "flow_estimator", lambda c: c.content),
    Agreement("s2mel.wavenet.hidden_dim", "flow_estimator", lambda c: c.wavenet.width),
    Agreement("s2mel.wavenet.num_layers", "flow_estimator", lambda c: c.wavenet.layers),
    Agreement("s2mel.wavenet.kernel_size", "flow_estimator", lambda c: c.wavenet.kernel),
    Agreement("s2mel.preprocess_params.spect_params.n_mels", "vocoder", lambda c: c.mel),
)
# (component, its value) must equal (component, its value): what one makes and the other takes.
FEEDS: tuple[tuple[str, Callable[[Any], int], str, Callable[[Any], int], str], ...] = (
    ("semantic_encoder", lambda c: c.width, "speaker_conditioner", lambda c: c.conformer.features, "width of the features"),
    ("semantic_encoder", lambda c: c.width, "emotion_conditioner", lambda c: c.conformer.features, "width of the features"),
    ("semantic_encoder", lambda c: c.width, "semantic_codec", lambda c: c.hidden, "width of the features"),
    ("speaker_conditioner", lambda c: c.perceiver.width, "decoder", lambda c: c.width, "width of the conditioning"),
    ("emotion_conditioner", lambda c: c.width, "decoder", lambda c: c.width, "width of the emotion vector"),
    ("speaker_encoder", lambda c: c.embedding, "flow_estimator", lambda c: c.style, "width of the style vector"),
    ("speaker_encoder", lambda c: c.embedding, "text_embeddings", lambda c: getattr(c, "style", c), "style vector"),
    ("latent_projector", lambda c: c.widths[0], "decoder", lambda c: c.width, "width of the latents"),
    ("latent_projector", lambda c: c.widths[-1], "length_regulator", lambda c: c.inputs, "width of the content"),
    ("semantic_decoder", lambda c: c.hidden, "length_regulator", lambda c: c.inputs, "width of the content"),
    ("length_regulator", lambda c: c.outputs, "flow_estimator", lambda c: c.content, "width of the condition"),
    ("flow_estimator", lambda c: c.mel, "vocoder", lambda c: c.mel, "mel bands"),
)


def contradictions(config: Mapping[str, Any], configs: Configs, emotions: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return every contradiction between config.yaml, the tensors' sizes and the stored matrices."""
    problems = []
    for agreement in AGREEMENTS:
        stated = lookup(config, agreement.path)
        if stated is None or agreement.component not in configs:
            continue
        found = agreement.value(configs[agreement.component])
        if stated != found:
            problems.append(
                f"config.yaml says {agreement.path} = {stated}, the tensors of {agreement.component} say {found}"
            )
    for maker, made, taker, taken, what in FEEDS:
        if maker in configs and taker in configs:
            left, right = made(configs[maker]), taken(configs[taker])
            if isinstance(right, int) and left != right:
                problems.append(f"{what}: {maker} makes {left}, {taker} takes {right}")
    heads = lookup(config, "gpt.heads")
    if "decoder" in configs and configs["decoder"].width % (heads or 1):
        problems.append(f"config.yaml says gpt.heads = {heads}, which does not divide the width {configs['decoder'].width}")
    return problems + _matrices(config, configs, emotions)


# Numbers of config.yaml that are used as they are: (path, lowest, whether it may be left out).
NUMBERS = (
    ("gpt.heads", 1, False),
    ("s2mel.DiT.num_heads", 1, False),
    ("s2mel.preprocess_params.sr", 4000, False),
    ("s2mel.preprocess_params.spect_params.n_fft", 16, False),
    ("s2mel.preprocess_params.spect_params.hop_length", 1, False),
    ("s2mel.preprocess_params.spect_params.win_length", 1, False),
    ("s2mel.preprocess_params.spect_params.fmin", 0, True),
    ("gpt.start_mel_token", 0, True),
    ("gpt.stop_mel_token", 0, True),
)


def misstated(config: Mapping[str, Any]) -> list[str]:
    """Return every value of config.yaml that is missing, is no number, or is too small to mean anything."""
    problems = []
    for path, lowest, optional in NUMBERS:
        value = lookup(config, path)
        if value is None and optional:
            continue
        if value is None:
            problems.append(f"config.yaml lacks {path}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or value < lowest:
            problems.append(f"config.yaml says {path} = {value!r}; it must be a number from {lowest} on")
    groups = config.get("emo_num")
    if groups is None:
        problems.append("config.yaml lacks emo_num")
    elif not isinstance(groups, list) or not all(isinstance(count, int) and count > 0 for count in groups):
        problems.append(f"config.yaml says emo_num = {groups!r}; it must be a list of counts")
    return problems


def unusable(config: Mapping[str, Any], vocoder: Mapping[str, Any], configs: Configs) -> list[str]:
    """Return what the runtime could not work with: tokens beyond the vocabulary, rates that do not fit the vocoder."""
    problems = []
    for path in ("gpt.start_mel_token", "gpt.stop_mel_token"):
        token = lookup(config, path)
        if token is not None and "decoder" in configs and token >= configs["decoder"].vocabulary:
            problems.append(f"config.yaml says {path} = {token}, the decoder has {configs['decoder'].vocabulary} codes")
    spectrum = "s2mel.preprocess_params.spect_params"
    hop = lookup(config, f"{spectrum}.hop_length")
    if "vocoder" in configs and hop != math.prod(configs["vocoder"].rates):
        problems.append(f"config.yaml says a hop of {hop}, the vocoder makes {math.prod(configs['vocoder'].rates)} samples")
    rate = lookup(config, "s2mel.preprocess_params.sr")
    if vocoder.get("sampling_rate", rate) != rate:
        problems.append(f"config.yaml says {rate} samples per second, the vocoder's config {vocoder['sampling_rate']}")
    if lookup(config, f"{spectrum}.win_length") > lookup(config, f"{spectrum}.n_fft"):
        problems.append("config.yaml says a win_length above n_fft")
    highest = lookup(config, f"{spectrum}.fmax")
    if highest not in (None, "None") and not isinstance(highest, int | float):
        problems.append(f"config.yaml says fmax = {highest!r}; it must be a frequency or None")
    return problems


def lookup(config: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or None."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _matrices(config: Mapping[str, Any], configs: Configs, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    rows = sum(config.get("emo_num") or [])
    widths = {"speaker": ("speaker_encoder", "embedding"), "emotion": ("emotion_conditioner", "width")}
    problems = []
    for name, (component, attribute) in widths.items():
        if component in configs:
            expected = (rows, getattr(configs[component], attribute))
            if shapes[name] != expected:
                problems.append(f"the {name} matrix is {list(shapes[name])}; emo_num and {component} make {list(expected)}")
    return problems
