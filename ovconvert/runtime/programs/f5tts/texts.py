"""Text to symbols of the vocabulary, and long text to pieces that are spoken one by one.

Chinese is spoken from syllables with their tone, as the vocabulary has them ("ni3 hao3"); they are written into the text.
Other text stays as it is written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ovconvert.errors import UsageError
from ovconvert.runtime.request import MAX_TEXT
from ovconvert.runtime.text import check_text

# what the vocabulary has in one form only
MARKS = str.maketrans({";": ",", "“": '"', "”": '"', "‘": "'", "’": "'", "\n": " ", "\t": " ", "\r": " "})
SYLLABLE = re.compile("(?<![A-Za-z0-9])[a-z]{1,6}[1-5](?![A-Za-z0-9])")
CLAUSE = re.compile(r"(?<=[;:,.!?])\s+|(?<=[；：，。！？])")
BLANK = 0  # stands for every mark that the vocabulary lacks, as in the original
SPOKEN = "LNM"  # categories of characters that may not be left out


class Texts:
    """The vocabulary at `path`: a symbol a line."""

    def __init__(self, path: Path) -> None:
        # not splitlines: some symbols are separators of lines to others
        symbols = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        self._ids = {symbol: number for number, symbol in enumerate(symbols)}

    def ids(self, text: str) -> list[int]:
        """Return the symbols of `text`. Raises UsageError with every letter or digit that the vocabulary lacks."""
        found = [(symbol, self._ids.get(symbol)) for symbol in self._symbols(text.translate(MARKS))]
        lacking = dict.fromkeys(
            symbol for symbol, number in found if number is None and unicodedata.category(symbol)[0] in SPOKEN
        )
        if lacking:
            raise UsageError(
                f"the vocabulary has no {' '.join(lacking)}; write the text with its symbols: Chinese as syllables with "
                "their tone (ni3 hao3), numbers and foreign words as they are spoken"
            )
        return [BLANK if number is None else number for _, number in found]

    def _symbols(self, text: str) -> Iterator[str]:
        done = 0
        for match in SYLLABLE.finditer(text):
            if match[0] in self._ids:
                yield from text[done : match.start()]
                yield match[0]
                done = match.end()
        yield from text[done:]


def checked(text: str) -> str:
    """Return `text` without blanks around it. Raises UsageError for what cannot be spoken."""
    return check_text(text, MAX_TEXT)


def pieces(text: str, most: int) -> list[str]:
    """Return `text` in pieces that end where a clause does, each of at most `most` bytes unless a clause is longer."""
    found: list[str] = []
    for clause in filter(None, (part.strip() for part in CLAUSE.split(text))):
        joined = joint(found[-1], clause) if found else clause
        if found and size(joined) <= most:
            found[-1] = joined
        else:
            found.append(clause)
    return found


def joint(before: str, behind: str) -> str:
    """Return two texts as one: with a blank between them unless the first ends with a character of more than one byte."""
    return f"{before} {behind}" if size(before[-1]) == 1 else before + behind


def size(text: str) -> int:
    """Return the length of `text` in bytes, by which the original measures how long it takes to say it."""
    return len(text.encode("utf-8"))


def transcript(text: str) -> str:
    """Return what is said in a reference recording, ended as a sentence."""
    text = checked(text)
    if text.endswith("。"):
        return text
    return f"{text} " if text.endswith(".") else f"{text}. "
