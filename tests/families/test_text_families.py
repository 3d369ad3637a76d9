"""Families read by the transformers library: every stage at tiny size, then the tokens of the library's own generate."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovconvert import families, package
from ovconvert.bench.generation import tasks_of
from ovconvert.bench.generators import generator_of
from ovconvert.bench.subject import Subject
from ovconvert.errors import ConversionError, UsageError
from ovconvert.families.t5 import synthetic as text
from ovconvert.families.whisper import synthetic as speech
from ovconvert.judges import benchmark, validate
from ovconvert.runtime import open_listener, open_package, open_writer
from ovconvert.runtime.cache import open_step
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.listening import ListenRequest
from ovconvert.runtime.writing import WriteRequest
from ovconvert.stages import export

FP32 = export.Options(weight_format="fp32")
ACCEPTED = {"temperatures": (0.0,), "logprob_threshold": -1e9}  # noise is improbable text: no second temperature


@dataclass(frozen=True)
class Listening:
    """A checkpoint that listens: layers, heads, width, window in seconds, and what its rules are."""

    layers: int = 2
    heads: int = 4
    width: int = 32
    seconds: int = 2
    suppress: bool = True


SPEECH = [
    Listening(),
    Listening(suppress=False, layers=1),
    *(Listening(layers, heads, width, seconds, suppress)
      for layers, heads, width, seconds, suppress in [
          (1, 2, 16, 1, True), (3, 4, 32, 1, False), (2, 8, 64, 3, True), (4, 2, 32, 2, False),
          (1, 1, 24, 2, True), (2, 6, 48, 1, True), (3, 2, 64, 2, False), (2, 4, 96, 4, True),
          (1, 3, 24, 2, False), (5, 2, 32, 1, True), (2, 2, 80, 3, False), (3, 8, 32, 2, True), (1, 6, 96, 1, False),
          (4, 4, 48, 3, True), (6, 1, 16, 2, False), (2, 5, 40, 4, True), (3, 3, 72, 1, True), (1, 8, 128, 2, False),
      ]),
]  # fmt: skip
TEXT: list[dict[str, Any]] = [
    {"num_layers": 2, "num_heads": 4, "d_model": 32, "d_kv": 8, "variant": "1.1"},
    {"num_layers": 2, "num_heads": 4, "d_model": 32, "d_kv": 8, "variant": "1.0"},
    {"num_layers": 1, "num_heads": 2, "d_model": 16, "d_kv": 16, "variant": "1.1", "relative_attention_max_distance": 20},
    {"num_layers": 3, "num_heads": 2, "d_model": 32, "d_kv": 12, "variant": "1.0", "relative_attention_num_buckets": 8},
    {"num_layers": 2, "num_heads": 8, "d_model": 64, "d_kv": 4, "variant": "1.1", "num_decoder_layers": 1},
    {"num_layers": 3, "num_heads": 3, "d_model": 48, "d_kv": 16, "variant": "1.0", "num_decoder_layers": 2},
    {"num_layers": 4, "num_heads": 4, "d_model": 32, "d_kv": 8, "variant": "1.1", "feed_forward_proj": "gated-relu"},
    {"num_layers": 2, "num_heads": 1, "d_model": 24, "d_kv": 24, "variant": "1.0", "feed_forward_proj": "gelu"},
    {"num_layers": 2, "num_heads": 4, "d_model": 96, "d_kv": 24, "variant": "1.1", "relative_attention_num_buckets": 16},
    {"num_layers": 2, "num_heads": 4, "d_model": 64, "d_kv": 16, "variant": "1.0", "relative_attention_max_distance": 24},
    {"num_layers": 5, "num_heads": 4, "d_model": 32, "d_kv": 8, "variant": "1.0", "vocab_size": 640},
    {"num_layers": 1, "num_heads": 4, "d_model": 128, "d_kv": 32, "variant": "1.1", "d_ff": 128},
    {"num_layers": 2, "num_heads": 6, "d_model": 48, "d_kv": 8, "variant": "1.0", "relative_attention_num_buckets": 12},
    {"num_layers": 3, "num_heads": 1, "d_model": 16, "d_kv": 16, "variant": "1.1", "vocab_size": 600},
    {"num_layers": 2, "num_heads": 5, "d_model": 40, "d_kv": 8, "variant": "1.1", "relative_attention_max_distance": 40},
    {"num_layers": 1, "num_heads": 2, "d_model": 80, "d_kv": 40, "variant": "1.0", "feed_forward_proj": "gelu"},
    {"num_layers": 6, "num_heads": 2, "d_model": 24, "d_kv": 12, "variant": "1.1", "feed_forward_proj": "gated-relu"},
    {"num_layers": 4, "num_heads": 3, "d_model": 36, "d_kv": 12, "variant": "1.1"},
    {"num_layers": 3, "num_heads": 4, "d_model": 64, "d_kv": 16, "variant": "1.1", "relative_attention_num_buckets": 24},
    {"num_layers": 1, "num_heads": 8, "d_model": 96, "d_kv": 12, "variant": "1.0", "feed_forward_proj": "gated-gelu"},
]


# of each in turn: others of these sizes may repeat a few words for ever
TEXT_SEEDS = (*range(10), 12, 13, 14, 15, 17, 18, 19, 20, 22, 23)


def make_speech(dest: Path, case: Listening, seed: int) -> Path:
    config = {"d_model": case.width, "heads": case.heads, "layers": case.layers, "ffn": 2 * case.width, "bands": 16}
    speech.write(dest, seed=seed, words=400, chunk_seconds=case.seconds, max_target_positions=64, config=config)
    if not case.suppress:
        path = dest / "generation_config.json"
        content = json.loads(path.read_text())
        del content["suppress_tokens"], content["begin_suppress_tokens"]
        path.write_text(json.dumps(content))
    return dest


def make_text(dest: Path, settings: dict[str, Any], seed: int) -> Path:
    variant = text.VARIANTS[settings["variant"]]
    own = {key: value for key, value in settings.items() if key != "variant"}
    text.write(dest, seed=seed, **{**text.SIZES["tiny"], **variant, **own})
    return dest


def sound(seconds: float, seed: int) -> np.ndarray:
    rng, time = np.random.default_rng(seed), np.arange(int(16000 * seconds)) / 16000
    tone = np.sin(2 * np.pi * (200 + 130 * seed) * time * (1 + 0.1 * np.sin(3 * time)))
    return (0.3 * tone + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def quiet() -> None:
    import transformers

    transformers.logging.set_verbosity_error()


def heard(model: Any, features: Any, **settings: Any) -> list[int]:
    """Return the tokens of the library's generate, without the ends that fill the rows up."""
    tokens = model.generate(features, language="en", task="transcribe", do_sample=False, **settings)[0].tolist()
    end = model.generation_config.eos_token_id
    return [token for token in tokens if token != end]


def check_speech(directory: Path, case: Listening, seed: int) -> set[int]:
    """Compare with the library; return the tokens that occurred."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    quiet()
    checkpoint = make_speech(directory / "checkpoint", case, seed)
    source = export.run(checkpoint, directory / "package", FP32)
    model = WhisperForConditionalGeneration.from_pretrained(checkpoint).eval()
    extract = WhisperFeatureExtractor.from_pretrained(checkpoint)
    program: Any = open_listener(source)
    occurred: set[int] = set()
    for length in (case.seconds, 0.6 * case.seconds):
        samples = sound(length, seed)
        features = extract(samples, sampling_rate=16000, return_tensors="np").input_features[0]
        padded = np.pad(samples, (0, case.seconds * 16000 - len(samples)))
        np.testing.assert_allclose(program.spectrum(padded), features, atol=1e-4)
        states = program.encode(features)
        ids = np.array([[401, 402, 413, 417, 33, 44]])
        step = open_step(program._engine, "decoder")
        with torch.no_grad():
            wanted = model(torch.from_numpy(features)[None], decoder_input_ids=torch.from_numpy(ids)).logits.numpy()
        step.reset()
        parts = [step(input_ids=ids[:, a:b], encoder_hidden_states=states)["logits"] for a, b in ((0, 4), (4, 5), (5, 6))]
        np.testing.assert_allclose(np.concatenate(parts, 1), wanted, atol=1e-3)
        for beams in (1, 3):
            for timestamps in (False, True):
                given = torch.from_numpy(features)[None]
                expected = heard(model, given, num_beams=beams, return_timestamps=timestamps)
                asked = ListenRequest(language="en", num_beams=beams, timestamps=timestamps, **ACCEPTED)
                # the library takes a padded window for a whole one
                found = program.hear(padded, asked)
                assert [token for passage in found.passages for token in passage.tokens] == expected
                occurred |= set(expected)
    return occurred


def check_text(directory: Path, settings: dict[str, Any], seed: int) -> set[int]:
    """Compare with the library; return the tokens that occurred."""
    import torch
    from transformers import T5ForConditionalGeneration

    quiet()
    checkpoint = make_text(directory / "checkpoint", settings, seed)
    source = export.run(checkpoint, directory / "package", FP32)
    model = T5ForConditionalGeneration.from_pretrained(checkpoint).eval()
    program: Any = open_writer(source)
    rng = np.random.default_rng(seed)
    occurred: set[int] = set()
    for length in (3, 17, 45):
        ids = [*rng.integers(3, 400, length).tolist(), 1]
        given = torch.tensor([ids])
        plain = program.answer(ids, WriteRequest(max_new_tokens=30))
        # an end that never comes would leave half of the beam search untried: a token that does come is declared one
        end = int(plain.codes[len(plain.codes) // 2])
        for stop in (1, end):
            program.settings["eos_token_id"] = stop
            for beams in (1, 3):
                tokens = model.generate(given, num_beams=beams, do_sample=False, max_new_tokens=30, eos_token_id=stop)[0]
                drawn = program.answer(ids, WriteRequest(num_beams=beams, max_new_tokens=30))
                assert [*drawn.codes.tolist(), *[stop] * drawn.finished] == tokens[1:].tolist()
                occurred |= set(drawn.codes.tolist())
        program.settings["eos_token_id"] = 1
        states = program._engine.run("encoder", input_ids=np.array([ids]), attention_mask=np.ones((1, len(ids)), np.int64))
        step = open_step(program._engine, "decoder")
        mask = np.ones((1, len(ids)), np.int64)
        rest = {"encoder_hidden_states": states["last_hidden_state"], "encoder_attention_mask": mask}
        wanted = np.array([[0, *plain.codes[:9]]])
        step.reset()
        parts = [step(input_ids=wanted[:, a:b], **rest)["logits"] for a, b in ((0, 4), (4, 5), (5, 10))]
        with torch.no_grad():
            logits = model(given, decoder_input_ids=torch.from_numpy(wanted)).logits.numpy()
        np.testing.assert_allclose(np.concatenate(parts, 1), logits, atol=1e-3)
    return occurred


def test_there_are_more_than_twenty_models() -> None:
    assert len(set(SPEECH)) == 20
    assert len({json.dumps(settings, sort_keys=True) for settings in TEXT}) == len(TEXT_SEEDS) == 20


def test_a_tokenizer_of_the_published_size_is_made_at_once_and_always_the_same(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    made = []
    for number in range(2):
        place = tmp_path / str(number)
        place.mkdir()
        text.write_tokenizer(place, text.SIZES["full"]["vocab_size"])
        made.append((place / "tokenizer.json").read_bytes())
    assert made[0] == made[1]
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    ids = tokenizer.encode("The kettle is small.").ids
    assert tokenizer.decode(ids) == "The kettle is small."
    assert ids[-1] == tokenizer.token_to_id("</s>") == 1
    assert len(ids) > 5
    assert tokenizer.token_to_id("<extra_id_0>") == text.SIZES["full"]["vocab_size"] - 1


@pytest.mark.parametrize("number", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, len(SPEECH)))])
def test_what_is_heard_is_what_the_library_hears(number: int, tmp_path: Path) -> None:
    assert len(check_speech(tmp_path, SPEECH[number], number)) > 10


@pytest.mark.parametrize("number", [0, 1, *(pytest.param(k, marks=pytest.mark.slow) for k in range(2, len(TEXT)))])
def test_answers_are_those_of_the_library(number: int, tmp_path: Path) -> None:
    assert len(check_text(tmp_path, TEXT[number], TEXT_SEEDS[number])) > 5


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("listener")
    families.find("whisper").make_checkpoint(directory / "checkpoint", size="tiny", seed=3)
    return export.run(directory / "checkpoint", directory / "package", FP32)


def test_a_package_that_listens_validates(listener: Path) -> None:
    rows = validate.run(listener, validate.Options()).rows
    assert not [row.line() for row in rows if row.passed is False]
    assert {row.subject for row in rows} >= {
        "decoder (cross)",
        "decoder (with_past)",
        "decoder (stateful)",
        "encoder (plain)",
    }
    assert package.verify(listener) == []
    assert {"config.json", "generation_config.json", "preprocessor_config.json"} <= set(package.load(listener).files)


@pytest.mark.parametrize("form", ["stateful", "with_past"])
def test_states_are_read_once_and_forgotten_at_a_reset(listener: Path, form: str) -> None:
    step = open_step(Engine(listener), "decoder", form)
    rng = np.random.default_rng(0)
    heard, other = rng.standard_normal((2, 1, 100, 32), dtype=np.float32)

    def call(token: int, states: np.ndarray) -> np.ndarray:
        return step(input_ids=np.array([[token]]), encoder_hidden_states=states)["logits"]

    step.reset()
    first, second = call(401, heard), call(33, heard)
    step.reset()
    assert np.array_equal(call(401, heard), first)
    np.testing.assert_allclose(call(33, other), second, atol=1e-6)  # the first call's states count
    step.reset()
    assert np.abs(call(401, other) - first).max() > 1e-3  # the twin: after a reset, the new ones do


def test_long_recordings_are_heard_in_windows(listener: Path) -> None:
    program: Any = open_listener(listener)
    found = program.hear(sound(5.0, 1), ListenRequest(**ACCEPTED))
    assert found.language in {"en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt", "tr"}
    starts = [passage.start for passage in found.passages]
    assert starts == sorted(starts)
    assert starts[-1] > 2.0
    assert program.hear(sound(5.0, 1), ListenRequest(**ACCEPTED)).passages == found.passages


def test_text_in_front_of_any_time_begins_with_its_window(listener: Path) -> None:
    program: Any = open_listener(listener)
    time = program._first_time
    found, advance = program._passages(np.array([33, time + 50, time + 50, 44]), 100, 200)
    assert [(passage.start, passage.end) for passage in found] == [(1.0, 2.0)]
    assert advance == 100
    (timed,), _ = program._passages(np.array([time + 10, 33, time + 50, time + 50, 44]), 100, 200)
    assert timed.start == pytest.approx(1.2)  # the twin: a time that is there counts


def test_temperatures_are_tried_while_the_text_is_improbable(listener: Path) -> None:
    program: Any = open_listener(listener)
    samples = sound(1.5, 2)
    texts = [
        program.hear(samples, ListenRequest(language="en", temperatures=temperatures, no_speech_threshold=1.0)).text
        for temperatures in ((0.0,), (0.0, 1.0), (1.0,))
    ]
    assert texts[0] != texts[1]
    accepted = ListenRequest(language="en", temperatures=(0.0, 1.0), logprob_threshold=-1e9, compression_threshold=1e9)
    assert program.hear(samples, accepted).text == texts[0]


def test_what_is_not_there_is_told(listener: Path, tmp_path: Path) -> None:
    program: Any = open_listener(listener)
    with pytest.raises(UsageError, match="no language 'xx' in the package; have: auto, de, en"):
        program.hear(sound(1.0, 1), ListenRequest(language="xx"))
    with pytest.raises(UsageError, match="cannot speak; it is for: transcribe"):
        open_package(listener)
    with pytest.raises(UsageError, match="num_beams is 0"):
        ListenRequest(num_beams=0)


def test_a_wrong_directory_is_refused_with_all_that_is_wrong(listener: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(listener.with_name("checkpoint"), tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    tensors["model.strange"] = tensors.pop("model.encoder.conv1.bias")
    tensors["model.encoder.conv2.bias"] = tensors["model.encoder.conv2.bias"][:3].clone()
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(ConversionError) as caught:
        families.open_checkpoint(copy)
    said = str(caught.value)
    assert "encoder.conv1.bias [32] is missing" in said
    assert "encoder.conv2.bias is [3], must be [32]" in said
    assert "model.strange is unexpected" in said
    (copy / "config.json").write_text("[]")
    with pytest.raises(ConversionError, match="expected an object"):
        families.open_checkpoint(copy, "whisper")


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("writer")
    families.find("t5").make_checkpoint(directory / "checkpoint", size="tiny", seed=3)
    return export.run(directory / "checkpoint", directory / "package", FP32)


def recording(dest: Path, seconds: float) -> Path:
    import soundfile

    soundfile.write(dest, sound(seconds, 1), 16000)
    return dest


def test_what_makes_no_sense_for_a_package_that_listens_is_refused(listener: Path, tmp_path: Path) -> None:
    asked = benchmark.Options(steps=3, ablation=True, baseline=("pytorch", "transformers"), text="No.")
    problems = benchmark.requires(listener, asked)
    said = ("no recording", "steps: a package that can transcribe", "ablation", "baseline pytorch", "transformers needs the")
    for words in (*said, "text: this package listens"):
        assert any(words in problem for problem in problems), (words, problems)
    good = benchmark.Options(audio=(recording(tmp_path / "a.wav", 1.0),), max_new_tokens=5, language="en")
    assert benchmark.requires(listener, good) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["listener", "writer"])
def test_it_is_benchmarked_beside_the_library(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source: Path = request.getfixturevalue(kind)
    inputs: dict[str, Any] = {"text": "The kettle is small."}
    if kind == "listener":
        inputs = {"audio": (recording(tmp_path / "a.wav", 1.5),), "language": "en"}
    asked = benchmark.Options(
        **inputs,
        rounds=2,
        loads=1,
        threads=(1,),
        max_new_tokens=12,
        num_beams=1,
        baseline=("transformers",),
        model=source.with_name("checkpoint"),
    )
    assert benchmark.requires(source, asked) == []
    report = benchmark.run(source, asked)
    found = {(row.subject, row.metric): row for row in report.rows}
    whole = "end to end"
    assert len(found[whole, "seconds in all: times better than transformers"].samples) == 2
    assert ((whole, "RTF") in found) is (kind == "listener")
    if kind == "listener":
        assert found[whole, "audio"].value == 1.5
    # the same number of tokens, and what one takes, for both
    assert found["decoder", "tokens"].value == found["decoder (transformers)", "tokens"].value >= 10
    assert found["decoder (transformers)", "per token, P50"].value > 0
    assert {"encoder", "decoder"} <= {row.subject for row in report.rows if row.metric == "share"}
    assert {"encoder alone", "decoder alone"} <= {row.subject for row in report.rows if row.metric == "one call"}
    assert {"encoder alone", "decoder alone"} <= {
        row.subject for row in report.rows if row.metric == "part of the limit reached"
    }
    assert any(table.heading.startswith("Beside others") for table in report.summaries)


@pytest.mark.parametrize("name", ["listener", "writer"])
def test_so_many_ids_are_those_of_the_library(name: str, request: pytest.FixtureRequest) -> None:
    place: Path = request.getfixturevalue(name)
    opened = [
        generator_of(place).opened(Subject("", place, WriteRequest(), engine, place.with_name("checkpoint"), threads=1))
        for engine in ("openvino", "transformers")
    ]
    first = tasks_of(place, (9,), (), 20)[0].source.draw(np.random.default_rng(5))
    other = first[::-1] if name == "writer" else sound(2.0, 3)
    for beams in (1, 3):
        ours, theirs = (model.generate(first, 20, beams) for model in opened)
        assert ours == theirs
        assert len(ours) == 20 and len(set(ours)) > 3
    assert opened[0].generate(other, 20, 3) != ours  # the source counts
