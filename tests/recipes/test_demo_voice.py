"""The shipped voice: a checkpoint like any other, that speaks what it is given, in the voice and manner asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ovconvert import families
from ovconvert.runtime import Request, open_package
from ovconvert.stages import export

RECIPE = Path(__file__).parents[2] / "recipes" / "demo-voice"
CHECKPOINT = RECIPE / "checkpoint"
MOST_MEGABYTES = 30
SENTENCES = 12


slow = pytest.mark.slow  # its package takes a minute to make; CI's road, which every landing walks, makes it too


@pytest.fixture(scope="module")
def package_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package in float32."""
    return export.run(CHECKPOINT, tmp_path_factory.mktemp("demo") / "package", export.Options(weight_format="fp32"))


@pytest.fixture(scope="module")
def program(package_dir: Path) -> Any:
    return open_package(package_dir)


def spoken(program: Any, text: str = "Turn on the lights in the kitchen.", speaker: str = "slt", **asked: Any) -> np.ndarray:
    return program.speak(text, Request(voice=CHECKPOINT / "voices" / f"{speaker}.wav", **asked)).samples


def test_it_is_small_and_every_key_is_known() -> None:
    size = sum(path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file())
    assert size <= MOST_MEGABYTES * 1e6
    opened = families.open_checkpoint(CHECKPOINT)  # strict: a key that is not published is an error
    assert opened.family.sample_rate == 16000


@slow
def test_the_same_text_and_seed_give_the_same_audio(program: Any) -> None:
    first = spoken(program, seed=3)
    assert np.array_equal(first, spoken(program, seed=3))
    other = spoken(program, seed=4)
    assert first.shape != other.shape or not np.array_equal(first, other)


@slow
@pytest.mark.parametrize("speed", [0.75, 1.25])
def test_speed_changes_the_duration_by_its_factor(program: Any, speed: float) -> None:
    plain, changed = (len(spoken(program, seed=5, speed=value)) for value in (1.0, speed))
    assert plain / changed == pytest.approx(speed, rel=0.05)


@slow
def test_originals_and_graphs_speak_alike(program: Any, package_dir: Path) -> None:
    from demo_voice.synthesise import open_original

    original = open_original(CHECKPOINT, package_dir)
    for seed in range(2):
        ours, theirs = (spoken(which, seed=seed, do_sample=False) for which in (program, original))
        assert ours.shape == theirs.shape
        noise = np.square(ours - theirs).sum()
        assert 10 * np.log10(np.square(theirs).sum() / noise) > 40


@slow
def test_a_recogniser_understands_it_and_nothing_else(program: Any) -> None:
    from demo_voice import recognise, synthesise, testset

    rows = testset.load(RECIPE / "testset")[:SENTENCES]
    recogniser = recognise.Recogniser(RECIPE / "testset" / "domain.arpa")
    heard = [
        recogniser.hear(row.samples) for row in synthesise.synthesise(program, rows, CHECKPOINT / "voices", num_beams=1)
    ]
    assert error_rate([row.text for row in rows], heard) < 0.2
    assert error_rate([row.text for row in rows], heard[1:] + heard[:1]) > 0.5  # the check can fail


@slow
def test_the_emotion_moves_the_speaking_rate(program: Any) -> None:
    slow = np.median([len(spoken(program, seed=seed, emotion_vector=(0, 0, 0, 0, 0, 1, 0, 0))) for seed in range(3)])
    fast = np.median([len(spoken(program, seed=seed, emotion_vector=(0, 0, 0, 1, 0, 0, 0, 0))) for seed in range(3)])
    assert slow > 1.15 * fast  # melancholic against afraid


@slow
def test_the_emotion_moves_the_pitch(program: Any) -> None:
    from demo_voice import pitch

    def octaves(vector: tuple[int, ...]) -> float:
        found = [pitch.contour(spoken(program, seed=seed, emotion_vector=vector), 16000) for seed in range(2)]
        return float(np.median([np.nanmedian(one) for one in found])) / pitch.OCTAVE

    surprised, disgusted = (0, 0, 0, 0, 0, 0, 1, 0), (0, 0, 0, 0, 1, 0, 0, 0)
    assert octaves(surprised) > octaves(disgusted) + 0.3


@slow  # a minute; CI runs the command itself
def test_every_training_learns_within_a_minute(tmp_path: Path) -> None:
    from demo_voice.__main__ import main

    done = CliRunner().invoke(main, ["quick", "--work", str(tmp_path)])
    assert done.exit_code == 0, done.output


def error_rate(texts: list[str], heard: list[str]) -> float:
    import jiwer

    return float(jiwer.wer(texts, heard))
