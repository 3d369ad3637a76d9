"""The engine: names of outputs behind a compiler that moves operations, and processes in which it would compute wrongly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset8 as ops

from ovconvert.errors import EnvironmentFault
from ovconvert.runtime.engine import Engine, named, require_denormals
from ovconvert.spec import Component, Port

COMPONENT = Component("toy", "vocoder", (Port("mel", "float32", (1, "frames", 2)),), (Port("f0", "float32", (1, "frames")),))


def compiled() -> ov.CompiledModel:
    """The size of the first of two bands. The selection is moved behind it, and keeps its name."""
    mel = ops.parameter([1, -1, 2], np.float32, name="mel")
    first = ops.gather(mel, ops.constant(0), ops.constant(2))
    first.output(0).set_names({"/Gather_output_0"})
    size = ops.absolute(first)
    size.output(0).set_names({"f0"})
    return ov.Core().compile_model(ov.Model([size], [mel], "toy"), "CPU")


def test_an_output_answers_to_its_port_when_it_has_another_name_too() -> None:
    mel = np.array([[[-1.0, 2.0], [3.0, 4.0]]], np.float32)
    result = compiled()({"mel": mel})
    assert {name: value.tolist() for name, value in named(COMPONENT, result).items()} == {"f0": [[1.0, 3.0]]}
    assert [output.get_any_name() for output in result] == ["/Gather_output_0"]


def test_a_process_that_flushes_denormal_numbers_is_refused(tmp_path: Path) -> None:
    require_denormals()
    torch.set_flush_denormal(True)
    try:
        with pytest.raises(EnvironmentFault, match="-ffast-math"):
            Engine(tmp_path)
    finally:
        torch.set_flush_denormal(False)
    require_denormals()
