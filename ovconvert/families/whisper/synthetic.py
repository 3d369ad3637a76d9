"""Directories with seeded random weights, as the transformers library saves them: tiny for tests, full for honest timing."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ovconvert.errors import UsageError
from ovconvert.seeded import SENTENCES, spread, write_json

LANGUAGES = ("en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt", "tr")
AFTER_LANGUAGES = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
# chunk_seconds: the window that the encoder hears; words: ids before the special ones
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "words": 400,
        "chunk_seconds": 2,
        "max_target_positions": 64,
        "config": {"d_model": 32, "heads": 4, "layers": 2, "ffn": 64, "bands": 16},
    },
    "full": {
        "words": 50257,
        "chunk_seconds": 30,
        "max_target_positions": 448,
        "config": {"d_model": 512, "heads": 8, "layers": 6, "ffn": 2048, "bands": 80},
    },
}
POSITIONS_PER_SECOND = 50
# by pattern of name, the first that fits, at this width; the library draws with a deviation of 0.02
SPREAD_WIDTH = 32
SPREAD = {
    "*encoder.embed_positions.weight": 1.0,
    "*embed_positions.weight": 20.0,
    "*encoder_attn.[qk]_proj.weight": 16.0,
    "*encoder_attn.*.weight": 12.0,
    "*encoder.*": 4.0,
    "*": 6.0,
}


def make_checkpoint(dest: Path, *, size: str, seed: int, variant: str = "") -> None:
    """Write a directory of `size` (tiny or full) with weights drawn from `seed`; full is as large as the base model.

    Raises UsageError for a size or variant that does not exist.
    """
    if size not in SIZES or variant:
        given = f"variant {variant!r}" if variant else f"size {size!r}"
        raise UsageError(f"no {given}; have: the sizes {', '.join(SIZES)} and no variants")
    chosen = SIZES[size]
    write(dest, seed=seed, **chosen)


def write(
    dest: Path, *, seed: int, words: int, chunk_seconds: int, max_target_positions: int, config: dict[str, int], **more: Any
) -> None:
    """Write a directory of the given sizes; `more` are settings of config.json."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    dest.mkdir(parents=True, exist_ok=True)
    special = special_tokens(chunk_seconds)
    ids = {token: words + index for index, token in enumerate(special)}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    tokens = {"decoder_start_token_id": start, "eos_token_id": end, "bos_token_id": end, "pad_token_id": end}
    settings = WhisperConfig(
        vocab_size=words + len(special),
        num_mel_bins=config["bands"],
        d_model=config["d_model"],
        encoder_layers=config["layers"],
        decoder_layers=config["layers"],
        encoder_attention_heads=config["heads"],
        decoder_attention_heads=config["heads"],
        encoder_ffn_dim=config["ffn"],
        decoder_ffn_dim=config["ffn"],
        max_source_positions=chunk_seconds * POSITIONS_PER_SECOND,
        max_target_positions=max_target_positions,
        **tokens,
        **more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(settings)
        spread(model, lambda name: scale(name, config["d_model"]))
    generation = tokens | {
        "is_multilingual": True,
        "lang_to_id": {f"<|{language}|>": ids[f"<|{language}|>"] for language in LANGUAGES},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "max_initial_timestamp_index": chunk_seconds * POSITIONS_PER_SECOND // 2,
        "suppress_tokens": [*sorted(ids[f"<|{word}|>"] for word in ("startoflm", "startofprev", "nospeech")), start],
        "begin_suppress_tokens": [words - 1, end],
        "return_timestamps": False,
        "max_length": max_target_positions,
        "alignment_heads": [[config["layers"] - 1, head] for head in range(config["heads"])],
    }
    model.save_pretrained(dest)
    write_json(dest / "generation_config.json", generation)
    front_end = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": config["bands"],
        "sampling_rate": 16000,
        "hop_length": 160,
        "chunk_length": chunk_seconds,
        "n_fft": 400,
        "n_samples": chunk_seconds * 16000,
        "nb_max_frames": chunk_seconds * 100,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    write_json(dest / "preprocessor_config.json", front_end)
    write_tokenizer(dest, words, special)


def scale(name: str, width: int) -> float:
    """Return by how much a matrix is enlarged, so that what is heard and what was said both change the next token.

    The wider the model, the more terms a product adds up: the same factor would make its attention all or nothing, and
    float16 another model.
    """
    factor = next(factor for pattern, factor in SPREAD.items() if fnmatchcase(name, pattern))
    return factor if factor == 1.0 else factor * (SPREAD_WIDTH / width) ** 0.5


def special_tokens(chunk_seconds: int) -> list[str]:
    """Return the special tokens in the order of their ids: the end, the start, languages, tasks, times."""
    words = (*LANGUAGES, *AFTER_LANGUAGES)
    times = [f"<|{index * 0.02:.2f}|>" for index in range(chunk_seconds * POSITIONS_PER_SECOND + 1)]
    return ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{word}|>" for word in words), *times]


def write_tokenizer(dest: Path, words: int, special: list[str]) -> None:
    """Write a byte-level tokenizer of `words` tokens, learnt from our sample texts, with `special` after them."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=words, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(SENTENCES, trainer)
    learnt = json.loads(trained.to_str())["model"]
    vocabulary = dict(learnt["vocab"])
    vocabulary |= {f"unused{index}": index for index in range(len(vocabulary), words)}
    merges = [tuple(pair) for pair in learnt["merges"]]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(dest / "tokenizer.json"))
    names = {"bos_token": special[0], "eos_token": special[0], "pad_token": special[0], "unk_token": special[0]}
    kind = {"tokenizer_class": "WhisperTokenizer", "add_prefix_space": False, "clean_up_tokenization_spaces": False}
    write_json(dest / "tokenizer_config.json", kind | names)
