"""The family that continues a recording: tiny checkpoint through every stage, then the runner beside PyTorch."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovconvert import calibrate, families, package
from ovconvert.errors import ConversionError, UsageError
from ovconvert.families.f5tts import synthetic
from ovconvert.judges import benchmark, quality, validate
from ovconvert.runtime import Request, open_package
from ovconvert.runtime.programs.f5tts import FADE_SECONDS, Program
from ovconvert.runtime.programs.f5tts.voices import read_voice
from ovconvert.stages import export, quantize

FP32 = export.Options(weight_format="fp32")
TEXT = "The quick brown fox."


def make(directory: Path, variant: str) -> Path:
    """Write the tiny checkpoint of a version below `directory`, and its package beside it; return the checkpoint."""
    source = directory / "checkpoint"
    families.find("f5tts").make_checkpoint(source, size="tiny", seed=5, variant=variant)
    export.run(source, directory / "package", FP32)
    return source


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("infilling"), "")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Program:
    program: Any = open_package(checkpoint.with_name("package"))
    return program


def asked(checkpoint: Path, **settings: Any) -> Request:
    return Request(**{"voice": checkpoint / synthetic.VOICE, "steps": 3, "seed": 4, **settings})


def test_the_package_validates(checkpoint: Path) -> None:
    place = checkpoint.with_name("package")
    rows = validate.run(place, validate.Options()).rows
    assert not [row.line() for row in rows if row.passed is False]
    assert {row.subject for row in rows} == {"text_embedding (plain)", "flow_estimator (plain)", "vocoder (plain)"}
    assert package.verify(place) == []
    assert package.load(place).lineage["components"]["flow_estimator"]["attentions"] == 2


def straight(checkpoint: Path, request: Request, *, masked: bool, sway: float = -1.0, guidance: float = 2.0) -> np.ndarray:
    """Return the samples of TEXT from the PyTorch networks, by the rules of the paper and of the published code."""
    import torch

    opened = families.open_checkpoint(checkpoint)
    embedding, estimator, vocoder = (opened.build(part.name) for part in opened.family.components)
    voice = read_voice(request.resolved({}), {"sample_rate": 24000, "bands": 20, "hop_length": 256, "n_fft": 512})
    symbols = (checkpoint / "vocab.txt").read_text().split("\n")
    said = f"{synthetic.VOICE_TEXT} "
    ids = torch.tensor([symbols.index(character) for character in said + TEXT]) + 1
    heard = 48000 // 256  # two seconds
    total = heard + int(heard / len(said) * len(TEXT) / request.speed)
    ids = torch.nn.functional.pad(ids, (0, total - len(ids)))[None]
    seen = (ids > 0) if masked else torch.ones_like(ids)
    with torch.inference_mode():
        texts = [embedding(given, seen.long()) for given in (ids, 0 * ids)]
        known = torch.zeros(1, 20, total)
        known[:, :, : heard + 1] = torch.from_numpy(voice.mel)
        drawn = np.random.default_rng([request.seed, 0]).standard_normal((1, 20, total), dtype=np.float32)
        x = torch.from_numpy(drawn)
        uniform = torch.linspace(0, 1, request.steps + 1, dtype=torch.float64)
        times = uniform + sway * (torch.cos(torch.pi / 2 * uniform) - 1 + uniform)
        for now, then in pairwise(times):
            t = now.float()[None]
            with_it, without = (
                estimator.estimator(x, cond, text, t) for cond, text in zip((known, 0 * known), texts, strict=True)
            )
            x = x + (then - now).float() * (with_it + guidance * (with_it - without))
        x[:, :, : heard + 1] = known[:, :, : heard + 1]
        return vocoder(x[:, :, heard:]).numpy().reshape(-1) * np.float32(voice.gain)


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return how far two waveforms are apart, relative to the loudest sample; 1 if they have different lengths."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max()) if found.shape == wanted.shape else 1.0


def test_speech_is_what_the_networks_make_straight_away(checkpoint: Path, model: Program) -> None:
    request = asked(checkpoint, speed=1.25)
    found = model.speak(TEXT, request)
    wanted = straight(checkpoint, request, masked=True)
    assert apart(found.samples, wanted) < 1e-3
    assert apart(model.speak(TEXT, asked(checkpoint, speed=1.25, sway=-0.99)).samples, wanted) > 1e-3
    assert apart(model.speak(TEXT, asked(checkpoint, speed=1.25, guidance=1.99)).samples, wanted) > 1e-3
    assert apart(straight(checkpoint, request, masked=False), wanted) > 1e-3
    assert set(found.timings) == {"text_embedding", "flow_estimator", "vocoder"}
    assert (found.request.sway, found.request.guidance, found.request.solver) == (-1.0, 2.0, "euler")


def test_without_guidance_one_branch_is_run(checkpoint: Path, model: Program) -> None:
    request = asked(checkpoint, guidance=0.0)
    assert apart(model.speak(TEXT, request).samples, straight(checkpoint, request, masked=True, guidance=0.0)) < 1e-3


def test_long_text_fades_from_piece_to_piece(checkpoint: Path, model: Program) -> None:
    text = "One two three, four. Five six seven eight."
    request = asked(checkpoint, segment_by="sentence", steps=1)
    parts = list(model.stream(text, request))
    assert [part.text for part in parts] == ["One two three,", "four.", "Five six seven eight."]
    whole = model.speak(text, request).samples
    assert np.array_equal(np.concatenate([part.samples for part in parts]), whole)
    apart_ = list(model.stream(text, asked(checkpoint, segment_by="sentence", steps=1, silence_ms=100)))
    fade = int(FADE_SECONDS * 24000)
    assert sum(len(part.samples) for part in apart_) == len(whole) + 2 * fade
    assert np.array_equal(apart_[0].samples[:-fade], parts[0].samples)
    assert {part.silence for part in apart_} == {2400}


def test_a_short_piece_gets_more_time(checkpoint: Path, model: Program) -> None:
    short, longer = (model.speak(text, asked(checkpoint, steps=1)).audio_seconds for text in ("Yes sir!!", "Yes sir!!!"))
    assert short > 2 * longer


def test_what_cannot_be_spoken_is_refused(checkpoint: Path, model: Program) -> None:
    with pytest.raises(UsageError, match="emotion_text is 'glad'; this model has no such setting"):
        model.stream(TEXT, asked(checkpoint, emotion_text="glad"))
    with pytest.raises(UsageError, match="the vocabulary has no é;"):
        model.stream("Café.", asked(checkpoint))
    with pytest.raises(UsageError, match="longer than 44 s together; put marks into the text"):
        model.stream("words without a mark " * 40, asked(checkpoint))


def test_both_versions_are_told_apart_by_their_settings(tmp_path: Path, checkpoint: Path) -> None:
    families.find("f5tts").make_checkpoint(tmp_path / "old", size="tiny", seed=5, variant="0")
    old, new = families.open_checkpoint(tmp_path / "old"), families.open_checkpoint(checkpoint)
    assert (old.family.name, old.family.variant, new.family.variant) == ("f5tts", "0", "1")
    heads = [opened.build("flow_estimator").estimator.transformer_blocks[0].attn.rotary_heads for opened in (old, new)]
    assert heads == [1, 4]
    assert "model:step" in new.unused


@pytest.mark.slow
def test_the_older_version_takes_the_whole_road(tmp_path: Path) -> None:
    source = make(tmp_path, "0")
    rows = validate.run(tmp_path / "package", validate.Options()).rows
    assert not [row.line() for row in rows if row.passed is False]
    request = asked(source)
    wanted = straight(source, request, masked=False)
    assert apart(open_package(tmp_path / "package").speak(TEXT, request).samples, wanted) < 1e-3
    assert apart(straight(source, request, masked=True), wanted) > 1e-3


@pytest.mark.slow
def test_int8_validates_and_speaks(checkpoint: Path, tmp_path: Path) -> None:
    small = quantize.run(checkpoint.with_name("package"), tmp_path / "int8", quantize.Options())
    rows = validate.run(small, validate.Options()).rows
    assert not [row.line() for row in rows if row.passed is False]
    samples = open_package(small).speak(TEXT, asked(checkpoint)).samples
    assert np.isfinite(samples).all()
    assert 0 < apart(samples, open_package(checkpoint.with_name("package")).speak(TEXT, asked(checkpoint)).samples) < 1


@pytest.mark.slow
def test_int8_activations_leave_the_text_embedding_alone_unless_it_is_named(checkpoint: Path, tmp_path: Path) -> None:
    place, texts = checkpoint.with_name("package"), tmp_path / "texts.txt"
    texts.write_text("Good morning to all.\nGood night to you.\n")
    heard = calibrate.Options(texts=texts, voices=checkpoint / "voices", num_samples=40)
    dataset = calibrate.run(place, tmp_path / "calibration", heard)

    def fallen(components: tuple[str, ...]) -> dict[str, set[str]]:
        options = quantize.Options(quant_mode="int8", dataset=dataset, components=components)
        small = quantize.run(place, tmp_path / f"int8-{len(components)}", options)
        found = {one.component.name: one.activations for one in package.load(small).components}
        report = validate.run(small, validate.Options())
        return {
            "int8": {name for name, kind in found.items() if kind == "int8"},
            "fallen": {r.subject for r in report.failed},
        }

    assert fallen(()) == {"int8": {"flow_estimator"}, "fallen": set()}
    assert fallen(("text_embedding",)) == {"int8": {"text_embedding"}, "fallen": {"text_embedding (plain)"}}


@pytest.mark.slow
def test_it_is_measured_beside_its_networks(checkpoint: Path) -> None:
    place = checkpoint.with_name("package")
    options = benchmark.Options(text=TEXT, rounds=1, loads=1, threads=(1,), steps=2, baseline=("pytorch",), model=checkpoint)
    assert benchmark.requires(place, options) == [
        "no voice: give a reference recording with --voice; the package holds none"
    ]
    options = dataclasses.replace(options, voice=checkpoint / synthetic.VOICE, ablation=True)
    assert benchmark.requires(place, options) == []
    report = benchmark.run(place, options)
    found = {(row.subject, row.metric) for row in report.rows}
    compared = {subject for subject, metric in found if metric.endswith("times better than pytorch")}
    assert {"end to end", "flow_estimator", "flow_estimator alone", "vocoder"} <= compared
    assert ("flow_estimator alone", "part of the limit reached") in found
    ablated = {row.subject for row in report.rows if row.subject.startswith("end to end (+")}
    assert ablated == {"end to end (+ 5 solver steps, dpm++, sway -1)", "end to end (+ guidance up to t = 0.6)"}
    assert not set(report.options) & {"num_beams", "latents", "top_k"}


def test_token_by_token_nothing_can_be_asked_of_a_model_without_tokens(checkpoint: Path) -> None:
    place = checkpoint.with_name("package")
    options = quality.Options(reference=place, voices=(checkpoint / "voices",), min_top1=99.0)
    assert quality.requires(place, options) == ["--min-top1 is of decoders, and the package has none"]


@pytest.mark.slow
def test_a_package_beside_itself_sounds_the_same(checkpoint: Path, tmp_path: Path) -> None:
    place, texts = checkpoint.with_name("package"), tmp_path / "texts.txt"
    texts.write_text("Good morning to all. Good night to you.\n")
    settings = {"texts": texts, "voices": (checkpoint / "voices",), "steps": 2, "segment_by": "sentence"}
    report = quality.run(place, quality.Options(reference=place, **settings))
    given = [row for row in report.rows if row.subject == "same codes"]
    assert report.failed == () and given
    assert all("change +0 (+0 to +0)" in row.detail for row in given)
    assert not [row for row in report.rows if row.subject == "decoder"]


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "copy")


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def said(source: Path) -> Iterator[str]:
    with pytest.raises(ConversionError) as caught:
        families.open_checkpoint(source)
    return iter(str(caught.value).splitlines()[1:])


def test_settings_that_are_not_understood_are_all_named(copy: Path) -> None:
    edit(
        copy / "F5TTS_v1_Base.yaml",
        ("qk_norm: null", "qk_norm: rms_norm"),
        ("    text_mask_padding: True\n", ""),
        ("backbone: DiT", "backbone: MMDiT"),
        ("pe_attn_head: null", "pe_attn_head: 9"),
    )
    edit(copy / "vocos-mel-24khz" / "config.yaml", ("hop_length: 256", "hop_length: 128"))
    assert [line.strip(" -") for line in said(copy)] == [
        "settings of the model: model.backbone is 'MMDiT'; understood: 'DiT'",
        "settings of the model: model.arch.qk_norm is 'rms_norm'; understood: nothing",
        "settings of the model: model.arch.text_mask_padding is missing; its value leaves no trace in the weights",
        "the model's model.mel_spec.hop_length is 256, the vocoder's head.init_args.hop_length 128; they must be equal",
        "settings of the model: model.arch.pe_attn_head is 9; allowed: up to 4 heads",
    ]


def test_weights_and_vocabulary_are_compared(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model_0.safetensors")
    tensors["ema_model.transformer.long_skip_connection.weight"] = tensors.pop("ema_model.transformer.norm_out.linear.bias")
    save_file(tensors, copy / "model_0.safetensors")
    (copy / "vocab.txt").write_bytes(b"\xff")
    assert "vocab.txt is not UTF-8" in next(said(copy))
    (copy / "vocab.txt").write_text(" \na\n")
    lines = "\n".join(said(copy))
    assert "estimator.norm_out.linear.bias [128] is missing" in lines
    assert "ema_model.transformer.long_skip_connection.weight is unexpected" in lines
    assert "vocab.txt has 2 symbols, the embedding rows for 140" in lines


def test_a_directory_that_is_not_whole_is_told(copy: Path) -> None:
    (copy / "F5TTS_v1_Base.yaml").unlink()
    shutil.rmtree(copy / "vocos-mel-24khz")
    (copy / "model_1.safetensors").touch()
    lines = "\n".join(said(copy))
    assert "there must be one model_*.safetensors; found model_0.safetensors, model_1.safetensors" in lines
    assert "*.yaml, the model's settings in the published code, is missing" in lines
    assert "vocos-mel-24khz/pytorch_model.bin is missing" in lines
    (copy / "vocab.txt").unlink()
    with pytest.raises(ConversionError, match="is not a checkpoint of a known family"):
        families.open_checkpoint(copy)
