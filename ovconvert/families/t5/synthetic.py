"""Directories with seeded random weights, as the transformers library saves them: tiny for tests, full for honest timing."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from ovconvert.errors import UsageError
from ovconvert.seeded import SENTENCES, spread, write_json

PIECES = 300  # of the sample texts, at most; the other ids have no text
NEVER = -100.0  # score of a piece that no text is cut into
SENTINELS = 100  # <extra_id_99> to <extra_id_0>, which come last
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"vocab_size": 512, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "full": {"vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "1.0": {"feed_forward_proj": "relu", "tie_word_embeddings": True},
}
# by part of the name, the first that fits, in a model of so many layers or fewer
SPREAD_LAYERS = 2
SPREAD = {
    "EncDecAttention.q": 6.0,
    "relative_attention_bias": 6.0,
    "EncDecAttention": 2.0,
    "DenseReluDense.wo": 6.0,
    "Attention": 1.5,
    "": 1.0,
}


def make_checkpoint(dest: Path, *, size: str, seed: int, variant: str = "") -> None:
    """Write a directory of `size` (tiny or full) and `variant` (1.1 unless given) with weights drawn from `seed`.

    Full is as large as the base model. Raises UsageError for a size or variant that does not exist.
    """
    variant = variant or next(iter(VARIANTS))
    for what, given, allowed in (("size", size, SIZES), ("variant", variant, VARIANTS)):
        if given not in allowed:
            raise UsageError(f"no {what} {given!r}; have: {', '.join(allowed)}")
    write(dest, seed=seed, **{**SIZES[size], **VARIANTS[variant]})


def write(dest: Path, *, seed: int, vocab_size: int, tie_word_embeddings: bool, **settings: Any) -> None:
    """Write a directory with the `settings` of config.json; the head is the embedding table if they are tied."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    dest.mkdir(parents=True, exist_ok=True)
    tokens = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=vocab_size, tie_word_embeddings=tie_word_embeddings, **settings, **tokens)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config)
        layers = max(config.num_layers, config.num_decoder_layers)
        spread(model, lambda name: scale(name, layers))
        if not tie_word_embeddings:
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.shared.weight) * config.d_model**-0.5 * 2)
    model.config.tie_word_embeddings = tie_word_embeddings
    model.save_pretrained(dest)
    saved = config.to_dict() | {"tie_word_embeddings": tie_word_embeddings, "architectures": ["T5ForConditionalGeneration"]}
    write_json(dest / "config.json", saved)
    write_json(dest / "generation_config.json", tokens)
    write_tokenizer(dest, vocab_size)


def scale(name: str, layers: int) -> float:
    """Return by how much a matrix is enlarged, so that what is read and what was said both change the next token.

    Every layer makes the errors of those before it larger: as much in each of many, and float16 would be another model.
    """
    factor = next(factor for part, factor in SPREAD.items() if part in name)
    return factor ** min(1.0, SPREAD_LAYERS / layers)


def write_tokenizer(dest: Path, size: int) -> None:
    """Write a Unigram tokenizer of `size` ids: the words and letters of our sample texts, unused pieces, the sentinels.

    The library's trainer is not asked: the last digits of what it learns change from run to run.
    """
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    first = ["<pad>", "</s>", "<unk>"]
    words = [f"\u2581{word}" for sentence in SENTENCES for word in sentence.split()]
    counts = Counter([*words, *"".join(words)]).most_common(PIECES - len(first))
    pieces = [(token, 0.0) for token in first] + [(piece, math.log(count / len(words))) for piece, count in counts]
    pieces += [(f"<unused_{index}>", NEVER) for index in range(len(pieces), size - SENTINELS)]
    tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=first.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*first, *(f"<extra_id_{index}>" for index in reversed(range(SENTINELS)))])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(dest / "tokenizer.json"))
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    write_json(dest / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
