"""The runner on tiny packages: text and a recording in, audio out, with everything that a request may ask for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ovconvert import package
from ovconvert.errors import IntegrityError, UsageError
from ovconvert.runtime import Request, open_package
from ovconvert.runtime.decode import Generation
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.indextts2 import Program, synthesis
from ovconvert.runtime.programs.indextts2.classifier import read_scores
from ovconvert.runtime.programs.indextts2.emotions import EmotionMatrix, scaled
from ovconvert.runtime.programs.indextts2.synthesis import Synthesis
from ovconvert.runtime.request import Defaults
from ovconvert.stages import export

TEXT = "Good morning. The train leaves at seven thirty."
LONG = "The first sentence is here, and it is not short at all. " * 6


@pytest.fixture(scope="module")
def model(package_dir: Path) -> Program:
    return open_package(package_dir)


@pytest.fixture(scope="module")
def model25(package25_dir: Path) -> Program:
    return open_package(package25_dir)


@pytest.fixture
def request_(checkpoint: Path) -> Request:
    return Request(voice=checkpoint / "voices/sample.wav", steps=2, max_new_tokens=20, num_beams=1)


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """Return how far two recordings are apart; 1 if they have different lengths."""
    if left.shape != right.shape:
        return 1.0
    return float(np.abs(left - right).max())


def working() -> list[str]:
    """Return the threads that make audio."""
    return [thread.name for thread in threading.enumerate() if thread.name in ("drafts", "chunks")]


def test_audio_comes_out(model: Program, request_: Request) -> None:
    speech = model.speak(TEXT, request_)
    assert speech.sample_rate == 22050
    assert speech.samples.dtype == np.float32
    assert len(speech.samples) % 256 == 0
    assert 0.01 < np.abs(speech.samples).max() <= 1.0
    assert {"decoder", "flow_estimator", "vocoder"} <= set(speech.timings)
    assert speech.first_audio_seconds > 0


def test_a_segment_is_as_long_as_asked(model: Program, request_: Request) -> None:
    lengths = {
        fewest: len(model.speak("Yes.", replace(request_, min_new_tokens=fewest, max_new_tokens=fewest + 1)).samples)
        for fewest in (5, 25)
    }
    assert lengths[25] > 3 * lengths[5]
    with pytest.raises(UsageError, match="min_new_tokens is 30; allowed: 0 to max_new_tokens"):
        model.speak("Yes.", replace(request_, min_new_tokens=30))


def test_the_same_seed_gives_the_same_audio_and_another_does_not(model: Program, request_: Request) -> None:
    first = model.speak(TEXT, request_).samples
    assert difference(first, model.speak(TEXT, request_).samples) == 0.0
    assert difference(first, model.speak(TEXT, replace(request_, seed=1)).samples) > 1e-3


def test_defaults_beams_and_greedy(model: Program, request_: Request) -> None:
    plain = model.speak(TEXT, request_).samples
    for change in ({"num_beams": 3}, {"do_sample": False}, {"do_sample": False, "num_beams": 3}):
        changed = replace(request_, **change)
        speech = model.speak(TEXT, changed).samples
        assert difference(plain, speech) > 0.0, change
        assert difference(speech, model.speak(TEXT, changed).samples) == 0.0


@pytest.mark.slow  # exports anew
def test_what_the_checkpoint_asks_for_holds_unless_told_otherwise(
    model: Program, request_: Request, checkpoint: Path, tmp_path: Path
) -> None:
    asks = {"num_beams": 2, "repetition_penalty": 1, "steps": 3, "segment_tokens": 60, "max_new_tokens": 15}
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    (copy / "generation_config.json").write_text(json.dumps(asks | {"eos_token_id": 5}))
    exported = export.run(copy, tmp_path / "package", export.Options(weight_format="fp32"))
    assert "generation_config.json" in package.load(exported).lineage["source"]
    assert json.loads((exported / "assets/config.json").read_text())["generation"] == asks
    asking = open_package(exported)
    bare = Request(voice=request_.voice)

    speech = asking.speak(LONG, bare)
    assert {name: getattr(speech.request, name) for name in asks} == asks
    assert speech.request.top_k == Defaults.top_k
    assert difference(speech.samples, model.speak(LONG, replace(bare, **asks)).samples) == 0.0
    assert len(list(asking.stream(LONG, bare))) == len(list(model.stream(LONG, replace(bare, **asks)))) > 1

    given = {**{name: getattr(Defaults, name) for name in asks}, "max_new_tokens": 10, "steps": 2}
    told = asking.speak(TEXT, replace(bare, **given))
    assert {name: getattr(told.request, name) for name in asks} == given
    assert difference(told.samples, model.speak(TEXT, replace(bare, max_new_tokens=10, steps=2)).samples) == 0.0
    assert difference(told.samples, asking.speak(TEXT, replace(bare, max_new_tokens=10, steps=2)).samples) > 0.0


def test_speed_changes_the_length_by_that_factor(model: Program, request_: Request) -> None:
    normal = len(model.speak(TEXT, request_).samples)
    for speed in (0.5, 0.75, 1.25, 2.0):
        length = len(model.speak(TEXT, replace(request_, speed=speed)).samples)
        assert length * speed == pytest.approx(normal, rel=0.05), speed


def test_emotion_is_heard_in_every_form(model: Program, request_: Request, tmp_path: Path) -> None:
    voice, rate = soundfile.read(request_.voice)
    other = tmp_path / "other.wav"
    soundfile.write(other, voice[::-1], rate)
    plain = model.speak(TEXT, request_).samples
    requests = {
        "voice": replace(request_, emotion_voice=other),
        "half": replace(request_, emotion_voice=other, emotion_alpha=0.5),
        "vector": replace(request_, emotion_vector=(0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
        "weak vector": replace(request_, emotion_vector=(0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), emotion_alpha=0.3),
        "drawn": replace(request_, emotion_vector=(0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), emotion_random=True, seed=3),
        "text": replace(request_, emotion_text="What a horrible day."),
    }
    made = {name: model.speak(TEXT, request).samples for name, request in requests.items()}
    for name, samples in made.items():
        assert difference(plain, samples) > 0.0, name
    assert difference(made["voice"], made["half"]) > 0.0
    assert difference(made["vector"], made["weak vector"]) > 0.0
    none = replace(request_, emotion_voice=other, emotion_alpha=0.0)
    again = replace(request_, emotion_voice=request_.voice)
    assert difference(plain, model.speak(TEXT, again).samples) == 0.0
    assert difference(plain, model.speak(TEXT, none).samples) == 0.0


def test_steps_and_guidance(model: Program, request_: Request) -> None:
    plain = model.speak(TEXT, request_)
    unguided = model.speak(TEXT, replace(request_, guidance=0.0))
    finer = model.speak(TEXT, replace(request_, steps=4))
    assert len(plain.samples) == len(unguided.samples) == len(finer.samples)
    assert difference(plain.samples, unguided.samples) > 0.0
    assert difference(plain.samples, finer.samples) > 0.0


def test_long_text_becomes_segments_with_silence_between(model: Program, request_: Request) -> None:
    request = replace(request_, segment_tokens=60)
    chunks = list(model.stream(LONG, request))
    assert len(chunks) > 1
    speech = model.speak(LONG, request)
    silence = 22050 * 200 // 1000
    assert len(speech.samples) == sum(len(chunk.samples) for chunk in chunks) + silence * (len(chunks) - 1)
    start = len(chunks[0].samples)
    assert not speech.samples[start : start + silence].any()
    assert speech.samples[start + silence : start + silence + 256].any()


def test_a_stream_gives_its_first_segment_before_the_last_is_made(model: Program, request_: Request) -> None:
    request = replace(request_, segment_tokens=60)
    before = dict(model._engine.seconds)
    chunks = model.stream(LONG, request)
    next(chunks)
    first = model._engine.seconds["vocoder"] - before.get("vocoder", 0.0)
    rest = list(chunks)
    assert len(rest) >= 2
    assert model._engine.seconds["vocoder"] - before.get("vocoder", 0.0) > 1.5 * first


@pytest.mark.parametrize("overlap", [True, False])
def test_a_stream_that_is_left_stops_working(model: Program, request_: Request, overlap: bool) -> None:
    chunks = model.stream(LONG, replace(request_, segment_tokens=60, overlap=overlap))
    next(chunks)
    chunks.close()
    assert working() == []


@pytest.mark.parametrize("latents", ["second-pass", "step"])
def test_overlapped_is_what_it_is_one_after_the_other(model: Program, request_: Request, latents: str) -> None:
    require_equal_overlapped(model, replace(request_, latents=latents))


def require_equal_overlapped(program: Program, asked: Request) -> None:
    alone = replace(asked, segment_tokens=60, overlap=False)
    left, right = program.speak(LONG, alone), program.speak(LONG, replace(alone, overlap=True))
    assert difference(left.samples, right.samples) == 0.0
    assert left.notes == right.notes
    assert right.seconds > 0.0


def test_in_chunks_it_sounds_as_it_does_whole(model: Program, request_: Request) -> None:
    whole = replace(request_, segment_tokens=60)
    cut = replace(whole, chunk_seconds=0.1)
    segments, chunks = list(model.stream(LONG, whole)), list(model.stream(LONG, cut))
    assert len(chunks) > 2 * len(segments) > 2
    # a chunk is at most half as long again as was asked for; silence stands behind the last one of a segment alone
    assert max(len(chunk.samples) for chunk in chunks) <= 1.5 * 0.1 * 22050 + 256
    assert [chunk.segment for chunk in chunks if chunk.silence] == [chunk.segment for chunk in segments]
    left, right = model.speak(LONG, whole), model.speak(LONG, cut)
    assert difference(left.samples, right.samples) <= 1e-5 * np.abs(left.samples).max()
    assert left.notes == right.notes
    assert right.first_audio_seconds < right.seconds


def test_the_vocoder_hears_long_pieces_a_part_at_a_time(
    model: Program, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    run = Engine.run
    monkeypatch.setattr(Engine, "run", lambda engine, name, **inputs: ran.append(name) or run(engine, name, **inputs))
    whole = model.speak(TEXT, request_)
    assert ran.count("vocoder") == 1
    ran.clear()
    monkeypatch.setattr(synthesis, "VOICED_SECONDS", 0.1)
    parts = model.speak(TEXT, request_)
    assert ran.count("vocoder") > 2
    assert difference(whole.samples, parts.samples) <= 1e-5 * np.abs(whole.samples).max()


def test_a_package_that_does_not_say_how_far_its_vocoder_looks_is_voiced_whole(
    package_dir: Path, request_: Request, tmp_path: Path
) -> None:
    older = shutil.copytree(package_dir, tmp_path / "older")
    manifest = json.loads((older / package.MANIFEST).read_text())
    for packed in manifest["components"]:
        del packed["component"]["reach"]
    (older / package.MANIFEST).write_text(json.dumps(manifest))
    assert len(list(open_package(older).stream(TEXT, replace(request_, chunk_seconds=0.05)))) == 1


def test_every_sentence_can_be_a_segment(model: Program, request_: Request) -> None:
    require_a_segment_per_sentence(model, request_)


def require_a_segment_per_sentence(program: Program, asked: Request) -> None:
    text = "The first sentence is here. A second one follows it, with a comma! Dr. Brown asks: is this the third?"
    filled = list(program.stream(text, asked))
    cut = list(program.stream(text, replace(asked, segment_by="sentence")))
    assert (len(filled), len(cut)) == (1, 3)
    assert "".join(chunk.text for chunk in cut).replace(" ", "") == filled[0].text.replace(" ", "")
    assert [chunk.text.strip()[-1] for chunk in cut] == [".", "!", "?"]


def test_a_stream_that_is_left_ends_within_a_step_not_a_segment(model: Program, request_: Request) -> None:
    reported: list[str] = []
    chunks = model.stream(LONG, replace(request_, segment_tokens=60, steps=200), lambda what, *_: reported.append(what))
    worker = threading.Thread(target=lambda: next(chunks))
    worker.start()
    while "flow_estimator" not in reported:
        time.sleep(0.01)
    worker.join()  # the first segment comes out whole
    done = reported.count("flow_estimator")
    chunks.close()
    assert reported.count("flow_estimator") < done + 150
    assert working() == []


def test_utterances_run_side_by_side(model: Program, request_: Request) -> None:
    requests = [replace(request_, seed=seed, segment_tokens=60) for seed in range(3)]
    alone = [model.speak(LONG, request).samples for request in requests]
    together: dict[int, np.ndarray] = {}

    def speak(number: int) -> None:
        together[number] = model.speak(LONG, requests[number]).samples

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, samples in enumerate(alone):
        assert difference(samples, together[number]) == 0.0
    streams = [model.stream(LONG, request) for request in requests[:2]]
    for left, right in zip(*streams, strict=False):  # in one thread, in turns
        assert len(left.samples) and len(right.samples)


@pytest.mark.slow
def test_all_forms_of_the_decoder_speak_the_same(package_dir: Path, request_: Request, tmp_path: Path) -> None:
    from dataclasses import replace as change

    explicit = shutil.copytree(package_dir, tmp_path / "explicit")
    manifest = package.load(explicit)
    components = tuple(
        change(packed, graphs={"with_past": packed.graphs["with_past"]}) if packed.component.name == "decoder" else packed
        for packed in manifest.components
    )
    package.save(change(manifest, components=components), explicit)
    for beams in (1, 3):
        wanted = replace(request_, num_beams=beams)
        left = open_package(package_dir).speak(TEXT, wanted).samples
        right = open_package(explicit).speak(TEXT, wanted).samples
        assert left.shape == right.shape
        assert difference(left, right) < 1e-3


def test_given_codes_are_spoken_as_if_they_had_been_chosen(
    model: Program, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[np.ndarray] = []
    decode = Synthesis._decode

    def keep(*given: Any) -> Generation:
        generation = decode(*given)
        chosen.append(generation.codes)
        return generation

    monkeypatch.setattr(Synthesis, "_decode", keep)
    greedy = replace(request_, do_sample=False)
    spoken = model.speak(TEXT, greedy).samples
    assert np.array_equal(model.render(TEXT, chosen[0], greedy), spoken)
    assert model.spectrum(TEXT, chosen[0], greedy).shape[2] * 256 == len(spoken)
    other = (chosen[0] + 1) % 100
    assert not np.array_equal(model.render(TEXT, other, greedy), spoken)
    with pytest.raises(UsageError, match="one segment"):
        model.render(LONG, chosen[0], replace(greedy, segment_tokens=20))


def test_a_profile_and_its_parts_change_the_audio(model: Program, request_: Request) -> None:
    exact = model.speak(TEXT, request_)
    assert np.array_equal(model.speak(TEXT, replace(request_, profile="exact")).samples, exact.samples)
    for changed in (
        {"profile": "fast"},
        {"solver": "midpoint"},
        {"sway": -0.5},
        {"guidance_every": 2},
        {"guidance_interval": (0.0, 0.3)},
        {"prompt_seconds": 0.5},
        {"latents": "step"},
        {"positions": "contiguous"},
    ):
        speech = model.speak(TEXT, replace(request_, **changed))
        assert np.isfinite(speech.samples).all() and len(speech.samples)
        assert not np.array_equal(speech.samples, exact.samples), changed


def test_version_25_speaks(model25: Program, request_: Request) -> None:
    require_equal_overlapped(model25, request_)
    require_a_segment_per_sentence(model25, request_)
    speech = model25.speak(TEXT, request_)
    assert np.abs(speech.samples).max() > 0.0
    slow = model25.speak(TEXT, replace(request_, speed=0.5))
    assert len(slow.samples) == pytest.approx(2 * len(speech.samples), rel=0.05)
    chinese = model25.speak("今天天气很好。", replace(request_, language="zh"))
    assert len(chinese.samples) > 0
    with pytest.raises(UsageError, match="language"):
        model25.speak(TEXT, replace(request_, language="klingon"))


@pytest.mark.parametrize("name", ["config.json", "bpe.model", "emotion_matrix.npy"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:20])])
def test_damaged_assets_are_named_at_once(package_dir: Path, tmp_path: Path, name: str, damage: Callable) -> None:
    copy = shutil.copytree(package_dir, tmp_path / "copy")
    damage(copy / "assets" / name)
    with pytest.raises(IntegrityError, match=f"assets/{name}"):
        open_package(copy)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "bad \ud800 text"])
def test_text_that_cannot_be_spoken(model: Program, request_: Request, text: str) -> None:
    with pytest.raises(UsageError):
        model.speak(text, request_)


def test_text_that_is_too_long(model: Program, request_: Request) -> None:
    with pytest.raises(UsageError, match="5000"):
        model.speak("word " * 2000, request_)


def test_a_request_without_a_voice(model: Program) -> None:
    with pytest.raises(UsageError, match="--voice"):
        model.speak(TEXT, Request())


def test_what_other_models_are_told_is_refused(model: Program, request_: Request) -> None:
    with pytest.raises(UsageError, match=r"speaker is .anna.; this model has no such setting\n.*instruct_text is"):
        model.speak(TEXT, replace(request_, speaker="anna", instruct_text="Slowly."))


def test_every_wrong_value_of_a_request_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        Request(speed=9.0, steps=0, emotion_vector=(1.0, 2.0), emotion_text="sad")
    for part in ("speed is 9.0", "steps is 0", "eight weights", "one source of emotion"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "subtype, channels, rate", [("PCM_U8", 1, 8000), ("PCM_24", 2, 96000), ("FLOAT", 1, 16000), ("PCM_16", 2, 44100)]
)
def test_recordings_of_every_kind(
    model: Program, request_: Request, tmp_path: Path, subtype: str, channels: int, rate: int
) -> None:
    voice, _ = soundfile.read(request_.voice)
    path = tmp_path / "voice.wav"
    soundfile.write(path, np.stack([voice] * channels, 1), rate, subtype=subtype)
    speech = model.speak("Yes.", replace(request_, voice=path, max_new_tokens=5))
    assert len(speech.samples) > 0


@pytest.mark.parametrize("content", [b"", b"this is text", b"RIFF\x00\x00\x00\x00WAVE"])
def test_recordings_that_are_none(model: Program, request_: Request, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"voice.wav"):
        model.speak(TEXT, replace(request_, voice=path))
    with pytest.raises(UsageError, match=r"missing.wav"):
        model.speak(TEXT, replace(request_, voice=tmp_path / "missing.wav"))


def test_the_voice_is_computed_once(model: Program, request_: Request, tmp_path: Path) -> None:
    copy = Path(shutil.copy(request_.voice, tmp_path / "renamed.wav"))
    model.speak("Yes.", request_)
    speech = model.speak("Yes.", replace(request_, voice=copy))
    assert not {"semantic_encoder", "speaker_encoder", "speaker_conditioner", "emotion_conditioner"} & set(speech.timings)


def test_the_command_line_speaks_and_refuses(package_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    command = [sys.executable, "-m", "ovconvert", "speak", str(package_dir), TEXT, "-o", str(out), "--timings"]
    fast = ["--voice", str(checkpoint / "voices/sample.wav"), "--steps", "2", "--max-new-tokens", "10", "--num-beams", "1"]
    done = subprocess.run([*command, *fast], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(out).samplerate == 22050
    assert "real-time factor" in done.stderr
    again = subprocess.run([*command, *fast], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_emotion_scores_are_read_leniently() -> None:
    assert read_scores('{"高兴": 0.5, "愤怒": 2.0}', "")[:2] == (0.5, 1.2)
    assert read_scores("悲伤", "") == (0, 0, 1.0, 0, 0, 0, 0, 0)
    assert read_scores('{"emotion": "惊讶"}', "")[6] == 1.0
    assert read_scores("高兴：0.7，自然：0.3", "")[0] == 0.7
    assert read_scores("nonsense", "") == (0, 0, 0, 0, 0, 0, 0, 1.0)
    assert read_scores('{"悲伤": 0.8}', "I feel gloomy")[5] == 0.8
    assert read_scores('{"悲伤": 0.8}', "I feel fine")[5] == 0.0


def test_emotion_vectors_are_mixed_as_specified(tmp_path: Path) -> None:
    speakers = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    emotions = np.array([[1, 0], [0, 1], [5, 5]], np.float32)
    np.save(tmp_path / "speaker_matrix.npy", speakers)
    np.save(tmp_path / "emotion_matrix.npy", emotions)
    matrix = EmotionMatrix({"emotion_groups": [2, 1]}, tmp_path)
    heard = np.array([[10, 20]], np.float32)
    mixed = matrix.mix([0.5, 0.25], np.array([[0.1, 0.9]], np.float32), heard)
    np.testing.assert_allclose(mixed, [[0.5 * 0 + 0.25 * 5 + 0.25 * 10, 0.5 * 1 + 0.25 * 5 + 0.25 * 20]])
    assert scaled([0.33339], 0.5) == [0.1666]
    assert scaled([0.33339], 1.0) == [0.33339]
