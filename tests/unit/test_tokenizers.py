"""Tokenizers of checkpoints, made small."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from ovconvert.errors import IntegrityError
from ovconvert.runtime.tokenizers import (
    WORDS,
    HFTokenizer,
    SentencePieceTokenizer,
    TiktokenTokenizer,
    Tokenizer,
    speech_special_tokens,
)

LINES = ["HELLO WORLD , HOW ARE YOU .", "THE WORLD IS WIDE .", "你 好 世 界"]


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sentencepiece

    path = tmp_path_factory.mktemp("bpe") / "bpe.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_prefix=str(path.with_suffix("")),
        vocab_size=60,
        model_type="bpe",
        bos_id=0,
        eos_id=1,
        unk_id=2,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )
    return path


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks") / "tiny.tiktoken"
    tokens = [bytes([byte]) for byte in range(256)] + [b"he", b"ll", b"hell", b"hello", " 你".encode()[:2]]
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    return path


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, trainers

    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|im_start|>"], initial_alphabet=alphabet, show_progress=False
    )
    fast.train_from_iterator(LINES, trainer)
    path = tmp_path_factory.mktemp("hf") / "tokenizer.json"
    fast.save(str(path))
    return path


def test_sentencepiece_gives_pieces_and_ids(bpe: Path) -> None:
    tokenizer = SentencePieceTokenizer(bpe)
    pieces = tokenizer.pieces("HELLO WORLD .")
    assert "".join(pieces).replace("▁", " ").strip() == "HELLO WORLD ."
    ids = tokenizer.encode("HELLO WORLD .")
    assert ids == tokenizer.ids(pieces) and all(2 < token < tokenizer.size for token in ids)
    assert tokenizer.decode(ids) == "HELLO WORLD ."
    assert 2 in tokenizer.encode("HELLO 猫")
    assert tokenizer.ids(["猫", "<s>", "</s>"]) == [2, 0, 1]
    assert tokenizer.encode("") == []


def test_tiktoken_merges_by_rank_and_knows_special_tokens(ranks: Path) -> None:
    tokenizer = TiktokenTokenizer(ranks, ["<|zh|>", "<|en|>"])
    assert tokenizer.size == 263
    assert tokenizer.encode("hello") == [259]
    assert tokenizer.encode("<|en|> hell") == [262, 32, 258]
    text = "你好, <|zh|>世界 hello"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert TiktokenTokenizer(ranks).encode("<|en|>")[0] == ord("<")


def test_words_are_cut_as_the_library_cuts_them() -> None:
    import regex
    from tiktoken_ext.openai_public import r50k_pat_str

    for text in ("I'll don't it's we've we're I'm he'd  x", "a1 23,.!\n\n  b \t c", "你好 world3  ", "é_ñ 'S ½ ²x"):
        assert regex.findall(WORDS, text) == regex.findall(r50k_pat_str, text)
    assert regex.findall(WORDS, "ab 12") != regex.findall(r"\S+|\s", "ab 12")


def test_speech_vocabulary_has_the_published_size() -> None:
    special = speech_special_tokens(f"l{index}" for index in range(99))
    assert 58836 + len(special) == 60509
    assert len(set(special)) == len(special)
    assert special[:3] == ("<|endoftext|>", "<|startoftranscript|>", "<|l0|>")
    assert special[-1] == "<|30.00|>" and "<|SPECIAL_TOKEN_1|>" in special


def test_tokenizer_json(hf: Path) -> None:
    tokenizer = HFTokenizer(hf)
    text = "<|im_start|>HELLO 猫 WORLD"
    ids = tokenizer.encode(text)
    assert ids[0] == 0 and max(ids) < tokenizer.size
    assert tokenizer.decode(ids) == text


def test_one_protocol(bpe: Path, ranks: Path, hf: Path) -> None:
    found: list[Tokenizer] = [SentencePieceTokenizer(bpe), TiktokenTokenizer(ranks), HFTokenizer(hf)]
    for tokenizer in found:
        ids = tokenizer.encode("HELLO WORLD")
        assert ids and all(type(token) is int for token in ids)
        assert tokenizer.decode(ids) == "HELLO WORLD"


@pytest.mark.parametrize("make", [SentencePieceTokenizer, TiktokenTokenizer, HFTokenizer])
def test_unreadable_files_are_damage(tmp_path: Path, make: Callable[[Path], object]) -> None:
    garbage = tmp_path / "garbage"
    for content in (b"", b"\x00\xff garbage \n in", b"YQ== 0\n", b"{}", b"YQ== x\n"):
        garbage.write_bytes(content)
        with pytest.raises(IntegrityError, match="ovconvert verify"):
            make(garbage)
    with pytest.raises(IntegrityError, match="absent"):
        make(tmp_path / "absent")
