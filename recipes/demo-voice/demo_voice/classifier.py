"""The emotion classifier: a very small Qwen3 that answers a chat prompt with scores, as the published one does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_voice.classifier_texts import Example, example
from demo_voice.initialise import initialise
from demo_voice.texts import Draw
from demo_voice.training import Training, trained, update
from ovconvert.families.indextts2 import assets
from ovconvert.families.indextts2.sample_assets import CHAT_MARKS, CHAT_TEMPLATE
from ovconvert.families.indextts2.settings_files import classifier_json
from ovconvert.families.indextts2.sizes import SIZES
from ovconvert.networks.qwen3 import Qwen3Config, Qwen3Step
from ovconvert.runtime.programs.indextts2.classifier import LABELS, read_scores
from ovconvert.runtime.tokenizers import HFTokenizer

CONFIG = Qwen3Config(
    layers=2,
    width=64,
    heads=4,
    kv_heads=2,
    head_dim=16,
    inner=160,
    vocabulary=1024,
    tied=True,
    rope_theta=1e6,
    eps=1e-6,
)
BATCH = 32
RATE = 4e-3
VOCABULARY_TEXTS = 6000  # that the tokenizer is learnt from
LONGEST_ANSWER = 24  # tokens
IGNORED = -100


class Taught(Qwen3Step):
    """The network with the logits of every position, which teaching needs and speaking does not."""

    def every(self, ids: Tensor) -> Tensor:
        """Return logits (B, S, V) of token ids (B, S); padding may follow a row, as no position looks ahead."""
        found: list[Tensor] = []
        with self.model.layers[-1].register_forward_hook(lambda module, given, output: found.append(output[0])):
            self(ids, torch.ones_like(ids), torch.arange(ids.shape[1]).expand_as(ids), *self.empty(len(ids)))
        return F.linear(self.model.norm(found[0]), self.model.embed_tokens.weight)

    def empty(self, batch: int) -> list[Tensor]:
        """Return the cache of no position."""
        return [torch.zeros(batch, self.config.kv_heads, 0, self.config.head_dim)] * (2 * self.config.layers)


class Chat:
    """The tokenizer and the prompt that the converter will find in a checkpoint's classifier directory."""

    def __init__(self, source: Path) -> None:
        self._settings: dict[str, Any] = assets._classifier(source)  # the very reader of the converter
        self._tokenizer = HFTokenizer(source / "tokenizer.json")
        self.stop: int = self._settings["stop_tokens"][0]

    def prompt(self, text: str) -> list[int]:
        """Return the tokens that stand before the answer about `text`."""
        return self._tokenizer.encode(self._settings["before"] + text + self._settings["after"])

    def answer(self, text: str) -> list[int]:
        """Return the tokens of an answer, with the stop token."""
        return [*self._tokenizer.encode(text), self.stop]

    def read(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's tokens up to the stop token."""
        ids = list(ids)
        return self._tokenizer.decode(ids[: ids.index(self.stop)] if self.stop in ids else ids)


def train(work: Path, steps: int, seed: int = 0) -> None:
    """Train for `steps` steps into WORK/classifier, going on from what is there."""
    chat = Chat(_settings(work, seed))
    torch.manual_seed(seed)
    network = Taught(CONFIG)
    initialise(network, 0.08)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
    training = Training(work, "classifier", steps, {"network": network}, {"all": optimizer}, seed)
    for _ in training.steps():
        draw = Draw(int(training.rng().integers(1 << 62)))
        ids, wanted = batch(chat, [example(draw, testing=False) for _ in range(BATCH)])
        logits = network.every(ids)[:, :-1]
        taught = wanted[:, 1:] != IGNORED
        loss = F.cross_entropy(logits[taught], wanted[:, 1:][taught])
        update(optimizer, loss)
        right = (logits[taught].argmax(-1) == wanted[:, 1:][taught]).float().mean()
        training.log(loss=loss.detach(), accuracy=right)


def batch(chat: Chat, rows: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return token ids (B, S), and the same where they belong to an answer, IGNORED elsewhere."""
    ids, wanted = [], []
    for row in rows:
        prompt, answer = chat.prompt(row.text), chat.answer(row.answer)
        ids.append(torch.tensor(prompt + answer))
        wanted.append(torch.tensor([IGNORED] * len(prompt) + answer))
    padded = nn.utils.rnn.pad_sequence
    return padded(ids, batch_first=True), padded(wanted, batch_first=True, padding_value=IGNORED)


def weights(work: Path) -> dict[str, Tensor]:
    """Return the trained weights by the published keys. Raises FileNotFoundError if it has not been trained."""
    return trained(work, "classifier", "network")


def write(work: Path, dest: Path) -> None:
    """Write the directory `qwen0.6bemo4-merge` of a checkpoint as `dest`: weights in float16, settings, tokenizer."""
    from safetensors.torch import save_file

    dest.mkdir(parents=True, exist_ok=True)
    for path in sorted(_directory(work).iterdir()):
        (dest / path.name).write_bytes(path.read_bytes())
    save_file({key: value.half().contiguous() for key, value in weights(work).items()}, dest / "model.safetensors")


def evaluate(work: Path, count: int = 400, seed: int = 1) -> dict[str, float]:
    """Return the share of held-out texts whose emotion comes out highest, of all and of each emotion.

    Weights are those of `write`, and answers are read by the rules of the runtime. `exact` is the share of answers that
    are to the letter as asked for; `tokens` is the mean length of an answer.
    """
    chat = Chat(_directory(work))
    network = Taught(CONFIG).eval()
    network.load_state_dict({key: value.half().float() for key, value in weights(work).items()})
    draw = Draw(seed)
    rows = [example(draw, testing=True) for _ in range(count)]
    found: dict[str, list[bool]] = {}
    lengths = []
    for row in rows:
        ids = answer(network, chat.prompt(row.text), chat.stop)
        said = chat.read(ids)
        right = int(np.argmax(read_scores(said, row.text))) == row.emotion
        lengths.append(len(ids))
        for name, value in (("all", right), (LABELS[row.emotion], right), ("exact", said == row.answer)):
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()} | {"tokens": float(np.mean(lengths))}


@torch.no_grad()
def answer(network: Taught, prompt: list[int], stop: int) -> list[int]:
    """Return the tokens that most likely follow `prompt`, to the stop token or LONGEST_ANSWER."""
    said: list[int] = []
    ids, past = torch.tensor([prompt]), network.empty(1)
    while len(said) < LONGEST_ANSWER and (not said or said[-1] != stop):
        seen = past[0].shape[2]
        positions = torch.arange(seen, seen + ids.shape[1])[None]
        logits, *past = network(ids, torch.ones(1, seen + ids.shape[1], dtype=torch.int64), positions, *past)
        said.append(int(logits[0].argmax()))
        ids = torch.tensor([said[-1:]])
    return said


def _directory(work: Path) -> Path:
    return work / "classifier" / "settings"


def _settings(work: Path, seed: int) -> Path:
    """Write config.json, the tokenizer and the generation settings into WORK/classifier, unless they are there."""
    dest = _directory(work)
    if (dest / "config.json").is_file():
        return dest
    dest.mkdir(parents=True, exist_ok=True)
    stops = _write_tokenizer(dest / "tokenizer.json", seed)
    files = {
        "tokenizer_config.json": {"chat_template": CHAT_TEMPLATE, "eos_token": "<|im_end|>"},
        "generation_config.json": {"do_sample": False, "eos_token_id": stops},
    }
    for name, content in files.items():
        (dest / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    (dest / "config.json").write_text(classifier_json(replace(SIZES["tiny"], classifier=CONFIG)), encoding="utf-8")
    return dest


def _write_tokenizer(dest: Path, seed: int) -> list[int]:
    """Write a byte-level BPE of the training texts and return the ids of its stop tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    draw = Draw(seed)
    rows = [example(draw, testing=False) for _ in range(VOCABULARY_TEXTS)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG.vocabulary,
        special_tokens=list(CHAT_MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    frame = [assets.CLASSIFIER_SYSTEM, "system", "user", "assistant"] * VOCABULARY_TEXTS  # around every text: one token each
    tokenizer.train_from_iterator([*(text for row in rows for text in (row.text, row.answer)), *frame], trainer)
    tokenizer.save(str(dest))
    return [tokenizer.token_to_id(mark) for mark in ("<|im_end|>", "<|endoftext|>")]
