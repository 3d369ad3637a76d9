"""The decoder of a checkpoint as a plain GPT-2 of `transformers`, for engines that know that one whole."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ovconvert import families, package
from ovconvert.baselines.pytorch import TorchEngine
from ovconvert.errors import UsageError
from ovconvert.language_model import Gpt2Names, parts_of

if TYPE_CHECKING:
    import torch
    from torch import nn


def write_gpt2(checkpoint: Path, package_dir: Path, dest: Path) -> None:
    """Write the decoder of `checkpoint`, that of the package at `package_dir`, as a float32 GPT-2 directory.

    Layers, embeddings of ids and positions, and the matrix of the head are the same numbers. GPT-2 has one norm behind its
    layers and no bias in its head: where the decoder has two norms, the last stands alone, and a bias is left out. So the
    states of all layers are equal and the logits are not; an engine that runs this does a little less than ours. A tokenizer
    of made-up words, one per id, is there because engines ask for one. The model itself has no id that ends a text.

    Raises UsageError if the family does not say how its decoder is a GPT-2, or if the checkpoint is another.
    """
    from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

    names = names_of(package.load(package_dir).family)
    engine = TorchEngine(checkpoint, package_dir)
    parts = parts_of(engine.manifest)
    decoder, embeddings = (engine.network(component.name) for component in (parts.decoder, parts.embeddings))
    cache = parts.decoder.cache
    assert cache is not None
    state = renamed(decoder, embeddings, names)
    ids, width = state["transformer.wte.weight"].shape
    config = GPT2Config(
        vocab_size=ids,
        n_positions=state["transformer.wpe.weight"].shape[0],
        n_embd=width,
        n_layer=cache.layers,
        n_head=cache.heads,
        n_inner=state["transformer.h.0.mlp.c_fc.weight"].shape[1],
        activation_function="gelu_new",
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = _without_memory(GPT2LMHeadModel, config)
    model.load_state_dict(state, strict=True, assign=True)
    model.generation_config = GenerationConfig(bos_token_id=None, eos_token_id=None, pad_token_id=0)
    model.save_pretrained(dest)
    _write_tokenizer(ids, dest)


def names_of(family: str) -> Gpt2Names:
    """Return what a family says about its tensors. Raises UsageError if it says nothing."""
    try:
        module = importlib.import_module(f"{families.__name__}.{family}.language_model")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the family {family!r} does not say how its decoder is a GPT-2; say so in a language_model.py beside it"
        ) from error
    found: Gpt2Names = module.GPT2
    return found


def renamed(decoder: nn.Module, embeddings: nn.Module, names: Gpt2Names) -> dict[str, torch.Tensor]:
    """Return the tensors of both networks that a GPT-2 has, under its names. Raises UsageError naming what is missing."""
    have = {**decoder.state_dict(), **embeddings.state_dict()}
    taken = {names.tokens: "transformer.wte.weight", names.positions: "transformer.wpe.weight", names.head: "lm_head.weight"}
    taken |= {f"{names.norm}{kind}": f"transformer.ln_f.{kind}" for kind in ("weight", "bias")}
    taken |= {name: f"transformer.h.{name.removeprefix(names.layers)}" for name in have if name.startswith(names.layers)}
    missing = [name for name in taken if name not in have]
    if missing:
        raise UsageError(f"the decoder has no tensors {', '.join(missing)}, which its family says are those of a GPT-2")
    return {new: have[old].detach().contiguous() for old, new in taken.items()}


def _without_memory(make: type[nn.Module], config: object) -> nn.Module:
    """Return a network whose tensors have a shape and no memory: all of them are given later."""
    import torch

    with torch.device("meta"):
        return make(config)


def _write_tokenizer(ids: int, dest: Path) -> None:
    """Write a tokenizer that knows the words t0, t1, ...; the last is what some engine wants for start, end and unknown."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"t{number}": number for number in range(ids)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=f"t{ids - 1}"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(dest / "tokenizer.json"))
    marks = dict.fromkeys(("bos_token", "eos_token", "unk_token"), f"t{ids - 1}")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 10**6, **marks}
    (dest / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
