"""What a program does not obey is refused, by every program and for every field; what several share is narrowed to it."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from ovconvert import families
from ovconvert.errors import UsageError
from ovconvert.package import ASSETS
from ovconvert.runtime import find_program
from ovconvert.runtime.request import PROFILES, Request
from ovconvert.runtime.speaking import Speaker
from ovconvert.runtime.speech import Chunk
from ovconvert.runtime.takes import narrowed, resolved, streamed, whole

SPEAKERS = [name for name in families.names() if issubclass(find_program(name), Speaker)]
# of every field a value that is allowed and is not its default
OTHER: dict[str, Any] = {
    "voice": Path("voice.wav"),
    "voice_text": "Hello.",
    "speaker": "first",
    "instruct_text": "Slowly.",
    "emotion_voice": Path("glad.wav"),
    "emotion_alpha": 0.5,
    "emotion_vector": (0.5,) * 8,
    "emotion_text": "glad",
    "emotion_random": True,
    "language": "ja",
    "speed": 1.25,
    "seed": 3,
    "do_sample": False,
    "num_beams": 2,
    "top_k": 5,
    "top_p": 0.5,
    "temperature": 0.5,
    "repetition_penalty": 2.0,
    "length_penalty": 1.0,
    "max_new_tokens": 9,
    "min_new_tokens": 3,
    "latents": "step",
    "positions": "contiguous",
    "solver": "midpoint",
    "steps": 3,
    "sway": -1.0,
    "guidance": 0.3,
    "guidance_interval": (0.1, 0.5),
    "guidance_every": 2,
    "prompt_seconds": 2.0,
    "segment_by": "sentence",
    "segment_tokens": 40,
    "silence_ms": 10,
    "chunk_seconds": 1.0,
    "overlap": True,
    "max_reference_seconds": 5.0,
    "profile": "fast",
}
ONE_BEAM = {"num_beams": 1}  # of the package


def test_every_field_and_every_program_that_speaks_is_tried() -> None:
    assert set(OTHER) == {field.name for field in fields(Request)}
    assert len(SPEAKERS) >= 3


@pytest.mark.parametrize("field", OTHER)
@pytest.mark.parametrize("family", SPEAKERS)
def test_a_field_is_obeyed_or_refused_by_name(family: str, field: str) -> None:
    takes = find_program(family).TAKES
    value = OTHER[field]
    asked, problems = resolved(Request(**{field: value}), takes, ONE_BEAM)
    if field in takes and not takes[field]:
        assert not problems
        assert getattr(asked, field) == value
    elif field in takes:
        assert problems == [f"{field} is {value!r}; this model can do {', '.join(map(repr, takes[field]))} alone"]
    else:
        assert problems[0] == f"{field} is {value!r}; this model has no such setting"
        assert "leave it out; settings of this model: seed, profile, voice," in problems[1]


@pytest.mark.parametrize("family", SPEAKERS)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_taken_as_far_as_the_model_has_its_settings(family: str, profile: str) -> None:
    program = find_program(family)
    asked, problems = resolved(Request(profile=profile), program.TAKES, ONE_BEAM)
    assert not problems
    for name, value in PROFILES[profile].items():
        assert (getattr(asked, name) == value) is (
            name in program.TAKES or value == getattr(Request().resolved(ONE_BEAM), name)
        )


def test_a_field_given_as_it_would_be_anyway_is_no_wish() -> None:
    asked, problems = resolved(Request(overlap=False, language="auto", speed=1.0), whole("voice"), {})
    assert (asked, problems) == (Request().resolved({}), [])


def test_a_package_that_decides_what_its_model_cannot_do_is_told() -> None:
    _, problems = resolved(Request(), {"num_beams": (1,)}, {"num_beams": 4})
    assert problems == ["num_beams is 4; this model can do 1 alone"]


def test_streaming_asks_for_what_the_model_can_do_and_the_request_leaves_open() -> None:
    assert streamed(Request(), whole("segment_by", "chunk_seconds")) == {"segment_by": "sentence", "chunk_seconds": 2.0}
    assert streamed(Request(segment_by="length"), whole("segment_by")) == {}
    assert narrowed({"num_beams": 3, "steps": 2, "top_k": 1}, {"num_beams": (1,), "steps": ()}) == {"steps": 2}


class Toy(Speaker):
    """Says a sentence of two chunks and one of none."""

    TAKES: ClassVar = whole("speed", "latents", "steps")
    OF: ClassVar = {"latents": "projector"}

    def contradictions(self, asked: Any) -> list[str]:
        return ["speed is 2; not with so few steps"] if asked.speed == 2.0 and asked.steps == 1 else []

    def stream(self, text: str, request: Request, on_progress: Any = None) -> Generator[Chunk, None, None]:
        self.resolved(request)
        self._engine.seconds["vocoder"] += 0.5
        one, none = np.full(3, 0.5, np.float32), np.zeros(0, np.float32)
        yield Chunk(none, 8000, "one", 2, 0, True)
        yield Chunk(one, 8000, "one", 2, 2, False)
        yield Chunk(one, 8000, "two", 0, 2, True, segment=1)


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    (tmp_path / ASSETS).mkdir()
    (tmp_path / ASSETS / "config.json").write_text(json.dumps({"generation": {"steps": 7}}))
    manifest = SimpleNamespace(has=lambda name: False)
    return Toy(SimpleNamespace(directory=tmp_path, manifest=manifest, seconds={"vocoder": 1.0, "idle": 2.0}))  # type: ignore[arg-type]


def test_an_utterance_is_gathered_from_its_chunks(toy: Toy) -> None:
    handed: list[Chunk] = []
    speech = toy.speak("Whatever.", Request(), on_chunk=handed.append)
    assert speech.samples.tolist() == [*[0.5] * 3, 0.0, 0.0, *[0.5] * 3]
    assert (len(handed), speech.sample_rate, speech.timings) == (3, 8000, {"vocoder": 0.5})
    assert 0.0 < speech.first_audio_seconds <= speech.seconds
    assert speech.settings == {"steps": 7}
    assert speech.notes == (
        "segment 1 reached the limit of 2 tokens: 'one'",
        "segment 2 was ended by the model before it began: 'two'",
    )


def test_all_that_does_not_fit_is_said_at_once_before_any_work(toy: Toy) -> None:
    with pytest.raises(UsageError) as caught:
        toy.speak("Whatever.", Request(speed=2.0, steps=1, latents="step", overlap=True))
    for said in (
        "latents is 'step'",
        "overlap is True",
        "not with so few steps",
        "settings of this model: seed, profile, speed",
    ):
        assert said in str(caught.value)
    assert toy._engine.seconds["vocoder"] == 1.0
