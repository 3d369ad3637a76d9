"""Layers hold: who may import whom, read from the source of every module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from imports import PACKAGE, Import, imports

FOUNDATION = ("errors", "options", "spec", "package")

# Layer: the layers that its modules may import, at any place of a file. A layer may import itself.
LAYERS: dict[str, tuple[str, ...]] = {
    "": (),  # ovconvert/__init__.py
    "errors": (),
    "options": (),
    "spec": ("errors",),
    "package": ("errors", "spec"),
    "machine": ("errors",),
    "report": ("errors", "machine", "page"),  # draws a page when asked for one
    "page": ("errors", "report"),
    "roofline": (*FOUNDATION, "golden", "machine", "runtime"),
    "intervals": (),
    "comparison": ("errors", "intervals", "report"),
    "compare": ("comparison", "errors", "intervals", "report"),
    "disturbance": ("machine",),
    "checkpoint": ("errors", "options"),
    "parts": ("checkpoint", "spec"),
    "pretrained": ("checkpoint", "errors"),
    "seeded": (),
    "golden": ("errors", "spec"),
    "calibration": ("errors", "spec", "package"),
    "capture": (*FOUNDATION, "calibration", "golden"),
    "calibrate": (*FOUNDATION, "bench", "calibration", "capture", "runtime"),
    "original": ("errors",),
    "scripted": ("errors", "golden", "package", "spec"),
    "language_model": ("errors", "package", "spec"),
    "baselines": (*FOUNDATION, "families", "language_model", "networks", "original", "runtime", "scripted"),
    "memory": (),
    "networks": ("errors",),
    "graphs": FOUNDATION,
    "generation": ("fields", "runtime"),  # what a checkpoint may set is what a request may ask
    # the runtime: sizes that both sides must count alike
    "families": (
        *(*FOUNDATION, "checkpoint", "generation", "language_model", "networks", "original", "parts", "pretrained"),
        *("runtime", "seeded"),
    ),
    "runtime": (*FOUNDATION, "memory"),
    "quantization": (*FOUNDATION, "calibration", "graphs"),
    "stages": (
        *FOUNDATION,
        "calibration",
        "golden",
        "graphs",
        "families",
        "memory",
        "quantization",
        "scripted",
    ),  # export finds a family by name; see the test of the stop rule
    "bench": (
        *(*FOUNDATION, "golden", "intervals", "machine", "memory", "report", "runtime"),
        *("baselines", "disturbance", "language_model", "original", "roofline"),
    ),
    "quality": (*FOUNDATION, "baselines", "bench", "intervals", "machine", "report", "runtime"),
    "tuning": (
        *(*FOUNDATION, "bench", "calibration", "intervals", "machine", "quality", "quantization", "report", "runtime"),
        "stages",
    ),
    "blame": (*FOUNDATION, "calibration", "capture", "golden", "graphs", "quality", "runtime", "stages"),
    "judges": (
        *FOUNDATION,
        "bench",
        "blame",
        "calibration",
        "compare",
        "comparison",
        "disturbance",
        "intervals",
        "golden",
        "machine",
        "page",
        "quality",
        "report",
        "runtime",
        "tuning",
    ),
    "speak": (*FOUNDATION, "runtime"),
    "text_output": ("errors", "package"),
    "transcribe": (*FOUNDATION, "runtime", "text_output"),
    "generate": (*FOUNDATION, "runtime", "text_output"),
    "make_checkpoint": (*FOUNDATION, "families"),
    "screen": (),
    "inspect": (*FOUNDATION, "screen"),
    "doctor": ("errors", "machine", "screen"),
    "fields": ("errors", "options"),
    "verbs": ("errors",),
    "perform": (*FOUNDATION, "report", "verbs"),
    "progress": ("options",),
    "recipe": ("errors", "fields", "verbs"),
    "pipeline": (*FOUNDATION, "", "fields", "machine", "perform", "recipe", "report", "verbs"),
    "commands": (*FOUNDATION, "fields", "perform", "progress", "report", "screen", "verbs"),
    "compare_command": (*FOUNDATION, "commands", "compare", "comparison", "judges", "progress", "report", "screen"),
    "__main__": ("cli",),
    "cli": ("", *FOUNDATION, "commands", "compare_command", "doctor", "inspect", "pipeline", "progress", "recipe", "verbs"),
}

# Third-party module: the layers that may import it. Where it stands in `BEHIND_A_DOOR`, only inside a function.
TORCH = ("parts", "pretrained", "seeded", "networks", "families", "graphs", "stages", "checkpoint", "baselines", "scripted")
ONNX = ("graphs", "stages", "baselines")
OUTSIDE: dict[str, tuple[str, ...]] = {
    "torch": TORCH,
    "safetensors": ("families", "checkpoint", "networks"),
    "yaml": ("families", "checkpoint"),
    "jinja2": ("families", "networks"),
    "onnx": (*ONNX, "families"),  # seeded stand-ins for what a checkpoint brings as ONNX files
    "onnxsim": ONNX,
    "onnxruntime": ("baselines", "quality"),
    "transformers": ("families", "pretrained", "baselines",),
    "optimum": ("baselines",),
    "openvino_genai": ("baselines",),
    "openvino_tokenizers": ("pretrained",),
    "ctranslate2": ("baselines",),
    "google": ONNX,
    "nncf": ("graphs",),
    "openvino": ("runtime", "graphs", "stages", "judges", "roofline", "baselines",
                 "blame", "pretrained"),
    "numpy": ("golden", "runtime", "graphs", "stages", "judges", "families", "networks", "checkpoint", "report", "intervals",
              "compare", "bench", "baselines", "quality", "page", "roofline", "blame", "calibration", "capture",
              "parts", "scripted"),
    "msgspec": ("package", "report", "recipe", "pipeline", "doctor", "inspect", "make_checkpoint", "stages", "judges",
                "families", "runtime", "calibration", "quantization", "tuning"),
    "click": ("cli", "commands", "compare_command"),
    "rich": ("progress", "report", "comparison", "doctor", "inspect", "screen", "speak"),
    "matplotlib": ("page",),
    "speechmos": ("quality",),
    "pesq": ("quality",),
    "pystoi": ("quality",),
    "visqol": ("quality",),
    "pocketsphinx": ("quality",),
    "resemblyzer": ("quality",),
    "sentencepiece": ("runtime", "families"),
    "tokenizers": ("runtime", "families", "baselines"),
    "tiktoken": ("runtime", "families"),
    "soundfile": ("runtime", "families"),
    "soxr": ("runtime",),
    "kaldi_native_fbank": ("runtime",),
    "wetext": ("runtime",),
}  # fmt: skip
BEHIND_A_DOOR = ("torch", "onnx", "onnxruntime", "onnxsim", "nncf", "openvino", "rich", "matplotlib", "transformers",
                 "optimum", "openvino_genai", "openvino_tokenizers", "ctranslate2")  # fmt: skip
# PyTorch modules themselves; nothing imports them but inside a function
TORCH_MODULES = ("networks", "families", "baselines")


def layer(module: str) -> str:
    """Return the layer of a module of ours: the first part of its name below the package."""
    return [*module.split("."), ""][1]


def violations(package: Path, layers: dict[str, tuple[str, ...]] = LAYERS) -> list[str]:
    """Return every import below `package` that the tables do not allow."""
    return [f"{found}: {reason}" for found in imports(package) if (reason := _reason(found, package.name, layers))]


def _reason(found: Import, name: str, layers: dict[str, tuple[str, ...]]) -> str:
    mine = layer(found.importer)
    top = found.imported.split(".")[0]
    if mine not in layers:
        return f"layer {mine!r} is not in the table"
    if top == name:
        theirs = layer(found.imported)
        return "" if found.typing_only or theirs in (mine, *layers[mine]) else f"{mine!r} may not import {theirs!r}"
    if top in sys.stdlib_module_names or found.typing_only:
        return ""
    if mine not in OUTSIDE.get(top, ()):
        return f"{mine!r} may not import {top}"
    if top in BEHIND_A_DOOR and not found.inside_function and mine not in TORCH_MODULES:
        return "heavy, so only inside the function that uses it"
    return ""


def test_layers_hold() -> None:
    assert violations(PACKAGE) == []


def test_the_table_names_only_what_there_is() -> None:
    there = {layer(f"{PACKAGE.name}.{path.stem}") for path in PACKAGE.iterdir() if path.suffix == ".py"}
    there |= {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert set(LAYERS) - {""} <= there


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("runtime/x.py", "import torch", "'runtime' may not import torch"),
        ("runtime/deep/x.py", "def f():\n    import onnx", "'runtime' may not import onnx"),
        ("runtime/x.py", "from bad.stages import export", "'runtime' may not import 'stages'"),
        ("runtime/x.py", "from ..stages import export", "'runtime' may not import 'stages'"),
        ("runtime/x.py", "from bad import families", "'runtime' may not import 'families'"),
        ("judges/x.py", "def f():\n    import torch", "'judges' may not import torch"),
        ("stages/x.py", "import torch", "only inside the function"),
        ("stages/x.py", "import numpy, bad.networks.y", "'stages' may not import 'networks'"),
        ("spec.py", "import numpy", "'spec' may not import numpy"),
        ("odd.py", "import os", "layer 'odd' is not in the table"),
    ],
)
def test_the_guard_can_fail(tmp_path: Path, file: str, text: str, said: str) -> None:
    path = tmp_path / "bad" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    for module in ("stages/__init__.py", "stages/export.py", "families/__init__.py"):
        (tmp_path / "bad" / module).parent.mkdir(exist_ok=True)
        (tmp_path / "bad" / module).touch()
    assert [line for line in violations(tmp_path / "bad") if said in line]


def test_the_guard_lets_types_and_doors_pass(tmp_path: Path) -> None:
    (tmp_path / "good" / "stages").mkdir(parents=True)
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import onnx"
    (tmp_path / "good" / "stages" / "x.py").write_text(text)
    assert violations(tmp_path / "good") == []


def test_the_guard_refuses_an_empty_tree(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no source"):
        violations(tmp_path)
