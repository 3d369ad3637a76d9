"""What the demo voice is measured with, as far as it can be tried without the packages that listen."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_voice import failures, interval, prosody, recognise, testset, texts
from demo_voice.agreement import IGNORED, Rounding, agreement, round_rows, rounded
from demo_voice.corpus import LEAD, SPEAKERS, STYLES, TAIL, Utterance
from demo_voice.durations import Durations
from demo_voice.prosody import Prosody
from demo_voice.spoken import Spoken, load, save

from ovconvert.networks.gpt2 import Gpt2Config, Gpt2Sequence

TESTSET = Path(recognise.__file__).parents[1] / "testset"


def test_the_test_set_was_held_out_and_is_balanced() -> None:
    rows = testset.load(TESTSET)
    assert len({row.text for row in rows}) == len(rows) == testset.ROWS
    testset.require_unheard(rows, recognise.domain_sentences(count=5000))
    cells = Counter((row.speaker, row.style) for row in rows[: testset.WITH_AUDIO])
    assert set(cells.values()) == {testset.WITH_AUDIO // (len(SPEAKERS) * len(STYLES))}


def test_a_training_sentence_in_the_test_set_is_named() -> None:
    row = next(row for row in testset.load(TESTSET) if texts.held_out(row.text))
    with pytest.raises(ValueError, match=row.text):
        testset.require_unheard([row], [f"hello alice. {row.text}"])
    taught = recognise.domain_sentences(count=1)[0]
    with pytest.raises(ValueError, match=taught):
        testset.require_unheard([testset.Row(taught, "awb", "calm")], [])


def test_every_row_with_audio_has_it_and_takes_about_as_long_as_expected() -> None:
    durations = Durations.load(TESTSET / "word_seconds.json")
    rows = testset.spoken(TESTSET)
    assert len(rows) == testset.WITH_AUDIO
    ratios = [row.seconds / durations.expected(row.text, row.speaker, row.style) for row in rows]
    assert min(ratios) > 0.8 and max(ratios) < 1.25


def test_durations_are_those_of_calm_words() -> None:
    said = Utterance(
        "awb", "sad", "no. no", (), (("no", 0.1, 0.1 + 0.2 * STYLES["sad"][0]), ("no", 1, 1 + 0.4 * STYLES["sad"][0]))
    )
    durations = Durations.learn([said])
    assert durations.seconds == {"awb": {"no": pytest.approx(0.3)}}
    assert durations.expected("No!", "awb", "calm", speed=2) == pytest.approx((0.3 + LEAD + TAIL) / 2)


def test_language_model_is_normalised(tmp_path: Path) -> None:
    recognise.write_language_model(["a b", "a c", "b a"], tmp_path / "small.arpa")
    unigrams: dict[str, tuple[float, float]] = {}
    bigrams: dict[str, dict[str, float]] = defaultdict(dict)
    for fields in map(str.split, (tmp_path / "small.arpa").read_text().splitlines()):
        if fields and fields[0].startswith("-"):
            if len(fields) == 3 and fields[2] in unigrams:
                bigrams[fields[1]][fields[2]] = 10 ** float(fields[0])
            else:
                unigrams[fields[1]] = (10 ** float(fields[0]), 10 ** float(fields[2]) if len(fields) == 3 else 0.0)
    assert math.isclose(sum(share for share, _ in unigrams.values()), 1, rel_tol=1e-3)
    for word, (_, backing) in unigrams.items():
        if word != "</s>":
            left = sum(share for other, (share, _) in unigrams.items() if other not in bigrams[word])
            assert math.isclose(sum(bigrams[word].values()) + backing * left, 1, rel_tol=1e-3), word


def test_repeats_count_what_follows_itself() -> None:
    assert failures.repeats(["one", "two", "two", "three"]) == {("two",): 1}
    assert failures.repeats(["a", "b", "a", "b"]) == {("a", "b"): 1}
    assert not failures.repeats(["a", "b", "a", "c"])


def test_silence_is_found_without_a_recogniser() -> None:
    speech = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.07
    pause = np.concatenate([speech, np.zeros(16000, np.float32), speech])
    for samples in (np.zeros(0, np.float32), np.zeros(32000, np.float32), pause, np.full(32000, np.nan, np.float32)):
        assert [one.name for one in failures.find(Spoken("hello", "awb", "calm", samples), "hello", 2.0)] == ["silent"]


def test_intervals_hold_the_mean_and_are_the_same_every_time() -> None:
    values = np.random.default_rng(3).standard_normal(100).tolist()
    figure = interval.mean(values)
    assert figure.low < figure.value < figure.high and figure == interval.mean(values)
    assert interval.difference([2.0, 2.0], [1.0]) == interval.Figure(1.0, 1.0, 1.0, 2)
    with pytest.raises(ValueError, match="no utterances"):
        interval.mean([])


def test_directions_count_only_moves_that_the_source_has() -> None:
    def voice(high: float, fast: float) -> list[tuple[str, str, Prosody]]:
        calm = [("awb", "calm", Prosody(84 + jitter, 2.0, 0.0)) for jitter in (-0.1, 0.0, 0.1)]
        return [*calm, *(("awb", "happy", Prosody(84 + high + jitter, 2.0, fast)) for jitter in (-0.1, 0.0, 0.1))]

    found = prosody.directions(prosody.moves(voice(1.0, -0.1)), prosody.moves(voice(2.0, 0.1)))
    assert found["pitch"] == prosody.Directions(moves=1, right=1, certain=1, share=0.5)
    assert found["rate"] == prosody.Directions(moves=1, right=0, certain=0, share=-1.0)
    assert found["spread"].moves == 0


def test_spoken_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    row = Spoken("hello", "awb", "sad", np.array([0.5, -0.25], np.float32), finished=False, speed=1.25)
    save([row], tmp_path)
    (again,) = load(tmp_path)
    assert (again.text, again.speaker, again.style, again.finished, again.speed) == ("hello", "awb", "sad", False, 1.25)
    np.testing.assert_allclose(again.samples, row.samples, atol=1e-4)


def test_rounding_is_symmetric_by_channel_and_group() -> None:
    weight = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    by_channel = round_rows(weight, Rounding(8))
    steps = weight.abs().amax(dim=1, keepdim=True) / 127
    assert ((weight - by_channel).abs() <= steps / 2 + 1e-6).all()
    grouped = round_rows(weight, Rounding(4, group=64))
    assert all(len(row.unique()) <= 15 for part in grouped.split(64, dim=1) for row in part)
    torch.testing.assert_close(grouped[:, 64:].abs().amax(dim=1), weight[:, 64:].abs().amax(dim=1))


def test_agreement_falls_with_the_bits_and_leaves_the_decoder_alone() -> None:
    torch.manual_seed(0)
    decoder = Gpt2Sequence(Gpt2Config(layers=2, width=32, heads=2, head_dim=16, inner=64, vocabulary=50)).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    targets = torch.randint(0, 50, (6, 20))
    targets[:, :5] = IGNORED
    batch = (torch.randn(6, 20, 32), targets)
    found = agreement(decoder, [batch], {"16": Rounding(16), "8": Rounding(8), "3": Rounding(3, group=16)})
    assert found["16"].tokens == 6 * 15
    assert found["16"].top1.value >= found["8"].top1.value > found["3"].top1.value
    assert found["8"].divergence.value < found["3"].divergence.value
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())
    kept = rounded(decoder, Rounding(3, keep=("mel_head",)))
    assert torch.equal(kept.mel_head.weight, decoder.mel_head.weight)
    assert not torch.equal(kept.gpt.h[0].attn.c_attn.weight, decoder.gpt.h[0].attn.c_attn.weight)
    with pytest.raises(ValueError, match="no_such"):
        rounded(decoder, Rounding(8, keep=("no_such",)))
