"""Text as it was written to text as a model was trained to read it, cut into segments that it can hold.

Names that end in `v2` follow section 15 of the specification (version 2.0), those that end in `v25` section 17.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from ovconvert.errors import UsageError

Glossary = Mapping[str, str | Mapping[str, str]]  # term -> reading, or {language: reading}

# Tables -------------------------------------------------------------------------------------------------------------

PLAIN_MARKS = {
    "...": "…", ",,,": "…", "，，，": "…", "……": "…",
    "：": ",", "；": ",", ";": ",", "，": ",", "、": ",", ":": ",", "。": ".", "！": "!", "？": "?", "\n": " ",
    **dict.fromkeys("·—～~", "-"),
    **dict.fromkeys("\"“”‘’（）()《》〈〉【】[]「」『』", "'"),
}  # fmt: skip
MARKS = {"en": PLAIN_MARKS, "zh": {**PLAIN_MARKS, "$": "."}}
CASE: dict[str, Callable[[str], str]] = {"zh": str.lower, "en": str.lower, "ja": str.lower, "es": str.upper}
NORMALIZERS: dict[str, dict[str, Any]] = {
    "zh": {"lang": "zh", "operator": "tn", "remove_interjections": False, "remove_erhua": False},
    "en": {"lang": "en", "operator": "tn"},
    "ja": {"lang": "ja", "operator": "tn"},
}
SENTENCE_ENDS = frozenset({".", "!", "?", "▁.", "▁?", "▁..."})
BREAKS = SENTENCE_ENDS | {",", "▁,", "-"}  # where a segment may end
QUOTES = frozenset({"'", "▁'"})
SHORTEST_RUN = 3  # pieces; a mark sooner than this ends nothing
SHORTEST_SENTENCE = 8  # pieces or tokens; one that is shorter is spoken with the next: "Dr. Smith", "No. Never."
CHUNK_ENDS = ",.!?;:，。！？；：、\n"
SENTENCE_MARKS = ".!?。！？\n"  # those of them that end a sentence

IDEOGRAPHS = "㐀-䶿一-鿿豈-﫿\U00020000-\U0002ffff"
SPLIT_RANGES = "ᄀ-ᇿ⺀-꓏ꡀ-\ud7af豈-﫿︰-﹏･-ￜ\U00020000-\U0002ffff"
INITIALS = "zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw]"
FINALS = (
    "iang|iong|uang|ang|eng|ing|ong|iao|ian|uai|uan|üan|van|üe|ve|ai|ei|ao|ou|an|en|in|un|ün|vn"
    "|ia|ie|iu|io|ua|uo|ui|ue|[aeiouüv]"
)

IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")
KANA = re.compile("[ぁ-ヿ]")
SPLIT = re.compile(f"([{SPLIT_RANGES}])")
LATIN = re.compile("[A-Za-z]")
EMAIL = re.compile(r"[\w.+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", re.ASCII)
# A bare vowel counts only in lower case: "A4" is paper.
PINYIN = re.compile(f"(?<![A-Za-z])(?:(?i:(?:{INITIALS})(?:{FINALS})|er|ng|[aeo][aeioung]+)|[aeo])[1-5](?![A-Za-z0-9])")
ANNOTATION = re.compile(r"<([^<>|]+)\|([^<>|]+)>")
TERM_HYPHEN = re.compile(r"(?<=[A-Za-z0-9])-(?=[A-Za-z0-9])")
TECHNICAL = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+")
FOREIGN_NAME = re.compile(f"[{IDEOGRAPHS}]+(?:[·•・][{IDEOGRAPHS}]+)+")
CONTRACTED_IS = re.compile(r"\b(what|where|who|which|how|there|here|it|he|she|that|this)['’]s\b", re.IGNORECASE)
SPECIAL = re.compile(r"<\|([^|<>]+)\|>")
SPECIAL_SPAN = re.compile(r"(<\|SPECIAL_TOKEN_\d+\|>.*?<\|SPECIAL_TOKEN_\d+\|>)", re.DOTALL)

# What is hidden from a normaliser is shown to it as a word of these letters, which no language has.
HIDDEN = re.compile("qzjx([a-y]+)z")
HIDDEN_HYPHEN = " qzjxqz "


# What can be spoken at all -------------------------------------------------------------------------------------------


def check_text(text: str, max_characters: int = 5000) -> str:
    """Return `text`, stripped. Raises UsageError for what cannot be spoken, saying what and where."""
    text = text.replace("\ufeff", "").strip()
    if not text:
        raise UsageError("the text is empty; give something to speak")
    for offset, character in enumerate(text):
        if "\ud800" <= character <= "\udfff":
            raise UsageError(f"the text is not UTF-8: stray byte or surrogate at character {offset}; encode it as UTF-8")
        if unicodedata.category(character) == "Cc" and character not in "\t\n\r":
            raise UsageError(f"the text has the control character U+{ord(character):04X} at {offset}; remove it")
    if len(text) > max_characters:
        raise UsageError(f"the text has {len(text)} characters; at most {max_characters} are spoken at once; split it")
    if not any(unicodedata.category(character)[0] in "LN" for character in text):
        raise UsageError(f"the text has no letter and no digit, so nothing can be spoken: {text[:40]!r}")
    return text


def language_path(text: str) -> str:
    """Return which normaliser reads `text`, "zh" or "en" (section 15.1, step 2)."""
    chinese = IDEOGRAPH.search(text) or not LATIN.search(text) or EMAIL.fullmatch(text.strip()) or PINYIN.search(text)
    return "zh" if chinese else "en"


def language_of(text: str) -> str:
    """Return the likely language of `text` from its script: "ja" with kana, else "zh" with ideographs, else "en"."""
    if KANA.search(text):
        return "ja"
    return "zh" if IDEOGRAPH.search(text) else "en"


# Steps of normalisation ----------------------------------------------------------------------------------------------


def expand_is(text: str) -> str:
    """Return `text` with "it's" and the like as "it is"."""
    return CONTRACTED_IS.sub(r"\1 is", text)


def apply_glossary(text: str, glossary: Glossary, language: str) -> str:
    """Return `text` with every term replaced by its reading in `language`: longest first, in any case, whole words."""
    readings = {}
    for term, reading in glossary.items():
        spoken = reading.get(language) if isinstance(reading, Mapping) else reading
        if term and spoken is not None:
            readings[term.lower()] = str(spoken)
    if not readings:
        return text
    terms = (_whole_word(term) for term in sorted(readings, key=len, reverse=True))
    return re.sub("|".join(terms), lambda found: readings.get(found[0].lower(), found[0]), text, flags=re.IGNORECASE)


def _whole_word(term: str) -> str:
    before = "(?<![A-Za-z0-9])" if term[0].isascii() and term[0].isalnum() else ""
    after = "(?![A-Za-z0-9])" if term[-1].isascii() and term[-1].isalnum() else ""
    return before + re.escape(term) + after


def map_marks(text: str, marks: Mapping[str, str] = PLAIN_MARKS) -> str:
    """Return `text` with punctuation brought to the few marks that the models know (section 15.1, step 5)."""
    return _any_of(tuple(marks)).sub(lambda found: marks[found[0]], text)


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)))


def upper_pinyin(syllable: str) -> str:
    """Return a syllable with its tone as the vocabulary spells it: upper case, and V for ü after j, q, x."""
    return re.sub("([JQX])[UÜ]", r"\1V", syllable.upper())


def read_numbers(text: str, language: str) -> str:
    """Return `text` with numbers, dates, units and the like as words of `language`. Works offline.

    Raises UsageError if the text is beyond the normaliser.
    """
    # quotes and backslashes come out of it escaped
    text = text.replace('"', "'").replace("\\", " ")
    order = (language, *(other for other in ("zh", "en") if other != language))
    for name in order:
        try:
            return str(_normalizer(name).normalize(text))
        except (AssertionError, RuntimeError):  # the English one fails on ideographs beside digits
            continue
    raise UsageError(f"the text cannot be normalised; spell its numbers and symbols out: {text[:40]!r}")


@cache
def _normalizer(language: str) -> Any:
    from wetext import Normalizer

    return Normalizer(**NORMALIZERS[language])


class _Hiding:
    """Remembers stretches of text under words that no normaliser touches."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def hide(self, kept: str) -> str:
        """Return the word that stands for `kept`."""
        self.kept.append(kept)
        number, letters = len(self.kept) - 1, ""
        while not letters or number:
            number, letter = divmod(number, 16)
            letters += "abcdefghijklmnop"[letter]  # q is the hyphen
        return f"qzjx{letters}z"

    def hide_all(self, pattern: re.Pattern[str], text: str, spell: Callable[[str], str] = str) -> str:
        """Return `text` with every match of `pattern` hidden, to come back as `spell` spells it."""
        return pattern.sub(lambda found: self.hide(spell(found[0])), text)

    def reveal(self, text: str) -> str:
        """Return `text` with everything hidden back in its place."""

        def kept(found: re.Match[str]) -> str:
            number = sum(("abcdefghijklmnop".find(letter)) << (4 * index) for index, letter in enumerate(found[1]))
            return self.kept[number] if "q" not in found[1] and number < len(self.kept) else found[0]

        return HIDDEN.sub(kept, text)


def hide_term_hyphens(text: str) -> str:
    """Return `text` with the hyphens of terms like GPT-5-nano hidden, so that none is read as minus or to."""
    return TECHNICAL.sub(lambda term: TERM_HYPHEN.sub(HIDDEN_HYPHEN, term[0]), text)


def show_term_hyphens(text: str) -> str:
    """Undo `hide_term_hyphens`."""
    return re.sub(rf"\s*{HIDDEN_HYPHEN.strip()}\s*", "-", text)


# Version 2.0 ---------------------------------------------------------------------------------------------------------


def normalize_v2(text: str, glossary: Glossary | None = None) -> str:
    """Return `text` normalised (section 15.1). One visible character is returned as it is."""
    text = text.strip()
    if len(text) < 2:
        return text
    annotations, hidden = _Hiding(), _Hiding()
    text = annotations.hide_all(ANNOTATION, text)
    path = language_path(HIDDEN.sub("", text))
    text = apply_glossary(expand_is(text), glossary or {}, path)
    # annotations first came under a word; it is hidden again, so that the two do not mix up their numbers
    text = hidden.hide_all(HIDDEN, text)
    text = hide_term_hyphens(text)
    if path == "zh":
        text = hidden.hide_all(FOREIGN_NAME, text)
        text = hidden.hide_all(PINYIN, text, upper_pinyin)
    text = hidden.reveal(show_term_hyphens(read_numbers(text, path)))
    return annotations.reveal(map_marks(text, MARKS[path]))


def split_ideographs(text: str) -> str:
    """Return `text` in upper case with every East Asian character a word of its own (section 15.2)."""
    parts = (part.strip() for part in SPLIT.split(text))
    return " ".join(part.upper() for part in parts if part)


def segment_pieces(
    pieces: Sequence[str], limit: int = 120, *, quick_first: int = 0, by_sentence: bool = False
) -> list[list[str]]:
    """Return `pieces` in segments of at most `limit`, ended at marks where there are any (section 15.3).

    Nothing is lost: joined, the segments are `pieces`. Segments that start within the first `quick_first` pieces
    are filled to half the limit, so that the first audio comes sooner; `by_sentence`, a segment ends with its sentence.
    Raises UsageError for a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"segments of {limit} pieces are asked for; at least 1 is needed; the original takes 120")
    segments: list[list[str]] = []
    placed, allowed = 0, limit
    for run in _runs(pieces, limit):
        closed = by_sentence and bool(segments) and _whole_sentence(segments[-1])
        if segments and not closed and len(segments[-1]) + len(run) <= allowed:
            segments[-1].extend(run)
        else:
            allowed = max(limit // 2, 1) if placed < quick_first else limit
            segments.append(run)
        placed += len(run)
    return segments


def _whole_sentence(segment: Sequence[str]) -> bool:
    ended = segment[-1] in SENTENCE_ENDS or (segment[-1] in QUOTES and segment[-2:-1] and segment[-2] in SENTENCE_ENDS)
    return len(segment) >= SHORTEST_SENTENCE and bool(ended)


def _runs(pieces: Sequence[str], limit: int) -> list[list[str]]:
    """Return `pieces` cut after every mark that may end a segment, and by length where there is none."""
    runs: list[list[str]] = []
    run: list[str] = []
    for index, piece in enumerate(pieces):
        following = pieces[index + 1] if index + 1 < len(pieces) else ""
        run.append(piece)
        ended = piece in BREAKS or (piece in QUOTES and len(run) > 1 and run[-2] in SENTENCE_ENDS)
        quoted = piece in SENTENCE_ENDS and following in QUOTES
        if len(run) >= limit or (ended and not quoted and len(run) >= SHORTEST_RUN):
            runs.append(run)
            run = []
    return [*runs, run] if run else runs


# Version 2.5 ---------------------------------------------------------------------------------------------------------


def normalize_v25(text: str, language: str, glossary: Glossary | None = None) -> str:
    """Return `text` as version 2.5 reads it (section 17): numbers as words, marks mapped, case folded, pronunciations.

    Languages without rules of their own keep their numbers. `<|...|>` stays, in upper case.
    """
    hidden = _Hiding()
    text = text.strip()
    text = hidden.hide_all(SPECIAL, text, str.upper)
    text = hidden.hide_all(ANNOTATION, text, pronounce_v25)
    text = apply_glossary(expand_is(text) if language == "en" else text, glossary or {}, language)
    if language in NORMALIZERS:
        text = show_term_hyphens(read_numbers(hide_term_hyphens(text), language))
    fold = CASE.get(language, str)
    return hidden.reveal(_fold_but(HIDDEN, fold, map_marks(text)))


def _fold_but(kept: re.Pattern[str], fold: Callable[[str], str], text: str) -> str:
    """Return `text` folded, but for what matches `kept`."""
    start, parts = 0, []
    for found in kept.finditer(text):
        parts += [fold(text[start : found.start()]), found[0]]
        start = found.end()
    return "".join([*parts, fold(text[start:])])


def pronounce_v25(annotation: str) -> str:
    """Return `<word|pronunciation>` as the tokens of version 2.5: kana as it is, else the upper-cased pronunciation
    between two special tokens, 2 for a word with ideographs and 1 for any other.
    """
    found = ANNOTATION.fullmatch(annotation)
    if not found:
        raise ValueError(f"{annotation!r} is no <word|pronunciation>")
    word, spoken = (part.strip() for part in found.groups())
    if KANA.search(spoken):
        return spoken
    mark = f"<|SPECIAL_TOKEN_{2 if IDEOGRAPH.search(word) else 1}|>"
    return f"{mark}{spoken.upper()}{mark}"


def language_prefix_v25(language: str) -> str:
    """Return what stands before every chunk."""
    return f"<|{language.lower()}|> "


def chunk_text_v25(
    text: str,
    language: str,
    count: Callable[[str], int],
    limit: int = 120,
    *,
    capacity: int = 600,
    by_sentence: bool = False,
) -> list[str]:
    """Return `text` in chunks that, language prefix included, have at most min(`limit`, `capacity`) tokens (section 17).

    `count` gives the tokens of a string. Chunks end after punctuation where there is any; pronunciations stay whole.
    `by_sentence`, a chunk ends with its sentence. Joined, the chunks are `text`. Raises UsageError if the limit leaves no
    room beside the prefix.
    """
    room = min(limit, capacity) - count(language_prefix_v25(language))
    if room < 1:
        raise UsageError(f"chunks of {limit} tokens are asked for; the language prefix alone takes more; allow more")
    chunks: list[str] = []
    for part in _parts(text, count, room):
        last = chunks[-1].rstrip(" ") if chunks else ""
        closed = by_sentence and last.endswith(tuple(SENTENCE_MARKS)) and count(last) >= SHORTEST_SENTENCE
        if chunks and not closed and count(chunks[-1] + part) <= room:
            chunks[-1] += part
        else:
            chunks.append(part)
    return chunks


def _parts(text: str, count: Callable[[str], int], room: int) -> list[str]:
    """Return `text` cut after every punctuation mark, around pronunciations, and by length where there is neither."""
    parts: list[str] = []
    for index, stretch in enumerate(SPECIAL_SPAN.split(text)):
        clauses = [stretch] if index % 2 else re.split(f"(?<=[{re.escape(CHUNK_ENDS)}])", stretch)
        for clause in clauses:
            if index % 2 or count(clause) <= room:
                parts.append(clause)
            else:
                parts.extend(_by_length(clause, count, room))
    return [part for part in parts if part]


def _by_length(clause: str, count: Callable[[str], int], room: int) -> list[str]:
    """Return `clause` cut into the longest beginnings that have room, at least a character each."""
    parts = []
    while clause:
        low, high = 1, len(clause)
        while low < high:  # tokens grow with characters, near enough
            middle = (low + high + 1) // 2
            low, high = (middle, high) if count(clause[:middle]) <= room else (low, middle - 1)
        parts.append(clause[:low])
        clause = clause[low:]
    return parts
