"""Repetition-aware sampling against recorded distributions of the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovconvert.runtime.programs.cosyvoice.repetition import WINDOW, draw, nucleus, others

TOP_P, TOP_K = 0.8, 25


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent.parent / "golden" / "cosyvoice-tiny" / "sampling.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("row", range(4))
def test_candidates(golden: dict[str, np.ndarray], row: int) -> None:
    ids, probabilities = nucleus(golden["scores"][row], TOP_P, TOP_K)
    expected = golden["nucleus_ids"][row]
    assert ids.tolist() == expected[expected >= 0].tolist()
    np.testing.assert_allclose(probabilities, golden["nucleus_probs"][row][: len(ids)], rtol=1e-4)
    fewer, _ = nucleus(golden["scores"][row], 0.7, TOP_K - 1)
    assert len(fewer) < len(ids) or len(ids) == 1


@pytest.mark.parametrize("row", range(4))
def test_second_draw(golden: dict[str, np.ndarray], row: int) -> None:
    first = int(golden["nucleus_ids"][row, 0])
    found = others(golden["scores"][row], first)
    np.testing.assert_allclose(found, golden["redraw_probs"][row], atol=1e-6)
    assert found[first] == 0.0


def test_what_was_just_said_is_not_said_again_and_what_was_said_long_ago_is() -> None:
    rng = np.random.default_rng(1)
    scores = np.log(np.array([0.9, 0.05, 0.05], np.float32))
    assert {draw(scores, [0], rng, TOP_P, TOP_K) for _ in range(50)} == {1, 2}
    assert {draw(scores, [0, *[3] * WINDOW], rng, TOP_P, TOP_K) for _ in range(50)} == {0}


def test_a_token_that_cannot_be_is_not_drawn() -> None:
    rng = np.random.default_rng(1)
    scores = np.array([0.0, -np.inf, 0.0], np.float32)
    assert {draw(scores, [], rng, 1.0, 0) for _ in range(50)} == {0, 2}
    assert {draw(scores, [0], rng, 1.0, 0) for _ in range(50)} == {2}
