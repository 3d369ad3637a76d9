"""Scripts that describe models, and all that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from ovconvert.errors import ConversionError, OvconvertError, UsageError
from ovconvert.scripted import Scripted, open_script
from ovconvert.stages import export

SOUND = """
    import torch
    from ovconvert.scripted import Model
    from ovconvert.spec import CacheSpec, Component, Dim, Family, Port

    class Double(torch.nn.Module):
        def forward(self, x):
            return x * 2

    PORTS = (Port("x", "float32", ("batch", 3)),), (Port("y", "float32", ("batch", 3)),)
    PART = Component("part", "encoder", *PORTS)
    FAMILY = Family("toy", "", 0, {"batch": Dim(2, (1,))}, (PART,))
    SPEC = Model(FAMILY, {"part": Double()})
"""


def opened(directory: Path, text: str = "", name: str = "SPEC", source: Path | None = None) -> Scripted:
    """Write the sound script with `text` after it, and open it."""
    path = directory / "script.py"
    path.write_text(dedent(SOUND) + dedent(text))
    return open_script(f"{path}:{name}", source)


def test_a_sound_script_is_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = opened(tmp_path)
    assert checkpoint.family.component("part").floor_db == {"fp32": 80.0, "fp16": 50.0}
    assert checkpoint.files == (tmp_path / "script.py",) and checkpoint.unused == ()
    inputs = checkpoint.example("part", {"batch": 5}, np.random.default_rng(0))
    assert inputs["x"].shape == (5, 3) and checkpoint.build("part").training is False


def test_a_function_is_given_the_checkpoint_and_finds_what_lies_beside_it(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "factor.py").write_text("FACTOR = 7")
    (weights / "script.py").write_text(
        dedent(SOUND)
        + "def make(source):\n    import factor\n    return Model(FAMILY, {'part': Double}, files=(source / 'factor.py',))\n"
    )
    checkpoint = open_script("script.py:make", weights)
    assert [path.name for path in checkpoint.files] == ["script.py", "factor.py"]
    assert checkpoint.build("part")


def test_examples_and_masks(tmp_path: Path) -> None:
    ports = 'Component("part", "encoder", (Port("ids", "int64", ("batch",)), Port("a_mask", "int64", ("batch",))), ())'
    family = 'Family("toy", "", 0, {"batch": Dim(40, (1,))}, (PART,))'
    text = f"PART = {ports}\nSPEC = Model({family}, {{'part': Double()}})"
    inputs = opened(tmp_path, text).example("part", {"batch": 40}, np.random.default_rng(0))
    assert set(inputs["ids"]) == {0, 1} and set(inputs["a_mask"]) == {1}
    text = "SPEC = Model(FAMILY, {'part': Double()}, {'part': lambda sizes, rng: {'x': rng.random((sizes['batch'], 4))}})"
    with pytest.raises(ConversionError, match=r"x is float64 \[2, 4\]; expected float32 \[2, 3\]"):
        opened(tmp_path, text).example("part", {"batch": 2}, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "name", "error", "said"),
    [
        ("", "NONE", UsageError, "has no 'NONE'; models in it: SPEC"),
        ("", "PORTS", UsageError, "PORTS is 'tuple'; allowed: ovconvert.scripted.Model"),
        ("", "Double", UsageError, "Double is 'type'"),
        ("", "not a name", UsageError, "allowed: SCRIPT.py:NAME"),
        ("1 / 0", "SPEC", ConversionError, "line 14: cannot be read: ZeroDivisionError"),
        ("def oh no", "SPEC", ConversionError, "SyntaxError"),
        ("import no_such_module", "SPEC", ConversionError, "ModuleNotFoundError"),
        ("def make(source):\n    raise KeyError('weights')", "make", ConversionError, "make(None) failed: KeyError"),
        ("def make(source):\n    return 5", "make", UsageError, "make is 'int'"),
        ("PART = Component('part', 'ear', (), ())", "SPEC", ConversionError, "have: frontend"),
    ],
)
def test_one_clear_error_each(tmp_path: Path, text: str, name: str, error: type[OvconvertError], said: str) -> None:
    with pytest.raises(error) as caught:
        opened(tmp_path, text, name)
    assert said in str(caught.value)


def test_no_script(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_script(f"{tmp_path / 'script.py'}:SPEC", None)


def test_all_that_does_not_fit_together_is_told_at_once(tmp_path: Path) -> None:
    text = """
        STEP = Component("step", "step", *PORTS, CacheSpec(1, 2, 4, "states"))
        BAD = Family("no name", "", 0, {"batch": Dim(2, (1,)), "other": Dim(1, ())}, (PART, PART, STEP))
        SPEC = Model(BAD, {"part": Double(), "nose": Double()})
    """
    with pytest.raises(ConversionError) as caught:
        opened(tmp_path, text)
    told = (
        *("'no name' is no word", "two components are called 'part'", "step has no network", "a network for 'nose'"),
        *("as many trials", "the axis 'past_sequence_length' has no Dim", "cross='states'"),
    )
    assert [one for one in told if one not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("lambda: Double", "is 'type'; allowed: torch.nn.Module"),
        ("lambda: 1 / 0", "the network of part failed: ZeroDivisionError"),
        ("torch.nn.Linear(9, 9)", "given x [2, 3], failed: RuntimeError"),
        ("torch.nn.Linear(3, 4)", "y is float32 [2, 4]; expected float32 [2, 3]"),
        ("torch.nn.LSTM(3, 3)", "returns 2 values (Tensor, tuple); expected 1 tensors: y"),
    ],
)
def test_a_network_has_to_do_what_its_ports_say(tmp_path: Path, network: str, said: str) -> None:
    checkpoint = opened(tmp_path, f"SPEC = Model(FAMILY, {{'part': {network}}})")
    with pytest.raises(ConversionError) as caught:
        checkpoint.build("part")
    assert said in str(caught.value)


def test_what_a_script_decides_is_not_asked_for_twice(tmp_path: Path) -> None:
    assert export.requires(None, export.Options(model_script="x.py:SPEC")) == []
    assert len(export.requires(None, export.Options())) == 1
    assert len(export.requires(tmp_path / "none", export.Options(model_script="x:Y", family="z", split=False))) == 3
