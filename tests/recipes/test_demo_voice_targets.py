"""What the demo voice's networks are asked for beside codes: the pitch, and sentences that no template has."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from demo_voice import pitch
from demo_voice.language_model import Example, joined
from demo_voice.semantic import CENTRE, STEP

RATE = 16000


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    """Ten harmonics, as a voice has them."""
    time = np.arange(int(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 11)) * 0.1


@pytest.mark.parametrize("hertz", [70.0, 128.0, 210.0, 330.0])
def test_pitch_of_a_voice(hertz: float) -> None:
    found = pitch.contour(tone(hertz), RATE)
    assert found.shape == (51, 1)
    inside = found[5:-5, 0]
    assert np.abs(inside - (math.log2(hertz) - pitch.CENTRE) * pitch.OCTAVE).max() < 0.05


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE // 2) * 0.1
    assert np.isnan(pitch.contour(noise, RATE)).mean() > 0.9
    assert np.isnan(pitch.contour(np.zeros(RATE // 2), RATE)).all()


def test_error_is_of_voiced_frames_alone() -> None:
    found = torch.tensor([1.0, 5.0, 2.0], requires_grad=True)
    error = pitch.error(found, torch.tensor([0.0, math.nan, 2.5]))
    assert error.item() == pytest.approx(0.75)
    error.backward()
    assert found.grad is not None and found.grad.tolist() == [0.5, 0.0, -0.5]
    assert pitch.error(found, torch.full((3,), math.nan)).item() == 0


def example(words: list[str], start: int) -> Example:
    """Words of ten codes each, counted from `start`."""
    count = 10 * len(words)
    times = [(word, CENTRE + STEP * 10 * n, CENTRE + STEP * 10 * (n + 1)) for n, word in enumerate(words)]
    codes = np.arange(start, start + count)
    return Example(" ".join(words), tuple(times), codes, np.tile(codes[:, None], (1, 80)), codes.astype(float))


def test_two_utterances_are_joined_between_words() -> None:
    found = joined(example(["turn", "on", "the", "fan"], 0), 2, example(["call", "bob", "now"], 100), 1)
    assert found.text == "turn on bob now"
    assert found.codes.tolist() == [*range(20), *range(110, 130)]
    assert found.mel.shape == (40, 80) and found.pitch.tolist() == found.codes.tolist()
    assert [word for word, _, _ in found.words] == ["turn", "on", "bob", "now"]
    starts = [round((start - CENTRE) / STEP) for _, start, _ in found.words]
    assert starts == [0, 10, 20, 30]
