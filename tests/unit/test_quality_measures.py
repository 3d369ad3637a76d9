"""Measures of speech on signals with known answers, each beside a signal that it must tell apart."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ovconvert.quality import alignment, cepstral, damage, duration, failures, mos, pitch, stoi, texts, words
from ovconvert.quality.failures import Expected
from ovconvert.quality.ladders import climb, read, to_report
from ovconvert.quality.metric import RATE, Take

VOICE = np.zeros(0, np.float32)


def speech(seconds: float = 1.2, hertz: float = 120.0, seed: int = 0) -> np.ndarray:
    """Return a voice-like signal: harmonics of a gliding pitch, three syllables, formants that move, a little breath."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(hertz * (1 + 0.1 * np.sin(2 * np.pi * time / seconds))) / RATE
    formant = 700 + 500 * np.sin(2 * np.pi * 1.5 * time)
    total = sum(
        np.exp(-(((k * hertz - formant) / 600) ** 2)) * np.sin(k * phase) + 0.05 * np.sin(k * phase) / k
        for k in range(1, 50)
    )
    syllables = 0.05 + np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    return (0.1 * syllables * (total + 0.02 * rng.standard_normal(len(time)))).astype(np.float32)


SPEECH = speech()


def take(samples: np.ndarray, text: str = "one two", finished: bool = True) -> Take:
    return Take(text, np.asarray(samples, np.float32), VOICE, finished)


def test_a_signal_is_aligned_with_itself_frame_by_frame() -> None:
    cepstra = alignment.cepstra(alignment.levels(SPEECH))
    rows, columns = alignment.path(cepstra, cepstra)
    assert np.array_equal(rows, np.arange(len(cepstra))) and np.array_equal(rows, columns)


def test_the_path_costs_no_more_than_any_other() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((5, 2)), rng.standard_normal((6, 2))
    distance = np.linalg.norm(first[:, None] - second[None], axis=2)

    def cheapest(i: int, j: int) -> float:
        if i == 0 and j == 0:
            return float(distance[0, 0])
        before = [(a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
        return float(distance[i, j]) + min(cheapest(a, b) for a, b in before)

    rows, columns = alignment.path(first, second)
    assert distance[rows, columns].sum() == pytest.approx(cheapest(4, 5))
    assert distance[np.r_[0:5, 4], np.arange(6)].sum() > cheapest(4, 5)


def test_nothing_cannot_be_aligned() -> None:
    with pytest.raises(ValueError, match="nothing to align"):
        alignment.path(np.zeros((0, 3)), np.zeros((4, 3)))


def test_a_tilt_of_the_spectrum_is_as_far_as_it_is_large() -> None:
    hissing = damage.noise(SPEECH, 30)
    assert cepstral.distance(hissing, 0.5 * hissing) == pytest.approx(0, abs=0.05)  # loudness does not count
    level = alignment.levels(SPEECH)
    ripple = 3.0 * np.cos(np.pi * 2 * (np.arange(alignment.BANDS) + 0.5) / alignment.BANDS)  # dB, the second cepstrum alone
    moved = alignment.cepstra(level + ripple) - alignment.cepstra(level)
    found = 10 / np.log(10) * np.sqrt(2 * (moved**2).sum(1))
    assert found == pytest.approx(3.0 / math.sqrt(2))  # the root mean square of a cosine of 3 dB
    assert cepstral.distance(SPEECH, damage.low_pass(SPEECH, 1000)) > 1.0


@pytest.mark.parametrize("hertz", [90.0, 150.0, 240.0])
def test_pitch_is_found_and_its_error_is_the_interval(hertz: float) -> None:
    time = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 8))
    higher = sum(np.sin(2 * np.pi * k * hertz * 2 ** (1 / 12) * time) / k for k in range(1, 8))
    assert np.nanmedian(pitch.contour(tone)) == pytest.approx(hertz, rel=0.01)
    assert np.nanmedian(pitch.contour(higher)) == pytest.approx(hertz * 2 ** (1 / 12), rel=0.01)
    cents, voicing = pitch.errors(tone, higher)
    assert cents == pytest.approx(100, abs=20) and voicing < 5
    assert pitch.errors(tone, tone) == (0, 0)


def test_a_whisper_is_an_error_of_voicing() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    assert np.isnan(pitch.contour(noise)).mean() > 0.9
    assert pitch.errors(speech(1.0), noise)[1] > 50


def test_durations_differ_by_their_ratio_either_way() -> None:
    assert duration.error(2.0, 2.5) == pytest.approx(25) == pytest.approx(duration.error(2.5, 2.0))
    assert duration.error(1.0, 9.0) == 100
    with pytest.raises(ValueError, match="no audio"):
        duration.error(1.0, 0.0)


def test_word_errors_are_the_fewest_changes() -> None:
    assert words.words_of("It's Tea, two!") == ["it's", "tea", "two"]
    assert words.errors("abc", "abc") == 0  # letters for words
    assert words.errors("abcd", "axcde") == 2
    assert words.errors("ab", "") == 2


@pytest.mark.skipif(find_spec("pystoi") is None, reason="pystoi is not installed")
def test_stoi_falls_with_noise_and_refuses_silence() -> None:
    listen = stoi.INSTRUMENT.open()
    whole = listen(take(SPEECH), take(SPEECH))
    noisy = listen(take(damage.noise(SPEECH, 0)), take(SPEECH))
    assert whole == pytest.approx((1, 1), abs=1e-6) and noisy[0] < 0.95 and noisy[1] < noisy[0]
    with pytest.raises(ValueError, match="silence"):
        listen(take(0 * SPEECH), take(SPEECH))


def test_the_proxy_is_five_for_the_same_at_any_level_and_pools_towards_the_worst_part() -> None:
    assert mos.pooled(mos.parts(SPEECH, SPEECH)) == 5
    assert mos.pooled(mos.parts(SPEECH, 0.5 * SPEECH)) == pytest.approx(5, abs=0.01)
    assert mos.pooled({"a": 1.0, "b": 0.0}) == pytest.approx(1 + 4 * math.exp(-1 / 1.3))
    assert 1 < mos.pooled({"a": 1.0, "b": 1.0}) < mos.pooled({"a": 1.0, "b": 0.1})
    with pytest.raises(ValueError, match="silence"):
        mos.parts(SPEECH, 0 * SPEECH)


def test_naturalness_counts_only_where_it_falls() -> None:
    scores = iter([2.0, 4.0, 4.0, 2.0])  # of the reference, then of the other, twice
    better, worse = (mos.parts(SPEECH, damage.noise(SPEECH, 30), lambda samples: next(scores)) for _ in range(2))
    assert worse["naturalness"] > 0 == better["naturalness"]


def test_every_kind_of_damage_is_in_order_and_a_deaf_proxy_is_not() -> None:
    light = list(climb({"made up": SPEECH}, lambda first, second: mos.pooled(mos.parts(first, second))))
    assert len(light) == 6 and all(len(ladder.severities) >= 4 for ladder in light)
    assert [ladder.kind for ladder in light if not ladder.ordered] == []
    deaf = list(climb({"made up": SPEECH}, lambda first, second: 4.0))
    report = to_report(deaf, "nothing")
    assert len(report.failed) == 7 and "0" in report.failed[0].line()


EXPECTED = Expected(1.2, 0.2)


def broken(kind: str) -> Take:
    """Return the signal with one failure."""
    ended = np.concatenate([SPEECH, np.zeros(1600, np.float32)])
    spoilt = {
        failures.BROKEN: np.where(np.arange(len(ended)) == 5, np.nan, ended),
        failures.SILENCE: 0 * ended,
        failures.CLIPPING: damage.clipping(ended, 0.3) * (0.9 / 0.3 / np.abs(ended).max()),
        failures.EARLY_STOP: np.concatenate([SPEECH[: RATE // 2], np.zeros(800, np.float32)]),
        failures.TRUNCATION: SPEECH[: int(0.9 * RATE)],
        failures.LOOPING: np.concatenate([ended, ended]),
        "": ended,
    }
    return take(spoilt[kind])


@pytest.mark.parametrize("name", [*failures.NAMES, ""])
def test_each_failure_is_told_by_its_name(name: str) -> None:
    found = {failure.name for failure in failures.find(broken(name), EXPECTED)}
    assert found == ({name} if name else set())


def test_a_pause_and_a_limit_are_failures_too() -> None:
    middle = len(SPEECH) // 2
    gap = np.concatenate([SPEECH[:middle], np.zeros(int(1.1 * RATE), np.float32), SPEECH[middle:], np.zeros(800)])
    assert [failure.name for failure in failures.find(take(gap), Expected(2.0, 0.2))] == [failures.SILENCE]
    assert not failures.find(take(gap), Expected(2.0, 1.0))
    limited = take(broken("").samples, finished=False)
    assert [failure.evidence for failure in failures.find(limited, EXPECTED)] == ["the tokens ran into their limit"]


def test_the_shipped_sentences_are_many_and_nobody_elses() -> None:
    from ovconvert.bench.texts import SHIPPED

    sentences = texts.shipped()
    assert len(set(sentences)) >= 20
    others = {text.text for found in SHIPPED.values() for text in found}
    assert not others & set(sentences)
    letters = {letter for sentence in sentences for letter in sentence.lower()}
    assert set("abcdefghijklmnopqrstuvwxyz") <= letters


def test_voices_take_turns(tmp_path: Path) -> None:
    from ovconvert.errors import UsageError

    for name in ("b.wav", "a.flac", "note.txt"):
        (tmp_path / name).touch()
    found = texts.prompts(("one", "two", "three"), texts.recordings((tmp_path,)))
    assert [prompt.voice.name for prompt in found] == ["a.flac", "b.wav", "a.flac"]
    with pytest.raises(UsageError, match="no such file"):
        texts.recordings((tmp_path / "none",))
    with pytest.raises(UsageError, match="no voice"):
        texts.prompts(("one",), ())


@pytest.mark.slow
def test_every_ladder_of_five_real_voices_is_in_order() -> None:
    audio = Path(__file__).parents[2] / "recipes/demo-voice/testset/audio"
    recordings = read(sorted(audio.glob("*.flac"))[:5])
    found = list(climb(recordings, lambda first, second: mos.pooled(mos.parts(first, second))))
    assert len(found) == 30
    assert [ladder for ladder in found if not ladder.ordered] == []
