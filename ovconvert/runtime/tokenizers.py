"""Text to token ids by the tokenizer file of a checkpoint: SentencePiece, tiktoken ranks, or tokenizer.json."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from ovconvert.errors import IntegrityError

# What speech vocabularies of this kind add to their ranks, in order; languages follow the first two. With 99 languages
# and 58836 ranks it is the 60509 tokens that version 2.5 declares.
BEFORE_LANGUAGES = ("<|endoftext|>", "<|startoftranscript|>")
EVENTS = ["ASR", "AED", "SER", "Speech", "/Speech", "BGM", "/BGM", "Laughter", "/Laughter", "Applause", "/Applause"]
FEELINGS = ["HAPPY", "SAD", "ANGRY", "NEUTRAL"]
TASKS = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
VOCAL = [
    *["TTS/B", "TTS/O", "TTS/Q", "TTS/A", "TTS/CO", "TTS/CL", "TTS/H"],
    *(f"TTS/SP{index:02d}" for index in range(1, 14)),
]
SPARE = [f"SPECIAL_TOKEN_{index}" for index in range(1, 31)]
TIMES = [f"{index * 0.02:.2f}" for index in range(1501)]  # seconds
AFTER_LANGUAGES = tuple(f"<|{name}|>" for name in (*EVENTS, *FEELINGS, *TASKS, *SPARE, *VOCAL, *TIMES))

# Words as such vocabularies cut them before merging: English endings, letters, digits and signs, each with the
# space before it, then other space.
WORDS = r"'(?:d|ll|m|re|s|t|ve)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def speech_special_tokens(languages: Iterable[str]) -> tuple[str, ...]:
    """Return the special tokens of such a speech vocabulary in the order of their ids."""
    return (*BEFORE_LANGUAGES, *(f"<|{language}|>" for language in languages), *AFTER_LANGUAGES)


class Tokenizer(Protocol):
    """Text to ids and back."""

    @property
    def size(self) -> int:
        """Number of ids."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; none is added before or after."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""


class SentencePieceTokenizer:
    """A SentencePiece `.model` file. Raises IntegrityError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        import sentencepiece

        data = _read(path)
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            if not self._model.LoadFromSerializedProto(data):
                raise RuntimeError("the loader refuses it")
        except RuntimeError as error:
            raise _unreadable(path, "no SentencePiece model", error) from error

    @property
    def size(self) -> int:
        """Number of ids."""
        return int(self._model.GetPieceSize())

    def pieces(self, text: str) -> list[str]:
        """Return the pieces of `text`; joined, with ▁ read as a space, they are the text."""
        return [str(piece) for piece in self._model.EncodeAsPieces(text)]

    def ids(self, pieces: Iterable[str]) -> list[int]:
        """Return the id of every piece; that of the unknown piece for one that is not in the vocabulary."""
        return [int(self._model.PieceToId(piece)) for piece in pieces]

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; none is added before or after."""
        return self.ids(self.pieces(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        return str(self._model.DecodeIds([int(token) for token in ids]))


class TiktokenTokenizer:
    """Byte-level BPE from a `.tiktoken` file: one base64 token and its rank per line.

    `special_tokens` are numbered after the ranks, and recognised wherever they stand in a text. Raises IntegrityError if
    the file cannot be read or lacks a byte.
    """

    def __init__(self, path: Path, special_tokens: Sequence[str] = ()) -> None:
        import tiktoken

        try:
            lines = _read(path).decode("ascii").splitlines()
            pairs = [line.split() for line in lines if line.strip()]
            ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
        except (ValueError, binascii.Error) as error:
            raise _unreadable(path, "no tiktoken ranks: base64 and a number on every line", error) from error
        missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
        if missing or sorted(ranks.values()) != list(range(len(ranks))):
            raise _unreadable(path, "incomplete", f"{len(ranks)} ranks, {len(missing)} of 256 bytes missing")
        special = {token: len(ranks) + index for index, token in enumerate(special_tokens)}
        self._encoding = tiktoken.Encoding(name=path.name, pat_str=WORDS, mergeable_ranks=ranks, special_tokens=special)

    @property
    def size(self) -> int:
        """Number of ids."""
        return int(self._encoding.n_vocab)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; none is added before or after."""
        return list(self._encoding.encode(text, allowed_special="all"))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are no UTF-8 become replacement marks."""
        return str(self._encoding.decode([int(token) for token in ids]))


class HFTokenizer:
    """A `tokenizer.json`. Raises IntegrityError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        import tokenizers

        data = _read(path)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(data)
        except Exception as error:  # the library raises bare Exception
            raise _unreadable(path, "no tokenizer.json", error) from error

    @property
    def size(self) -> int:
        """Number of ids."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; none is added before or after."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, special: bool = True) -> str:
        """Return the text of `ids`, special tokens included unless `special` is False."""
        return str(self._tokenizer.decode([int(token) for token in ids], skip_special_tokens=not special))


def _read(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, "no readable file", error) from error


def _unreadable(path: Path, what: str, error: object) -> IntegrityError:
    return IntegrityError(f"tokenizer {path} is {what}; check the package with 'ovconvert verify': {error}")
