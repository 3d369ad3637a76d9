"""The full-size seeded checkpoint has every key and shape of the published one, and no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ovconvert import families
from ovconvert.families.indextts2 import synthetic
from ovconvert.families.indextts2.published import published, weight_normed
from ovconvert.families.indextts2.settings_files import config_yaml
from ovconvert.families.indextts2.sizes import SIZES
from ovconvert.networks.bigvgan import BigVganConfig

LISTING = Path(__file__).parents[1] / "golden" / "indextts2-full.statedict.txt"
HEADINGS = {
    "FILE gpt.pth ": ("2.0", "gpt"),
    "FILE s2mel.pth  state['net']['cfm']": ("2.0", "cfm"),
    "FILE s2mel.pth  state['net']['length_regulator']": ("2.0", "length_regulator"),
    "FILE s2mel.pth  state['net']['gpt_layer']": ("2.0", "gpt_layer"),
    "FILE wav2vec2bert_stats.pt": ("2.0", "w2v_stats"),
    "FILE semantic_codec/model.safetensors": ("2.0", "codec"),
    "FILE campplus_cn_common.bin": ("2.0", "campplus"),
    "FILE bigvgan_generator.pt": ("2.0", "bigvgan"),
    "FILE w2v-bert-2.0/model.safetensors": ("2.0", "w2v_bert"),
    "V2.5 FILE gpt.pth": ("2.5", "gpt"),
    "V2.5 FILE codec.pth": ("2.5", "codec"),
}


def listed() -> dict[tuple[str, str], dict[str, tuple[int, ...]]]:
    """Read the list of the published keys: {(version, state dict): {key: shape}}."""
    files: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    current: dict[str, tuple[int, ...]] = {}
    for line in LISTING.read_text().splitlines():
        if line.startswith("#### "):
            current = {}
            for heading, name in HEADINGS.items():
                if line.startswith(f"#### {heading}"):
                    files[name] = current
        elif line and not line.startswith("#"):
            key, shape, _ = line.split("\t")
            current[key] = tuple(int(size) for size in shape.strip("[]").split(",") if size.strip())
    return files


@pytest.mark.parametrize("version, name", HEADINGS.values())
def test_keys_and_shapes_are_the_published_ones(version: str, name: str) -> None:
    expected = listed()[version, name]
    assert expected
    assert published("full", version)[name] == expected


def test_the_comparison_can_fail() -> None:
    assert published("tiny", "2.0")["gpt"] != listed()["2.0", "gpt"]


def test_a_checkpoint_of_other_sizes_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = SIZES["tiny"]
    other = replace(
        tiny,
        vocoder=BigVganConfig(80, 32, (5, 4, 4), (10, 8, 8), (3, 5), (1, 2), False, False, True),
        sample_rate=16000,
        n_fft=512,
        win_length=320,
        fmax=7600,
        emotion_groups=(2, 1, 1, 1, 1, 1, 1, 1),
        length_ratio=1.5,
    )
    monkeypatch.setitem(synthetic.SIZES, "other", other)
    synthetic.make_checkpoint(tmp_path / "checkpoint", size="other", seed=1)
    vocoder = json.loads((tmp_path / "checkpoint/hf_cache/bigvgan/config.json").read_text())
    assert vocoder["resblock_dilation_sizes"] == [[1, 2], [1, 2]]
    checkpoint = families.open_checkpoint(tmp_path / "checkpoint")
    assert checkpoint.family.sample_rate == 16000
    assert checkpoint.build("vocoder").config == other.vocoder
    checkpoint.write_assets(tmp_path / "assets")
    settings = json.loads((tmp_path / "assets/config.json").read_text())
    assert settings["length_ratio"] == 1.5
    assert settings["emotion_groups"] == list(other.emotion_groups)
    assert settings["mel"] == {
        "sample_rate": 16000, "n_fft": 512, "win_length": 320, "hop_length": 80, "n_mels": 80, "fmin": 0.0, "fmax": 7600.0
    }  # fmt: skip


def test_the_ratio_of_lengths_is_written_only_where_it_is_given() -> None:
    assert "length_ratio" not in yaml.safe_load(config_yaml(SIZES["tiny"], "2.0"))["s2mel"]


def test_weight_norm_is_told_by_name() -> None:
    assert weight_normed("bigvgan", "resblocks.3.convs1.0.weight")
    assert not weight_normed("bigvgan", "resblocks.3.convs1.0.bias")
    assert not weight_normed("gpt", "resblocks.3.convs1.0.weight")
