"""Speech tokens, flow and vocoder of the first CosyVoice: checkpoint, package, and what the program makes of them."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

sys.path.append(str(Path(__file__).parents[1] / "networks"))
import seeded

from ovconvert import families, package
from ovconvert.baselines.pytorch import TorchEngine
from ovconvert.errors import ConversionError, UsageError
from ovconvert.families.cosyvoice.sizes import SIZES
from ovconvert.families.cosyvoice.synthetic import stored_shapes
from ovconvert.golden import Cases
from ovconvert.judges import benchmark, validate
from ovconvert.runtime import Request, open_package
from ovconvert.runtime.audio import write_wav
from ovconvert.runtime.programs.cosyvoice import Program
from ovconvert.runtime.programs.cosyvoice.synthesis import Sound, faded, faster, stretches
from ovconvert.runtime.programs.cosyvoice.texts import SPECIAL_TOKENS, Texts, split
from ovconvert.runtime.programs.cosyvoice.tokens import Prompt, Tokens
from ovconvert.runtime.programs.cosyvoice.voices import Voice, spoken
from ovconvert.runtime.request import Resolved
from ovconvert.stages import export, quantize

FAMILY = "cosyvoice"
TEXT = "The quick brown fox jumps."
SHORT = Request(max_new_tokens=30, min_new_tokens=10, steps=2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("tokens") / "checkpoint"
    families.find(FAMILY).make_checkpoint(dest, size="tiny", seed=7)
    return dest


@pytest.fixture(scope="module")
def tokens_dir(checkpoint: Path) -> Path:
    """The package of a checkpoint with the original's golden weights, whose sizes are those of ours."""
    source = shutil.copytree(checkpoint, checkpoint.with_name("golden"))
    for name in ("llm", "flow", "hift"):
        torch.save(seeded.read("cosyvoice-tiny", name).state, source / f"{name}.pt")
    return export.run(source, checkpoint.with_name("package"), export.Options(weight_format="fp32"))


@pytest.fixture(scope="module")
def model(tokens_dir: Path) -> Program:
    return open_package(tokens_dir)


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_the_full_size_is_the_published_one() -> None:
    """Numbers of tensors and of values as published (spec section 1)."""
    shapes = stored_shapes(SIZES["full"])
    found = {name: (len(own), sum(int(np.prod(shape)) for shape in own.values())) for name, own in shapes.items()}
    assert found == {"llm": (401, 310_718_465), "flow": (1185, 104_874_752), "hift": (227, 20_460_591)}
    assert SIZES["full"].ranks + len(SPECIAL_TOKENS) == SIZES["full"].text_tokens


def test_the_checkpoint_is_recognised(checkpoint: Path) -> None:
    opened = families.open_checkpoint(checkpoint)
    assert (opened.family.name, opened.family.sample_rate, opened.unused) == (FAMILY, 22050, ())


@pytest.mark.slow
def test_every_component_is_as_good_as_its_network(tokens_dir: Path) -> None:
    report = validate.run(tokens_dir, validate.Options())
    assert not report.failed, [row.line() for row in report.failed]
    judged = {(row.subject.split(" ")[0], row.metric.split(" ")[-1]) for row in report.rows}
    components = package.load(tokens_dir).components
    assert judged >= {(packed.component.name, port.name) for packed in components for port in packed.component.outputs}


def test_an_older_and_a_newer_naming_of_the_vocoder_are_the_same(checkpoint: Path, copy: Path) -> None:
    state = torch.load(copy / "hift.pt", weights_only=True)
    newer = {"_g": ".parametrizations.weight.original0", "_v": ".parametrizations.weight.original1"}
    renamed = {
        "generator." + (key.removesuffix(".weight" + key[-2:]) + newer[key[-2:]] if key[-2:] in newer else key): value
        for key, value in state.items()
    }
    torch.save(renamed, copy / "hift.pt")
    left, right = (families.open_checkpoint(path).build("vocoder").state_dict() for path in (checkpoint, copy))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_all_that_is_wrong_with_a_checkpoint_is_said_at_once(copy: Path) -> None:
    state = torch.load(copy / "llm.pt", weights_only=True)
    state["stranger.weight"] = torch.zeros(1)
    state["text_encoder.after_norm.bias"] = torch.zeros(3)
    del state["llm.encoders.1.norm2.weight"]
    torch.save(state, copy / "llm.pt")
    with pytest.raises(ConversionError) as caught:
        families.open_checkpoint(copy)
    for said in ("stranger.weight is unexpected", "after_norm.bias is [3], must be [64]", "norm2.weight [64] is missing"):
        assert said in str(caught.value)


def test_a_missing_file_and_a_missing_setting_are_named(copy: Path) -> None:
    text = (copy / "cosyvoice.yaml").read_text()
    (copy / "cosyvoice.yaml").write_text(text.replace("audio_limit", "other"))
    with pytest.raises(ConversionError, match=r"hift\.audio_limit"):
        families.open_checkpoint(copy)
    (copy / "flow.pt").unlink()
    with pytest.raises(ConversionError, match=r"flow\.pt is missing"):
        families.open_checkpoint(copy, FAMILY)


def test_tags_of_the_settings_file_run_nothing(copy: Path) -> None:
    path = copy / "cosyvoice.yaml"
    mark = copy / "ran"
    path.write_text(f"made: !apply:os.system ['touch {mark}']\n" + path.read_text())
    assert families.open_checkpoint(copy).family.name == FAMILY
    assert not mark.exists()


def vectors(name: str) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in seeded.read("cosyvoice-tiny", name).vectors.items()}


def quiet(what: str, done: int, total: int) -> None:
    pass


class Given:
    """A generator that draws what it was given."""

    def __init__(self, noise: np.ndarray) -> None:
        self._noise = noise

    def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        assert self._noise.shape == shape
        return self._noise.astype(dtype)


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    return seeded.relative(torch.from_numpy(actual), torch.from_numpy(expected))


NO_CODES = np.zeros(0, np.int64)
NO_MEL = np.zeros((1, 80, 0), np.float32)


def asked(model: Program, **settings: object) -> Resolved:
    return Request(**settings).resolved(model._settings["generation"])


def drawn(model: Program, golden: dict[str, np.ndarray], mode: str, prompt: Prompt, form: str | None = None) -> list[int]:
    """Return the likeliest tokens, as many as are recorded for the mode."""
    ids = tuple(golden[f"{mode}_text"][0])
    request = asked(model, do_sample=False, max_new_tokens=24)
    tokens = Tokens(model._engine, model._settings, ids, prompt, request, np.random.default_rng(0), quiet, form)
    first = tokens.draw(5)
    assert len(first) == 5 and not tokens.over
    codes = tokens.draw().tolist()
    assert codes[:5] == first.tolist() and tokens.over and not tokens.finished
    return codes


@pytest.mark.parametrize("form", ["stateful", "with_past"])
def test_the_runner_takes_the_original_greedy_tokens(model: Program, form: str) -> None:
    golden = vectors("llm")
    voice = Voice(golden["sft_embedding"], NO_CODES, NO_MEL)
    codes = drawn(model, golden, "sft", Prompt(voice), form)
    assert codes == golden["sft_greedy_codes"].tolist()
    assert drawn(model, golden, "sft", Prompt(voice, named=False), form) != codes


def test_the_runner_goes_on_from_a_recording_as_the_original_does(model: Program) -> None:
    golden = vectors("llm")
    voice = Voice(golden["zs_embedding"], golden["zs_prompt_speech"][0], NO_MEL)
    said = tuple(golden["zs_prompt_text"][0])
    expected = golden["zs_greedy_codes"].tolist()
    assert drawn(model, golden, "zs", Prompt(voice, said, continued=True)) == expected
    assert drawn(model, golden, "zs", Prompt(voice, said)) != expected


def test_the_runner_takes_instructions_as_the_original_does(model: Program) -> None:
    golden = vectors("llm")
    voice = Voice(golden["sft_embedding"], NO_CODES, NO_MEL)
    told = tuple(golden["instruct_prompt_text"][0])
    expected = golden["instruct_greedy_codes"].tolist()
    assert drawn(model, golden, "instruct", Prompt(voice, told, named=False)) == expected
    assert drawn(model, golden, "instruct", Prompt(voice, told)) != expected


def sound(model: Program, voice: Voice, rng: object, **settings: object) -> Sound:
    return Sound(model._engine, model._settings, voice, asked(model, **settings), rng, quiet)


@pytest.mark.parametrize("mode", ["sft", "zs"])
def test_the_runner_solves_for_the_original_mel(model: Program, mode: str) -> None:
    """With the package's own defaults: ten steps at cosine times, guidance 0.7. Without and with a recording."""
    golden = vectors("flow")
    heard = (
        (golden["zs_prompt_token"][0], golden["zs_prompt_feat"].transpose(0, 2, 1)) if mode == "zs" else (NO_CODES, NO_MEL)
    )
    voice = Voice(golden[f"{mode}_embedding"], *heard)
    for settings, same in (({}, True), ({"sway": 0.0}, False)):
        mel = sound(model, voice, Given(golden[f"{mode}_z"]), **settings).mel(golden[f"{mode}_token"][0])
        assert (relative(mel, golden[f"{mode}_mel"]) <= seeded.WHOLE_SOLVE) is same


def test_the_graphs_of_the_vocoder_give_the_original_sound(model: Program) -> None:
    golden, run = vectors("hift"), model._engine.run
    assert relative(run("f0_predictor", mel=golden["mel"])["f0"], golden["f0"]) <= seeded.ONE_CALL
    frames = golden["f0_given"].shape[1]
    still = {"phase": np.zeros((1, 9), np.float32), "noise": np.zeros((1, 9, 256 * frames), np.float32)}
    source = run("harmonic_source", f0=golden["f0_given"], **still)["source"]
    assert relative(source, golden["source_zero_phase"]) <= 1e-3  # the original sums the phase in float32
    wave = run("vocoder", mel=golden["mel"], source=golden["source"])["waveform"]
    assert relative(wave[:, 0], golden["wav"]) <= seeded.ONE_CALL
    assert relative(run("vocoder", mel=golden["mel"], source=source)["waveform"][:, 0], golden["wav"]) > seeded.ONE_CALL


def test_graphs_that_a_checkpoint_brings_become_components(checkpoint: Path, model: Program) -> None:
    rng = np.random.default_rng(2)
    fbank, mel = rng.standard_normal((1, 40, 80), dtype=np.float32), rng.standard_normal((1, 128, 9), dtype=np.float32)
    weights = {}
    for file in ("campplus.onnx", "speech_tokenizer_v1.onnx"):
        weights[file] = numpy_helper.to_array(onnx.load(checkpoint / file).graph.initializer[0])
    speaker = model._engine.run("speaker_encoder", fbank=fbank)["speaker"]
    np.testing.assert_allclose(speaker, fbank.mean(1) @ weights["campplus.onnx"], rtol=1e-4, atol=1e-4)
    codes = model._engine.run("speech_tokenizer", mel=mel, frames=np.array([9], np.int32))["codes"]
    assert codes.tolist() == [(weights["speech_tokenizer_v1.onnx"] @ mel[0, :, ::2]).argmax(0).tolist()]


def test_what_a_checkpoint_brings_runs_in_the_baseline_too(tokens_dir: Path, model: Program) -> None:
    engine = TorchEngine(tokens_dir.with_name("golden"), tokens_dir, as_published=True)
    assert engine.original is None and "our networks in eager mode" in engine.remark
    for name in ("speaker_encoder", "speech_tokenizer", "speaker_projection"):
        cases = Cases.load(tokens_dir / model._engine.manifest.packed(name).golden)
        given, wanted = cases.inputs("0"), cases.outputs("0")
        found = engine.run(name, **given)
        assert set(found) == set(wanted)
        for port, value in wanted.items():
            assert found[port].dtype == value.dtype
            np.testing.assert_allclose(found[port], value, atol=1e-4)


def test_another_network_in_place_of_a_brought_one_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "speech_tokenizer_v1.onnx").replace(copy / "campplus.onnx")
    opened = families.open_checkpoint(copy)
    with pytest.raises(ConversionError, match=r"2 inputs \(feats, feats_length\); expected 1: fbank"):
        export.export_component(opened, opened.family.component("speaker_encoder"), tmp_path, export.Options())


def test_speech(model: Program) -> None:
    speech = model.speak(TEXT, SHORT)
    assert speech.sample_rate == 22050
    assert 10 * 441 <= len(speech.samples) <= 31 * 441  # 20 ms a token
    assert np.isfinite(speech.samples).all()
    assert 0.0 < np.abs(speech.samples).max() <= 0.99
    assert np.array_equal(model.speak(TEXT, SHORT).samples, speech.samples)
    other = model.speak(TEXT, replace(SHORT, speaker="second"))
    assert not np.array_equal(other.samples[:2000], speech.samples[:2000])


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heard") / "voice.wav"
    write_wav(path, 0.1 * np.random.default_rng(3).standard_normal(28800).astype(np.float32), 24000)
    return path


def test_each_way_to_speak_gives_other_audio(model: Program, recording: Path) -> None:
    """A stored speaker, one who is told how, the voice of a recording, and that voice going on from what it said."""
    ways = ({}, {"instruct_text": "Slowly."}, {"voice": recording}, {"voice": recording, "voice_text": "Hello there."})
    spoken = [model.speak(TEXT, replace(SHORT, **way)).samples for way in ways]
    assert all(0.0 < np.abs(samples).max() <= 0.99 for samples in spoken)
    assert len({samples.tobytes() for samples in spoken}) == len(ways)
    assert model.register(recording) is model.register(recording)
    assert np.array_equal(model.speak(TEXT, replace(SHORT, **ways[3])).samples, spoken[3])


def test_what_is_said_in_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    assert (spoken(path, None), spoken(path, "Given.")) == ("", "Given.")
    path.with_suffix(".txt").write_text("Beside.\n", encoding="utf-8")
    assert [spoken(path, given) for given in (None, "Given.", "")] == ["Beside.", "Given.", ""]
    path.with_suffix(".txt").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="UTF-8"):
        spoken(path, None)


def test_what_is_heard_in_a_recording(model: Program, recording: Path) -> None:
    voice = model.register(recording)
    assert (voice.speaker.shape, voice.codes.shape, voice.mel.shape) == ((1, 192), (60,), (1, 80, 103))
    shorter = voice.last(25, 43)
    assert shorter.codes.tolist() == voice.codes[35:].tolist()
    assert np.array_equal(shorter.mel, voice.mel[:, :, 60:])
    assert voice.last(60, 103) is voice


def test_audio_in_parts_is_of_the_same_tokens(model: Program) -> None:
    request = replace(SHORT, max_new_tokens=120, min_new_tokens=100)
    (whole,) = model.stream(TEXT, request)
    parts = list(model.stream(TEXT, replace(request, chunk_seconds=0.8)))
    assert len(parts) >= 2
    assert parts[-1].codes.tolist() == whole.codes.tolist()
    assert [len(part.codes) for part in parts[:-1]] == [60, 100][: len(parts) - 1]  # 40 each, and 20 of the next
    assert [part.silence > 0 for part in parts] == [False] * (len(parts) - 1) + [True]
    joined = np.concatenate([part.samples for part in parts])
    assert abs(len(joined) - len(whole.samples)) <= 2 * 256 * len(parts)  # frames are whole in each part
    assert 0.0 < np.abs(joined).max() <= 0.99


def test_harmonics_go_on_from_part_to_part(model: Program) -> None:
    """The phases with which the next part begins are those that one longer part would have there."""
    made = sound(model, Voice(np.zeros((1, 192), np.float32), NO_CODES, NO_MEL), np.random.default_rng(0))
    f0 = np.full((1, 50), 123.0, np.float32)
    f0[0, 20:] = 77.7
    start = np.linspace(-3, 3, 9, dtype=np.float32)[None]

    def source(f0: np.ndarray, phase: np.ndarray) -> np.ndarray:
        noise = np.zeros((1, 9, 256 * f0.shape[1]), np.float32)
        return model._engine.run("harmonic_source", f0=f0, phase=phase, noise=noise)["source"]

    whole = source(f0, start)[:, :, 256 * 30 :]
    assert relative(source(f0[:, 30:], start + made._turns(f0[:, :30])), whole) < 2e-3  # the graph counts in float32
    assert relative(source(f0[:, 30:], start), whole) > 0.1


def test_what_is_cross_faded_keeps_its_level() -> None:
    level = np.full((1, 2, 50), -5.0, np.float32)
    np.testing.assert_allclose(faded(level[:, :, :20], level), level, rtol=1e-6)
    mixed = faded(np.ones(20, np.float32), np.zeros(50, np.float32))
    assert (np.diff(mixed[:20]) < 0).all() and mixed[0] > 0.9 and not mixed[20:].any()


def test_a_text_that_leaves_no_room_for_speech(model: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model._settings, "positions", 20)
    with pytest.raises(UsageError, match="of the model's 20 positions"):
        model.speak(TEXT, SHORT)


@pytest.mark.slow
def test_int8_is_near_enough_and_speaks(tokens_dir: Path, recording: Path, tmp_path: Path) -> None:
    small = quantize.run(tokens_dir, tmp_path / "small", quantize.Options())
    report = validate.run(small, validate.Options())
    assert not report.failed, [row.line() for row in report.failed]
    packed = {packed.component.name: packed for packed in package.load(small).components}
    for name in ("f0_predictor", "harmonic_source"):  # a frequency and a phase are not rounded
        assert {layer.bits for layer in packed[name].layers.values()} <= {16, 32}
    assert packed["speech_tokenizer"].weight_format != "int8"  # it makes choices
    for layer in ("llm_decoder", "llm.encoders.0.feed_forward.w_1"):
        assert (packed["decoder"].layers[layer].bits == 8) is (layer != "llm_decoder")
    speech = open_package(small).speak(TEXT, replace(SHORT, voice=recording, voice_text="Hello there."))
    assert 0.0 < np.abs(speech.samples).max() <= 0.99


@pytest.mark.slow
def test_it_is_measured_beside_its_networks_with_a_stored_speaker(tokens_dir: Path) -> None:
    options = benchmark.Options(
        text=TEXT,
        speaker="second",
        rounds=1,
        loads=0,
        threads=(1,),
        max_new_tokens=10,
        steps=2,
        ablation=True,
        components=False,
        baseline=("pytorch",),
        model=tokens_dir.with_name("golden"),
    )
    assert benchmark.requires(tokens_dir, options) == []
    report = benchmark.run(tokens_dir, options)
    ratio = next(row for row in report.rows if (row.subject, row.metric) == ("end to end", "RTF: times better than pytorch"))
    assert ratio.value > 0
    assert {"decoder", "flow_estimator", "vocoder"} <= {row.subject for row in report.rows if row.metric == "share"}
    told = "\n".join(report.notes)
    assert "'+ one beam' left out" not in told and "'whole sequence in every step' left out" in told
    assert "what published code does more is not counted" in told
    assert "latents" not in report.options and report.options["steps"] == 2


def test_what_the_model_does_not_do_is_said(model: Program, recording: Path) -> None:
    with pytest.raises(UsageError, match="have: first, second"):
        model.speak(TEXT, Request(speaker="third"))
    with pytest.raises(UsageError) as caught:
        model.speak(TEXT, Request(emotion_text="sad", num_beams=3, voice_text="Hello.", speed=1.5, chunk_seconds=1.0))
    for said in ("emotion_text", "num_beams is 3", "voice_text", "speed is 1.5"):
        assert said in str(caught.value)
    with pytest.raises(UsageError, match="speaker belongs"):
        model.speak(TEXT, Request(voice=recording, speaker="first"))
    with pytest.raises(UsageError, match="would be cut"):
        model.speak(TEXT, Request(voice=recording, voice_text="Hello.", max_reference_seconds=1.0), quiet)


def test_a_package_that_cannot_hear_says_why(model: Program, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model._engine.manifest), "has", lambda self, name: name != "speech_tokenizer")
    with pytest.raises(UsageError, match="no speech_tokenizer"):
        model.register(recording)


def test_a_package_without_tokenizer_says_where_it_comes_from(copy: Path, tmp_path: Path) -> None:
    (copy / "multilingual.tiktoken").unlink()
    opened = families.open_checkpoint(copy)
    opened.write_assets(tmp_path / "assets")
    settings = json.loads((tmp_path / "assets" / "config.json").read_text())
    with pytest.raises(UsageError, match=r"multilingual\.tiktoken"):
        Texts(settings, tmp_path / "assets")


def test_marked_text_is_one_piece_with_the_mark_as_one_token(checkpoint: Path) -> None:
    texts = Texts({"tokenizer": "multilingual.tiktoken", "text_tokens": 300}, checkpoint)
    (piece,) = texts.pieces("<|en|>One. Two. " + "three " * 30)
    assert piece.ids[0] == 256 + SPECIAL_TOKENS.index("<|en|>")
    assert len(texts.pieces("This is a whole sentence, and a rather long one it is. " * 3)) > 1
    assert [texts.pieces("我有猫 and dogs.")[0].text] == ["我有猫and dogs。"]
    assert texts.heard("One. " * 40) == texts.heard("One. " * 40 + " ")  # in one piece, however long
    told = texts.instruction("Slowly.")
    assert told == texts.instruction("Slowly.<endofprompt>") != texts.heard("Slowly.")
    assert texts.instruction("Slowly.<|endofprompt|>") == texts.heard("Slowly.<|endofprompt|>")


def frames(tokens: int) -> int:
    return int(tokens / 50 * 22050 / 256)


def test_both_ends_of_a_longer_sequence_are_stretched_by_themselves() -> None:
    assert [frames(tokens) for tokens in (20, 30, 70, 120)] == [34, 51, 120, 206]  # spec section 12
    assert stretches(40, frames) == [(40, 68)]
    assert stretches(55, frames) == [(20, 34), (15, 26), (20, 34)]


def test_speed() -> None:
    ramp = np.arange(40, dtype=np.float32)[None, None]
    assert faster(ramp, 2.0).shape == (1, 1, 20)
    assert np.allclose(faster(ramp, 2.0)[0, 0, :3], [0.5, 2.5, 4.5])
    assert faster(ramp, 0.5)[0, 0, -1] == 39.0


def test_pieces_of_text() -> None:
    sentence = "a" * 29 + "."
    assert split(sentence * 2 + "b", "en", len) == [sentence * 2 + "b."]
    assert split(sentence * 4, "en", len) == [sentence * 3, sentence]
    assert split(sentence * 3 + "b.", "en", len) == [sentence * 3 + "b."]  # too short for itself
    assert split('他说："好。"走吧！……', "zh", len) == ['他说："好。"走吧！……。']
    assert split("?!", "en", len) == []
