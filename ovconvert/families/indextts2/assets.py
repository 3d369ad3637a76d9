"""What the runtime needs besides graphs: settings, tokenizers, the stored emotion and speaker vectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovconvert.errors import ConversionError, IntegrityError
from ovconvert.families.indextts2.checks import lookup, unusable
from ovconvert.families.indextts2.layout import GLOSSARY, Contents, read_json
from ovconvert.runtime.tokenizers import HFTokenizer, SentencePieceTokenizer, TiktokenTokenizer

CLASSIFIER = "emotion_classifier"
LENGTH_RATIO = 1.72  # mel frames per content frame (spec section 12)
CLASSIFIER_SYSTEM = "文本情感分类"  # the system message that the classifier was trained with (spec section 9.1)
MARK = "\u2063text\u2063"  # stands for the user's text while the chat template is rendered

# Rows of the language table of version 2.5: the languages of the Whisper tokenizer in its order, the dialect marks that
# speech models add to them, and the row for all else. The order is not in the checkpoint and was not verified on the
# released file.
LANGUAGES = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la
mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be
tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue minnan wuyu dialect
zh/en en/zh common
""".split()  # noqa: SIM905 - a hundred quoted items read worse


def write_assets(dest: Path, contents: Contents, settings: Mapping[str, Any]) -> None:
    """Write `config.json`, the tokenizers and the matrices into `dest`."""
    dest.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(contents.tokenizer, dest / contents.tokenizer.name)
    for name, matrix in contents.matrices.items():
        np.save(dest / f"{name}_matrix.npy", np.asarray(matrix, np.float32))
    if contents.classifier is not None:
        (dest / CLASSIFIER).mkdir()
        shutil.copyfile(contents.classifier / "tokenizer.json", dest / CLASSIFIER / "tokenizer.json")
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    (dest / "config.json").write_text(text + "\n", encoding="utf-8")


def read_settings(contents: Contents, configs: Mapping[str, Any], variant: str, problems: list[str]) -> dict[str, Any]:
    """Return the settings of the runtime program; add to `problems` whatever the runtime could not work with.

    The tokenizers are opened here, so that a damaged one is found before any graph is made.
    """
    problems += unusable(contents.config, contents.vocoder_config, configs)
    opens: list[tuple[Path, Callable[[Path], object]]] = [
        (contents.tokenizer, TiktokenTokenizer if variant == "2.5" else SentencePieceTokenizer)
    ]
    classifier: dict[str, Any] = {}
    if contents.classifier is not None:
        opens.append((contents.classifier / "tokenizer.json", HFTokenizer))
        try:
            classifier = {CLASSIFIER: _classifier(contents.classifier)}
        except ConversionError as error:
            problems.append(str(error))
    for path, open_tokenizer in opens:
        try:
            open_tokenizer(path)
        except IntegrityError:
            problems.append(f"{path} is missing, damaged or truncated: no tokenizer can be read from it; copy it again")
    return {} if problems else _settings(contents, configs, variant) | classifier


def _settings(contents: Contents, configs: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """Return the settings of the runtime program."""
    config = contents.config
    mel = lookup(config, "s2mel.preprocess_params.spect_params")
    highest = mel.get("fmax")
    settings = {
        "variant": variant,
        "mel": {
            "sample_rate": int(lookup(config, "s2mel.preprocess_params.sr")),
            "n_fft": int(mel["n_fft"]),
            "win_length": int(mel["win_length"]),
            "hop_length": int(mel["hop_length"]),
            "n_mels": configs["vocoder"].mel,
            "fmin": float(mel.get("fmin") or 0.0),
            "fmax": None if highest in (None, "None") else float(highest),
        },
        # the last two codes, where the file does not say it
        "start_speech": int(lookup(config, "gpt.start_mel_token") or configs["decoder"].vocabulary - 2),
        "stop_speech": int(lookup(config, "gpt.stop_mel_token") or configs["decoder"].vocabulary - 1),
        "text_tokens": configs["text_embeddings"].text_tokens,
        "text_positions": configs["text_embeddings"].text_positions,
        "speech_positions": configs["speech_embeddings"].positions,
        "content_per_code": configs["semantic_decoder"].downsample if "semantic_decoder" in configs else 1,
        "length_ratio": float(lookup(config, "s2mel.length_ratio") or LENGTH_RATIO),
        "emotion_groups": [int(count) for count in config["emo_num"]],
        "tokenizer": contents.tokenizer.name,
        "glossary": _glossary(contents.source),
    }
    if variant == "2.5":
        settings["languages"] = list(LANGUAGES)
    return settings


def _glossary(source: Path) -> dict[str, Any]:
    """Return the user's pronunciations, {term: reading, or {language: reading}}."""
    import yaml

    path = source / GLOSSARY
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(content, dict):
        raise ConversionError(f"{path} must map terms to readings")
    return content


def _classifier(source: Path) -> dict[str, Any]:
    """Return the prompt and the generation settings of the emotion classifier.

    The prompt is rendered here from the checkpoint's own chat template, so that the runtime needs no template engine.
    """
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (source / name).is_file():
            raise ConversionError(f"{source / name} is missing; the emotion classifier cannot read text without it")
    rendered = _render(source)
    if rendered.count(MARK) != 1:
        raise ConversionError(f"the chat template in {source} does not contain the user's text exactly once")
    before, after = rendered.split(MARK)
    generation = _read_json(source / "generation_config.json")
    model = _read_json(source / "config.json")
    stops = generation.get("eos_token_id", model.get("eos_token_id", []))
    return {
        "tokenizer": f"{CLASSIFIER}/tokenizer.json",
        "before": before,
        "after": after,
        "stop_tokens": stops if isinstance(stops, list) else [stops],
        "end_of_thought": "</think>",
        "do_sample": bool(generation.get("do_sample", False)),
        "temperature": float(generation.get("temperature", 1.0)),
        "top_k": int(generation.get("top_k", 50)),
        "top_p": float(generation.get("top_p", 1.0)),
    }


def _render(source: Path) -> str:
    """Return the chat prompt for the text MARK. Raises ConversionError if the template cannot be rendered."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    stated = source / "chat_template.jinja"
    template = stated.read_text(encoding="utf-8") if stated.is_file() else None
    template = template or _read_json(source / "tokenizer_config.json").get("chat_template")
    if not isinstance(template, str):
        raise ConversionError(f"{source} has no chat template; the emotion classifier cannot be prompted without one")
    messages = [{"role": "system", "content": CLASSIFIER_SYSTEM}, {"role": "user", "content": MARK}]
    # the environment that chat templates are written for
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    try:
        return environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, enable_thinking=False, tools=None
        )
    except TemplateError as error:
        raise ConversionError(f"the chat template in {source} cannot be rendered: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
