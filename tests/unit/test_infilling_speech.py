"""What the program that continues a recording does outside of its graphs: text, mel, pieces that fade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ovconvert.errors import UsageError
from ovconvert.runtime.programs.f5tts import faded, most_bytes
from ovconvert.runtime.programs.f5tts.spectrum import log_mel, triangles
from ovconvert.runtime.programs.f5tts.texts import Texts, pieces, transcript
from ovconvert.runtime.programs.f5tts.voices import Voice, read_voice
from ovconvert.runtime.request import Request

SYMBOLS = [" ", "!", ",", ".", "'", *"abcdefghijklmnopqrstuvwxyz", *"12345", "ni3", "hao3", "\u2028", "!"]
MEL = {"sample_rate": 16000, "bands": 20, "hop_length": 128, "n_fft": 512}


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    path = tmp_path / "vocab.txt"
    path.write_bytes("".join(f"{symbol}\n" for symbol in SYMBOLS).encode())
    return Texts(path)


def test_symbols_are_lines_and_the_last_of_two_that_are_equal_holds(texts: Texts) -> None:
    assert [SYMBOLS[number] for number in texts.ids("don\u2019t.")] == ["d", "o", "n", "'", "t", "."]
    assert texts.ids("!\u2028") == [len(SYMBOLS) - 1, len(SYMBOLS) - 2]


def test_syllables_with_their_tone_are_symbols_where_the_vocabulary_has_them(texts: Texts) -> None:
    assert [SYMBOLS[number] for number in texts.ids("ni3 hao3, mp3")] == ["ni3", " ", "hao3", ",", " ", "m", "p", "3"]
    assert [SYMBOLS[number] for number in texts.ids("ani3 ni33")] == [*"ani3", " ", *"ni33"]


def test_letters_that_the_vocabulary_lacks_are_named_and_marks_are_blanks(texts: Texts) -> None:
    assert texts.ids("a\u2014b") == [SYMBOLS.index("a"), 0, SYMBOLS.index("b")]
    with pytest.raises(UsageError, match=r"the vocabulary has no 你 好 7;.*ni3 hao3"):
        texts.ids("你好, 7 好")


def test_text_is_cut_where_clauses_end() -> None:
    assert pieces("One, two. Three! Four", 9) == ["One, two.", "Three!", "Four"]
    assert pieces("One, two. Three! Four", 16) == ["One, two. Three!", "Four"]
    assert pieces("One, two. Three! Four", 0) == ["One,", "two.", "Three!", "Four"]
    assert pieces("3.5 kg,so what", 4) == ["3.5 kg,so what"]
    assert pieces("一二。三四！五", 16) == ["一二。", "三四！五"]


def test_what_is_said_ends_as_a_sentence() -> None:
    assert [transcript(text) for text in ("a", " a. ", "a!", "好。")] == ["a. ", "a. ", "a!. ", "好。"]


def test_pieces_and_the_recording_stay_within_the_limit() -> None:
    voice = Voice("0123456789" * 3, np.zeros((1, 2, 9), np.float32), 1.0, 10.0)
    assert most_bytes(voice, Request().resolved({})) == 36  # 3 bytes a second, for 12 seconds
    assert most_bytes(voice, Request(speed=0.5).resolved({})) == 18
    assert most_bytes(voice, Request(segment_by="sentence").resolved({})) == 0
    assert most_bytes(Voice("a", voice.mel, 1.0, 30.0), Request().resolved({})) == 0


def reference_mel(samples: np.ndarray) -> np.ndarray:
    from transformers.audio_utils import mel_filter_bank, spectrogram

    size, bands, rate = MEL["n_fft"], MEL["bands"], MEL["sample_rate"]
    filters = mel_filter_bank(size // 2 + 1, bands, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    shape = {"frame_length": size, "hop_length": MEL["hop_length"], "power": 1.0, "center": True, "pad_mode": "reflect"}
    return np.log(np.maximum(spectrogram(samples, window, mel_filters=filters, mel_floor=1e-5, **shape), 1e-5))


@pytest.mark.parametrize("count", [257, 1024, 5000])
def test_mel_is_that_of_another_implementation(count: int) -> None:
    samples = 0.1 * np.random.default_rng(count).standard_normal(count)
    found = log_mel(samples, **MEL)[0]
    assert found.shape == (MEL["bands"], count // MEL["hop_length"] + 1)
    np.testing.assert_allclose(found, reference_mel(samples), atol=1e-4)
    assert np.abs(log_mel(1.01 * samples, **MEL)[0] - reference_mel(samples)).max() > 1e-3


def test_triangles_have_height_one() -> None:
    assert 0.9 < triangles(16000, 20, 8192).max(1).min() <= 1.0


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "voice.wav"
    soundfile.write(path, 0.02 * np.sin(np.arange(16000) / 20), 16000, subtype="FLOAT")
    return path


def test_a_quiet_recording_is_raised_and_its_text_lies_beside_it(recording: Path) -> None:
    request = Request(voice=recording, voice_text="Given").resolved({})
    voice = read_voice(request, MEL)
    assert (voice.text, voice.seconds, voice.before) == ("Given. ", 1.0, 125)
    assert voice.gain == pytest.approx(0.02 / np.sqrt(2) / 0.1, rel=1e-3)
    samples, _ = soundfile.read(recording)
    np.testing.assert_allclose(voice.mel, log_mel(samples / voice.gain, **MEL), atol=0.02)  # rounding, where it is quiet
    recording.with_suffix(".txt").write_text("Beside\n", encoding="utf-8")
    assert read_voice(Request(voice=recording).resolved({}), MEL).text == "Beside. "
    assert read_voice(request, MEL).text == "Given. "


def test_a_loud_recording_stays_as_it_is(recording: Path) -> None:
    soundfile.write(recording, 0.5 * np.sin(np.arange(16000) / 20), 16000, subtype="FLOAT")
    assert read_voice(Request(voice=recording, voice_text="a").resolved({}), MEL).gain == 1.0


def test_a_recording_without_text_or_too_long_is_refused(recording: Path) -> None:
    with pytest.raises(UsageError, match=r"--voice-text, or write it into .*voice\.txt"):
        read_voice(Request(voice=recording).resolved({}), MEL)
    with pytest.raises(UsageError, match="no voice"):
        read_voice(Request().resolved({}), MEL)
    soundfile.write(recording, 0.1 * np.ones(17000), 16000)
    with pytest.raises(UsageError, match=r"longer than 1 s; cut it .*--max-reference-seconds"):
        read_voice(Request(voice=recording, voice_text="a", max_reference_seconds=1.0).resolved({}), MEL)
    recording.with_suffix(".txt").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"voice\.txt is not UTF-8"):
        read_voice(Request(voice=recording).resolved({}), MEL)


def test_pieces_fade_into_each_other() -> None:
    ones, twos = np.ones(3, np.float32), np.full(5, 2.0, np.float32)
    np.testing.assert_allclose(faded(ones, twos), [1.0, 1.5, 2.0, 2.0, 2.0])
    np.testing.assert_allclose(faded(twos, ones), [2.0, 2.0, 2.0, 1.5, 1.0])
    assert np.array_equal(faded(ones[:0], twos), twos)
