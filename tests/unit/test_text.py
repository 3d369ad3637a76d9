"""Text to what the models read."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from ovconvert.errors import UsageError
from ovconvert.runtime import text as texts
from ovconvert.runtime.text import (
    apply_glossary,
    check_text,
    chunk_text_v25,
    language_of,
    language_path,
    language_prefix_v25,
    map_marks,
    normalize_v2,
    normalize_v25,
    pronounce_v25,
    segment_pieces,
    split_ideographs,
)

ZH = "清晨拉开窗帘，阳光洒在窗台上，远处传来几声鸟鸣。空气里带着露水的味道！"
EN = "The train leaves at 5:30 pm, so we should hurry. Did you pack well-known books? I did! "
MIXED = "我用GPT-5-nano写了3个程序，花了$12.50。It's 5 o'clock, really. 晕 XUAN4 是一种感觉…… "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("\ufeff", "is empty"),
        ("...!?，。", "no letter and no digit"),
        ("😀 — 🎉", "no letter and no digit"),
        ("a\x00b", r"control character U\+0000 at 1"),
        ("ab\x1b[0m", r"control character U\+001B at 2"),
        ("a\x85b", r"U\+0085"),
        ("caf\udce9", "not UTF-8: stray byte or surrogate at character 3"),
        ("字" * 5001, "5001 characters; at most 5000"),
    ],
)
def test_what_cannot_be_spoken_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_text(text)


@pytest.mark.parametrize("text", ["a", "字", "7", "\ufeffhello\tworld\r\n", "Ж", "a" * 5000])
def test_what_can_be_spoken_is_not(text: str) -> None:
    assert check_text(text) == text.replace("\ufeff", "").strip()
    with pytest.raises(UsageError, match="at most 0"):
        check_text(text, 0)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("你好", "zh"),
        ("hello 你好", "zh"),
        ("12345", "zh"),
        ("Привет", "zh"),
        ("someone@example.com", "zh"),
        ("晕 XUAN4", "zh"),
        ("say GE4 slowly", "zh"),
        ("say ju4 slowly", "zh"),
        ("hello", "en"),
        ("write to someone@example.com", "en"),
        ("The A4 paper", "en"),
        ("MP3 and H264", "en"),
        ("ge6 and ge45", "en"),
        ("page4", "en"),
    ],
)
def test_the_path_follows_the_script(text: str, path: str) -> None:
    assert language_path(text) == path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天是2024年5月1日，花了$12.50。", "今天是二零二四年五月一日,花了十二点五零美元."),
        ("电话13812345678", "电话幺三八幺二三四五六七八"),
        ("¥100和5%", "一百元和百分之五"),
        ("他说：“你好！”——然后……走了", "他说,'你好!'--然后…走了"),
        ("《书》、（注）", "'书','注'"),
        ("呃，那儿", "呃,那儿"),
        ("3-5个", "三到五个"),
        ("克里斯托弗·诺兰是导演", "克里斯托弗-诺兰是导演"),
        ("晕 xuan4 是一种 GAN3 觉", "晕 XVAN4 是一种 GAN3 觉"),
        ("他ju4说qü3，lü4", "他JV4说QV3,LÜ4"),
        ("我用GPT-5-nano写了3个", "我用GPT-五-nano写了三个"),
        ("<行|XING2>走5步", "<行|XING2>走五步"),
        ("a@b.com", "a@b.com"),
        ("On May 1, 2024 I paid $12.50.", "On May one, twenty twenty four I paid twelve point five dollars."),
        ("It's 5 o'clock; WHAT's that (really)?", "It is five o'clock, WHAT is that 'really'?"),
        ("John's 3 cats don't", "John's three cats don't"),
        ("GPT-5-nano, well-known", "GPT-five-nano, well-known"),
        ("I <read|R EH D> 3 books", "I <read|R EH D> three books"),
        ("one\ntwo...", "one two…"),
        ('a "b" \\ c', "a 'b'   c"),
        ("Don’t “go” [now] {x} 5", "Don't 'go' 'now' {x} five"),
        ("5", "5"),
        ("a", "a"),
        ("  字 ", "字"),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalize_v2(text) == expected


def test_many_hidden_stretches_come_back_in_their_places() -> None:
    words = [f"<w{index}|P{index}>" for index in range(40)]
    assert normalize_v2(" and ".join(["see", *words])) == " and ".join(["see", *words])
    syllables = " ".join(f"ge{1 + index % 5}" for index in range(40))
    assert normalize_v2(f"字 {syllables} <w|P>") == f"字 {syllables.upper()} <w|P>"


def test_without_hiding_the_normaliser_reads_a_minus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "hide_term_hyphens", str)
    assert normalize_v2("我用GPT-5-nano写") != "我用GPT-五-nano写"


def test_what_the_english_normaliser_cannot_read_goes_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts.read_numbers("第3章", "en") == "第三章"

    class Broken:
        def normalize(self, text: str) -> str:
            raise AssertionError

    monkeypatch.setattr(texts, "_normalizer", lambda name: Broken())
    with pytest.raises(UsageError, match="cannot be normalised"):
        texts.read_numbers("x 5", "en")


def test_normalisers_are_made_once() -> None:
    assert texts._normalizer("zh") is texts._normalizer("zh")
    assert texts._normalizer("zh") is not texts._normalizer("en")


def test_glossary() -> None:
    glossary = {"M.2": {"zh": "M二", "en": "M dot two"}, "M.2 SSD": "em two drive", "AI": "A I", "字": {"en": "x"}}
    assert normalize_v2("An m.2 ssd, an M.2, ai and PAID", glossary) == "An em two drive, an M dot two, A I and PAID"
    assert normalize_v2("一个M.2的字", glossary) == "一个M二的字"
    assert apply_glossary("PAID", {"ai": "x"}, "en") == "PAID"
    assert apply_glossary("a.b ab", {"a.b": r"\1"}, "en") == r"\1 ab"
    assert apply_glossary("ab", {}, "en") == "ab"


def test_marks_are_mapped_longest_first() -> None:
    assert map_marks("...., ,,,,。") == "…., …,."
    assert map_marks("a;b:c") == "a,b,c"
    assert normalize_v2("价格 $ 高") == "价格 . 高"
    assert normalize_v2("price $ high") == "price dollar high"


def test_east_asian_characters_stand_alone() -> None:
    assert split_ideographs("你好world, a한글かな𠀀 b") == "你 好 WORLD, A 한 글 か な 𠀀 B"
    assert split_ideographs("hello world") == "HELLO WORLD"


# ---- segments


@pytest.fixture(scope="module")
def pieces() -> Callable[[str], list[str]]:
    import sentencepiece

    model = io.BytesIO()
    lines = [split_ideographs(normalize_v2(line)) for line in (ZH, EN, MIXED)]
    options = {"vocab_size": 120, "model_type": "bpe", "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **options)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return lambda text: list(processor.EncodeAsPieces(text))


LONG = [ZH * 30, EN * 30, MIXED * 20, "字" * 2000, "word " * 600, "a" * 3000, "x-y-z " * 300, "'a.' 'b!' " * 200]


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("limit", [1, 7, 120])
def test_segments_lose_nothing_and_fit(text: str, limit: int, pieces: Callable[[str], list[str]]) -> None:
    whole = pieces(split_ideographs(text))
    segments = segment_pieces(whole, limit)
    assert [piece for segment in segments for piece in segment] == whole
    assert all(1 <= len(segment) <= limit for segment in segments)
    assert len(segments) > 1
    assert not any(len(one) + len(two) <= limit // 4 for one, two in pairwise(segments))


@pytest.mark.parametrize("text", [ZH * 30, EN * 30, MIXED * 20])
def test_segments_end_at_marks_where_there_are_any(text: str, pieces: Callable[[str], list[str]]) -> None:
    segments = segment_pieces(pieces(split_ideographs(normalize_v2(text))))
    assert all(segment[-1].strip("▁") in {".", ",", "!", "?", "-", "'"} for segment in segments[:-1])
    cut = [pieces(split_ideographs(text))[start : start + 120] for start in range(0, 400, 120)]
    assert not all(segment[-1].strip("▁") in {".", ",", "!", "?", "-", "'"} for segment in cut)


def test_runs_and_merging() -> None:
    words = ["a", "b", "c", ".", "'", "d", ",", "e", "f", "g", "!", "h"]
    assert segment_pieces(words, 5) == [["a", "b", "c", ".", "'"], ["d", ",", "e", "f", "g"], ["!", "h"]]
    assert segment_pieces(words, 6) == [["a", "b", "c", ".", "'"], ["d", ",", "e", "f", "g", "!"], ["h"]]
    assert segment_pieces(words, 12) == [words]
    assert segment_pieces(["a", ".", "b", "c", "."], 4) == [["a", ".", "b", "c"], ["."]]
    assert segment_pieces([], 5) == []
    with pytest.raises(UsageError, match="at least 1"):
        segment_pieces(words, 0)


def test_a_segment_can_end_with_its_sentence() -> None:
    sentence = [*"abcdefg", "."]
    assert segment_pieces([*sentence, *sentence], 120, by_sentence=True) == [sentence, sentence]
    assert segment_pieces([*sentence, *sentence], 120) == [[*sentence, *sentence]]
    quoted, comma = [*sentence, "'"], [*"abcdefg", ","]
    assert segment_pieces([*quoted, *comma, *sentence], 120, by_sentence=True) == [quoted, [*comma, *sentence]]
    title = ["d", "r", ".", *sentence]  # too short to stand alone
    assert segment_pieces([*title, *sentence], 120, by_sentence=True) == [title, sentence]
    assert segment_pieces([*sentence, *sentence], 5, by_sentence=True) == segment_pieces([*sentence, *sentence], 5)


def test_the_first_segment_can_be_short() -> None:
    words = ["w", "w", "w", "."] * 20
    assert [len(segment) for segment in segment_pieces(words, 40)] == [40, 40]
    assert [len(segment) for segment in segment_pieces(words, 40, quick_first=20)] == [20, 40, 20]


# ---- version 2.5


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Hello World, 5!", "en", "hello world, five!"),
        ("It's GPT-5", "en", "it is gpt-five"),
        ("你好World，3个。", "zh", "你好world,三个."),
        ("3月5日です。Go", "ja", "三月五日です.go"),
        ("Hola Señor: 5", "es", "HOLA SEÑOR, 5"),
        ("Straße 5", "de", "Straße 5"),
        ("say <going|g ow1 . ih0 ng> Now", "en", "say <|SPECIAL_TOKEN_1|>G OW1 . IH0 NG<|SPECIAL_TOKEN_1|> now"),
        ("<行|xing2>走5步", "zh", "<|SPECIAL_TOKEN_2|>XING2<|SPECIAL_TOKEN_2|>走五步"),
        ("これは<Word|テスト>です", "ja", "これはテストです"),
        ("a <|laughter|> B", "en", "a <|LAUGHTER|> b"),
    ],
)
def test_normalisation_of_the_newer_version(text: str, language: str, expected: str) -> None:
    assert normalize_v25(text, language) == expected


def test_pronunciations_and_prefix() -> None:
    assert pronounce_v25("<a|b>") == "<|SPECIAL_TOKEN_1|>B<|SPECIAL_TOKEN_1|>"
    with pytest.raises(ValueError, match="is no"):
        pronounce_v25("a|b")
    assert language_prefix_v25("ZH") == "<|zh|> "
    assert [language_of(text) for text in ("hello", "你好 a", "これは本", "1")] == ["en", "zh", "ja", "en"]


@pytest.mark.parametrize("text", [*LONG, "abc", "a, b. c"])
@pytest.mark.parametrize("limit", [12, 120, 5000])
def test_chunks_lose_nothing_and_fit(text: str, limit: int) -> None:
    def count(part: str) -> int:
        return len(part.encode("utf-8"))

    chunks = chunk_text_v25(text, "zh", count, limit)
    assert "".join(chunks) == text
    assert all(1 <= count("<|zh|> " + chunk) <= min(limit, 600) for chunk in chunks)
    if limit == 120 and text in (ZH * 30, EN * 30):
        assert all(chunk[-1] in texts.CHUNK_ENDS for chunk in chunks[:-1])


def test_chunks_keep_pronunciations_whole_and_want_room() -> None:
    span = "<|SPECIAL_TOKEN_1|>A, B. C<|SPECIAL_TOKEN_1|>"
    chunks = chunk_text_v25(f"word, {span} word", "en", len, 60)
    assert any(span in chunk for chunk in chunks)
    assert not any(span in chunk for chunk in chunk_text_v25(f"word, {span.replace('|', '!')} word", "en", len, 20))
    with pytest.raises(UsageError, match="prefix alone"):
        chunk_text_v25("word", "en", len, 7)


def test_no_text_makes_it_stumble() -> None:
    """Anything printable: normalised without an error, the annotations kept, and never a hidden word left."""
    rng = np.random.default_rng(0)
    alphabet = "aZ5 7-.,'\"\\|<>$¥%你好·é한かア@:/()\n1234567890" + "年月日kg"
    for _ in range(300):
        text = "".join(rng.choice(list(alphabet), rng.integers(2, 40)))
        for result in (normalize_v2(text), normalize_v25(text, str(rng.choice(["zh", "en", "ja", "es"])))):
            assert "qzjx" not in result.lower(), text
