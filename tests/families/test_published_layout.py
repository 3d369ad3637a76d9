"""The full-size seeded checkpoint has every key and shape of the published one, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovconvert.families.indextts2.published import published

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
