"""Text to pieces of ids that are spoken one by one (spec section 3.1)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovconvert.errors import UsageError
from ovconvert.runtime import text as rules
from ovconvert.runtime.request import MAX_TEXT
from ovconvert.runtime.tokenizers import TiktokenTokenizer

# What the vocabulary adds to its ranks, in the order of the ids.
LANGUAGES = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la
mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be
tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue
""".split()  # noqa: SIM905 - a hundred quoted items read worse
TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
TIMES = tuple(f"{index * 0.02:.2f}" for index in range(1501))  # seconds
SPECIAL_TOKENS = tuple(f"<|{name}|>" for name in ("endoftext", "startoftranscript", *LANGUAGES, *TASKS, *TIMES))

IDEOGRAPH = re.compile("[\u4e00-\u9fff]")
ENDS = {"zh": "。？！；：、.?!;", "en": ".?!;:"}
FULL_STOP = {"zh": "。", "en": "."}
END_MARKS = ("<endofprompt>", "<|endofprompt|>")  # of an instruction; plain text to the tokenizer
QUOTES = '"”'
CHINESE = (("²", "平方"), ("³", "立方"), (".", "。"), (" - ", "，"), ("——", " "))
DELETED = str.maketrans("", "", "（）【】`")
LONGEST, LONG, SHORT = 80, 60, 20  # characters of Chinese, tokens of other languages


@dataclass(frozen=True)
class Piece:
    """Text that is spoken in one go, and its ids."""

    text: str
    ids: tuple[int, ...]


class Texts:
    """Normalises, cuts and tokenises text."""

    def __init__(self, settings: Mapping[str, Any], assets: Path) -> None:
        path = assets / settings["tokenizer"]
        if not path.is_file():
            raise UsageError(
                f"the package has no tokenizer, which the published checkpoint lacks: put {path.name}, the ranks of the "
                "multilingual Whisper vocabulary, into the checkpoint directory and export it again"
            )
        ranks = TiktokenTokenizer(path).size
        self._tokenizer = TiktokenTokenizer(path, SPECIAL_TOKENS[: max(settings["text_tokens"] - ranks, 0)])

    def pieces(self, text: str) -> list[Piece]:
        """Return the pieces of `text`, at least one. Raises UsageError for a text that cannot be spoken.

        A text with marks like <|en|> is taken as it is, in one piece.
        """
        checked = rules.check_text(text, MAX_TEXT)
        language, normal = _normalised(checked)
        if language is None:
            cut = [normal]
        else:
            cut = split(normal, language, len if language == "zh" else lambda part: len(self._tokenizer.encode(part)))
        pieces = [Piece(part, tuple(self._tokenizer.encode(part))) for part in cut]
        if not pieces:
            raise UsageError(f"nothing of the text is left to speak: {text[:40]!r}")
        return pieces

    def heard(self, text: str) -> tuple[int, ...]:
        """Return the ids of what is said in a recording. Raises UsageError as `pieces` does."""
        return tuple(self._tokenizer.encode(_normalised(rules.check_text(text, MAX_TEXT))[1]))

    def instruction(self, text: str) -> tuple[int, ...]:
        """Return the ids of how to speak, with the mark that ends them if they lack it. Raises UsageError as `pieces` does.

        Which mark the published weights prefer is not known; they were trained with the first, as far as can be seen.
        """
        normal = _normalised(rules.check_text(text, MAX_TEXT))[1]
        return tuple(self._tokenizer.encode(normal if normal.endswith(END_MARKS) else normal + END_MARKS[0]))


def _normalised(text: str) -> tuple[str | None, str]:
    """Return the language of a text, None if it has marks and is taken as it is, and how it is written to be spoken."""
    if "<|" in text and "|>" in text:
        return None, text
    if IDEOGRAPH.search(text):
        return "zh", _chinese(rules.read_numbers(text, "zh"))
    return "en", rules.read_numbers(text, "en")


def _chinese(text: str) -> str:
    """Return Chinese text with the marks that the model knows; blanks stay between words of Latin letters alone."""
    text = text.replace("\n", "")
    text = re.sub(r"(?<![!-~]) | (?![!-~])", "", text)
    for mark, said in CHINESE:
        text = text.replace(mark, said)
    return re.sub("[，,、]+$", "。", text.translate(DELETED))


def split(text: str, language: str, length: Callable[[str], int]) -> list[str]:
    """Return `text` in pieces that end with sentences, each about LONGEST at most; pieces without a word are left out."""
    ends = ENDS[language]
    if text[-1] not in ends:
        text += FULL_STOP[language]
    sentences = re.findall(f"[^{re.escape(ends)}]*[{re.escape(ends)}][{QUOTES}]?|[^{re.escape(ends)}]+$", text)
    pieces, current = [], ""
    for sentence in sentences:
        if length(current + sentence) > LONGEST and length(current) > LONG:
            pieces.append(current)
            current = ""
        current += sentence
    if pieces and current and length(current) < SHORT:
        pieces[-1] += current
    elif current:
        pieces.append(current)
    return [piece for piece in pieces if any(unicodedata.category(character)[0] in "LN" for character in piece)]
