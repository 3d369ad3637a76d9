"""Checkpoints that are not whole: one error with every problem in it, and nothing is run or left behind."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ovconvert import families
from ovconvert.errors import ConversionError, UsageError
from ovconvert.stages import export


def rewrite(path: Path, change: Callable[[dict], None]) -> None:
    """Change the content of a PyTorch file."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def refused(copy: Path) -> str:
    """Return the error of exporting `copy`; nothing may be left behind."""
    dest = copy.with_name("package")
    with pytest.raises(ConversionError) as caught:
        export.run(copy, dest, export.Options())
    assert sorted(path.name for path in copy.parent.iterdir()) == [copy.name]
    return str(caught.value)


def test_a_whole_checkpoint_opens(checkpoint: Path) -> None:
    opened = families.open_checkpoint(checkpoint)
    assert opened.family.variant == "2.0"
    assert "gpt:text_head.weight" in opened.unused


def test_every_missing_file_is_named(copy: Path) -> None:
    for name in ("feat1.pt", "hf_cache/campplus_cn_common.bin", "bpe.model"):
        (copy / name).unlink()
    message = refused(copy)
    assert all(name in message for name in ("feat1.pt", "campplus_cn_common.bin", "bpe.model"))


def test_every_wrong_key_is_named_at_once(copy: Path) -> None:
    def damage(content: dict) -> None:
        del content["final_norm.weight"]
        content["mel_head.bias"] = content["mel_head.bias"][:-1]
        content["a.stranger"] = torch.zeros(3)

    rewrite(copy / "gpt.pth", damage)
    rewrite(copy / "wav2vec2bert_stats.pt", lambda content: content.update(mean=content["mean"][:5]))
    (copy / "bpe.model").write_bytes(b"cut short")
    message = refused(copy)
    assert "bpe.model is missing, damaged or truncated" in message
    for part in ("final_norm.weight", "is missing", "mel_head.bias is [129], must be [130]", "a.stranger", "mean is [5]"):
        assert part in message, part


def test_unexpected_keys_are_left_out_on_request(copy: Path) -> None:
    rewrite(copy / "gpt.pth", lambda content: content.update({"a.stranger": torch.zeros(3)}))
    with pytest.raises(ConversionError, match=r"a.stranger is unexpected \(--no-strict"):
        families.open_checkpoint(copy)
    assert "gpt:a.stranger" in families.open_checkpoint(copy, strict=False).unused


def test_truncated_files(copy: Path) -> None:
    for name in ("gpt.pth", "hf_cache/w2v-bert-2.0/model.safetensors"):
        data = (copy / name).read_bytes()
        (copy / name).write_bytes(data[: len(data) // 2])
    message = refused(copy)
    assert "gpt.pth is damaged or truncated" in message
    assert "model.safetensors is damaged or truncated" in message


def test_swapped_files(copy: Path) -> None:
    swap = copy / "swap"
    (copy / "gpt.pth").rename(swap)
    (copy / "s2mel.pth").rename(copy / "gpt.pth")
    swap.rename(copy / "s2mel.pth")
    message = refused(copy)
    assert "s2mel.pth has no entry 'net'" in message
    assert "Is it the right file?" in message


def test_a_config_that_contradicts_the_tensors(copy: Path) -> None:
    path = copy / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["gpt"]["layers"] = 7
    config["s2mel"]["DiT"]["depth"] = 9
    config["emo_num"] = [1, 2, 3]
    path.write_text(yaml.safe_dump(config))
    message = refused(copy)
    for part in ("gpt.layers = 7", "tensors of decoder say 3", "s2mel.DiT.depth = 9", "emo_num"):
        assert part in message, part


def test_generation_settings_are_judged_with_all_else(copy: Path) -> None:
    path = copy / "generation_config.json"
    path.write_text(json.dumps({"num_beams": 99, "nonsense": 1, "steps": "many"}))
    edit(copy / "config.yaml", "gpt.layers", 7)
    (copy / "bpe.model").write_bytes(b"cut short")
    message = refused(copy)
    parts = (
        "num_beams is 99",
        "unknown key 'nonsense'",
        "steps = 'many'",
        "gpt.layers = 7",
        "bpe.model is missing, damaged",
    )
    for part in parts:
        assert part in message, part
    edit(copy / "config.yaml", "emo_num", "none")
    message = refused(copy)
    for part in (*parts[:3], "emo_num = 'none'"):
        assert part in message, part
    path.write_text("[1, 2")
    assert "generation_config.json is not valid JSON" in refused(copy)


def test_a_config_without_a_needed_value(copy: Path) -> None:
    path = copy / "config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["gpt"]["heads"], config["emo_num"]
    path.write_text(yaml.safe_dump(config))
    message = refused(copy)
    assert "lacks gpt.heads" in message
    assert "lacks emo_num" in message


def edit(path: Path, keys: str, value: object) -> None:
    """Change one value of a YAML or JSON file."""
    content = yaml.safe_load(path.read_text())
    place = content
    *parents, last = keys.split(".")
    for key in parents:
        place = place[key]
    place[last] = value
    path.write_text(yaml.safe_dump(content) if path.suffix == ".yaml" else json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value", "part"),
    [
        ("gpt.heads", "four", "gpt.heads = 'four'"),
        ("s2mel.preprocess_params.sr", "abc", "must be a number"),
        ("s2mel.preprocess_params.sr", 16000, "the vocoder's config 22050"),
        ("s2mel.preprocess_params.spect_params.n_fft", -4, "n_fft = -4"),
        ("s2mel.preprocess_params.spect_params.hop_length", 300, "a hop of 300"),
        ("s2mel.preprocess_params.spect_params.fmax", "lots", "fmax = 'lots'"),
        ("gpt.start_mel_token", 999999, "the decoder has 130 codes"),
        ("emo_num", "many", "emo_num = 'many'"),
    ],
)
def test_values_that_the_runtime_could_not_use(copy: Path, keys: str, value: object, part: str) -> None:
    edit(copy / "config.yaml", keys, value)
    assert part in refused(copy)


def test_tokenizers_and_the_classifier_are_opened_before_any_work(copy: Path) -> None:
    (copy / "bpe.model").write_bytes((copy / "bpe.model").read_bytes()[:500])
    classifier = copy / "qwen0.6bemo4-merge"
    (classifier / "tokenizer.json").write_text("{}")
    message = refused(copy)
    assert "bpe.model is missing, damaged or truncated" in message
    assert "tokenizer.json is missing, damaged or truncated" in message
    (classifier / "generation_config.json").write_text("{")
    assert "generation_config.json is not valid JSON" in refused(copy)
    (classifier / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in refused(copy)


def test_heads_that_do_not_divide_the_width(copy: Path) -> None:
    path = copy / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["gpt"]["heads"] = 7
    path.write_text(yaml.safe_dump(config))
    assert "gpt.heads = 7" in refused(copy)


class Attack:
    """A pickle that would create a file when it is opened carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_that_wants_to_run_code_is_not_run(copy: Path, tmp_path: Path, save: Callable) -> None:
    proof = tmp_path / "proof"
    save({"model": Attack(proof)}, copy / "gpt.pth")
    with pytest.raises(ConversionError, match="could run code"):
        families.open_checkpoint(copy)
    assert not proof.exists()
    Attack(proof).__reduce__()[0](str(proof))  # the twin: what opening it carelessly would have done
    assert proof.exists()


@pytest.mark.slow  # the weights of three networks, folded twice
def test_wrappers_prefixes_and_both_weight_norm_namings_are_understood(copy: Path, checkpoint: Path) -> None:
    rewrite(copy / "gpt.pth", lambda content: content.update(model=dict(content)))

    def wrap(content: dict) -> None:
        content["net"] = {
            name: {f"module.{key}": value for key, value in state.items()} for name, state in content["net"].items()
        }
        content["optimizer"] = {"step": 3}

    rewrite(copy / "s2mel.pth", wrap)

    def rename(content: dict) -> None:
        old = content["generator"]
        names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
        for key in list(old):
            base, _, last = key.rpartition(".")
            if last in names:
                old[f"{base}.{names[last]}"] = old.pop(key)

    rewrite(copy / "hf_cache/bigvgan/bigvgan_generator.pt", rename)
    for name in ("vocoder", "flow_estimator", "decoder"):
        found = families.open_checkpoint(copy).build(name).state_dict()
        expected = families.open_checkpoint(checkpoint).build(name).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), name


def test_plain_weights_without_weight_norm(copy: Path, checkpoint: Path) -> None:
    expected = families.open_checkpoint(checkpoint).build("vocoder").state_dict()
    torch.save({"generator": dict(expected)}, copy / "hf_cache/bigvgan/bigvgan_generator.pt")
    found = families.open_checkpoint(copy).build("vocoder").state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_half_precision_files_are_read(copy: Path) -> None:
    path = copy / "hf_cache/semantic_codec_model.safetensors"
    save_file({key: value.half() for key, value in load_file(path).items()}, path)
    module = families.open_checkpoint(copy).build("semantic_codec")
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


def test_weights_are_mapped_not_copied(checkpoint: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("only Linux says what is mapped")
    module = families.open_checkpoint(checkpoint).build("decoder")
    assert module.mel_head.weight.data_ptr()
    assert str(checkpoint / "gpt.pth") in maps.read_text()


def test_safetensors_in_place_of_pickles(copy: Path, checkpoint: Path) -> None:
    save_file(torch.load(copy / "gpt.pth", weights_only=True), copy / "gpt.safetensors")
    (copy / "gpt.pth").unlink()
    found = families.open_checkpoint(copy).build("decoder").state_dict()
    expected = families.open_checkpoint(checkpoint).build("decoder").state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_legacy_pickle_is_read(copy: Path) -> None:
    path = copy / "hf_cache/campplus_cn_common.bin"
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    families.open_checkpoint(copy).build("speaker_encoder")


def test_not_a_directory_and_no_family(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        families.open_checkpoint(tmp_path / "nothing")
    with pytest.raises(ConversionError, match="not a checkpoint of a known family"):
        families.open_checkpoint(tmp_path)
    with pytest.raises(UsageError, match="no family named 'tacotron'; have: "):
        families.open_checkpoint(tmp_path, "tacotron")


def test_the_vocoder_config_must_fit(copy: Path) -> None:
    path = copy / "hf_cache/bigvgan/config.json"
    settings = json.loads(path.read_text())
    settings["upsample_rates"] = [4, 4]
    path.write_text(json.dumps(settings))
    assert "vocoder" in refused(copy)
