"""Text to segments of ids that the language model can hold (spec sections 15 and 17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovconvert.errors import UsageError
from ovconvert.runtime import text as rules
from ovconvert.runtime.request import MAX_TEXT, Resolved
from ovconvert.runtime.tokenizers import SentencePieceTokenizer, TiktokenTokenizer, speech_special_tokens

MARKS = (0, 1)  # start and stop of text: removed where a tokenizer yields them (section 10.1)
AUTO = "auto"
READ_ALIKE = (AUTO, "zh", "en")  # of version 2.0, which has no language input
MARKED_LANGUAGES = 99  # that have a special token of their own: with them the published 60509 tokens add up


@dataclass(frozen=True)
class Segment:
    """Text that is spoken in one go, its ids, and the row of its language (0 where the model has none)."""

    text: str
    ids: tuple[int, ...]
    language: int = 0


class Texts:
    """Normalises, tokenises and cuts text by the rules of the package's version."""

    def __init__(self, settings: Mapping[str, Any], assets: Path) -> None:
        self._settings = settings
        self._languages: list[str] = settings.get("languages", [])
        path = assets / settings["tokenizer"]
        self._pieces = None if self._languages else SentencePieceTokenizer(path)
        self._bytes = (
            TiktokenTokenizer(path, speech_special_tokens(self._languages[:MARKED_LANGUAGES])) if self._languages else None
        )

    def segments(self, text: str, request: Resolved) -> list[Segment]:
        """Return the segments of `text`, at least one, each within the model's limits.

        Raises UsageError for a text that cannot be spoken and for a language that does not exist.
        """
        checked = rules.check_text(text, MAX_TEXT)
        if not self._languages and request.language not in READ_ALIKE:
            raise UsageError(
                f"language {request.language!r}: this model tells by the text, and takes {', '.join(READ_ALIKE)}"
            )
        limit = min(request.segment_tokens, self._settings["text_positions"] - len(MARKS))
        by_sentence = request.segment_by == "sentence"
        segments = (
            self._by_pieces(checked, limit, by_sentence)
            if self._pieces
            else self._by_bytes(checked, limit, by_sentence, request.language)
        )
        segments = [segment for segment in segments if segment.ids]
        if not segments:
            raise UsageError(f"nothing of the text can be spoken: {text[:60]!r}")
        return segments

    def _by_pieces(self, text: str, limit: int, by_sentence: bool) -> list[Segment]:
        """Version 2.0: SentencePiece over upper-case text with East Asian characters apart."""
        assert self._pieces is not None
        normalized = rules.normalize_v2(text, self._settings["glossary"])
        # one visible character is read as it stands (section 15.2)
        spelled = normalized if len(normalized) == 1 else rules.split_ideographs(normalized)
        runs = rules.segment_pieces(self._pieces.pieces(spelled), limit, by_sentence=by_sentence)
        return [self._segment("".join(run).replace("▁", " ").strip(), self._pieces.ids(run)) for run in runs]

    def _by_bytes(self, text: str, limit: int, by_sentence: bool, language: str) -> list[Segment]:
        """Version 2.5: byte-level BPE behind a language mark, and a row for the language."""
        assert self._bytes is not None
        chosen = rules.language_of(text) if language == AUTO else language.lower()
        if chosen not in self._languages:
            raise UsageError(f"no language {language!r}; have: {AUTO}, {', '.join(self._languages)}")
        encode = self._bytes.encode
        normalized = rules.normalize_v25(text, chosen, self._settings["glossary"])
        chunks = rules.chunk_text_v25(normalized, chosen, lambda piece: len(encode(piece)), limit, by_sentence=by_sentence)
        prefix = rules.language_prefix_v25(chosen)
        row = self._languages.index(chosen)
        return [self._segment(chunk.strip(), encode(prefix + chunk), row) for chunk in chunks]

    def _segment(self, text: str, ids: list[int], language: int = 0) -> Segment:
        """Return a segment without the ids that mark the ends of a text. Raises UsageError for ids that the model lacks."""
        rows = self._settings["text_tokens"]
        strange = [index for index in ids if index >= rows]
        if strange:
            raise UsageError(f"{text[:60]!r} needs text tokens {strange[:5]}, the model has {rows}")
        return Segment(text, tuple(index for index in ids if index not in MARKS), language)
