"""The table of verbs: one row per stage, judge and end of the road. Commands and recipe steps are made from it.

A row says what its verb reads and makes. What it does, and with which options, is in the module it names, which has
`Options`, `requires` and `run` and is imported only when the verb is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ovconvert.errors import ConversionError, EnvironmentFault, OvconvertError, ParityError, QualityError, UsageError

ARTIFACTS = {
    "checkpoint": "checkpoint",
    "package": "package",
    "onnx": "model.onnx",
    "parts": "parts",
    "ir": "ir",
    "calibration": "calibration",
    "report": "report.json",
    "audio": "speech.wav",
    "text": "text.txt",
}
"""What verbs make, and the file or directory that a recipe's step keeps it in."""


@dataclass(frozen=True)
class Verb:
    """One verb. `source`, `dest` and `arguments` are how the command line takes them; a source of () reads nothing."""

    name: str
    module: str
    help: str
    reads: str = ""
    makes: str = ""
    source: tuple[str, ...] = ()
    dest: tuple[str, ...] = ("dest",)
    default_dest: str = ""
    source_may_lack: bool = False  # where an option may say what to read
    arguments: tuple[str, ...] = ()  # options that are written without a flag
    needs: tuple[str, ...] = ()  # modules that the deployment install lacks; the extra `convert` has them
    refusal: type[OvconvertError] = UsageError  # raised with all that `requires` lists
    fault: type[OvconvertError] = ConversionError  # raised by a judge whose report has failed rows

    @property
    def judges(self) -> bool:
        """Tell whether the verb returns a report."""
        return self.makes == "report"

    def load(self) -> Any:
        """Import and return the verb's module."""
        return import_module(self.module)


VERBS = (
    Verb(
        "make-checkpoint",
        "ovconvert.make_checkpoint",
        "Write a checkpoint with seeded random weights in a family's published layout.",
        makes="checkpoint",
        needs=("torch", "yaml"),
    ),
    Verb(
        "export",
        "ovconvert.stages.export",
        "Convert a PyTorch checkpoint into an OpenVINO package.",
        reads="checkpoint",
        makes="package",
        source=("-m", "--model", "source"),
        source_may_lack=True,
        needs=("torch", "onnx", "onnxsim", "nncf", "yaml"),
    ),
    Verb(
        "simplify",
        "ovconvert.stages.simplify",
        "Simplify an ONNX file.",
        reads="onnx",
        makes="onnx",
        source=("source",),
        needs=("onnx", "onnxsim"),
    ),
    Verb(
        "lower",
        "ovconvert.stages.lower",
        "Lower an ONNX file to OpenVINO IR.",
        reads="onnx",
        makes="ir",
        source=("source",),
        needs=("onnx",),
    ),
    Verb(
        "split",
        "ovconvert.stages.split",
        "Cut an ONNX file in two: an encoder and a step with a cache, or at named tensors.",
        reads="onnx",
        makes="parts",
        source=("source",),
        needs=("onnx",),
    ),
    Verb(
        "calibrate",
        "ovconvert.calibrate",
        "Record what enters each component while a package speaks.",
        reads="package",
        makes="calibration",
        source=("package",),
    ),
    Verb(
        "prune",
        "ovconvert.stages.prune",
        "Remove the least important units of the feed-forwards of a package.",
        reads="package",
        makes="package",
        source=("source",),
    ),
    Verb(
        "quantize",
        "ovconvert.stages.quantize",
        "Make the weights of a package INT8 or INT4, and its activations INT8.",
        reads="package",
        makes="package",
        source=("source",),
        needs=("nncf",),
    ),
    Verb(
        "validate",
        "ovconvert.judges.validate",
        "Replay the golden tensors of a package on its graphs.",
        reads="package",
        makes="report",
        source=("package",),
        fault=ParityError,
    ),
    Verb(
        "quality",
        "ovconvert.judges.quality",
        "Judge the speech of a package, beside a reference.",
        reads="package",
        makes="report",
        source=("package",),
        fault=QualityError,
    ),
    Verb(
        "blame",
        "ovconvert.judges.blame",
        "Find the component, and the layers, that a package loses quality by.",
        reads="package",
        makes="report",
        source=("package",),
    ),
    Verb(
        "benchmark",
        "ovconvert.judges.benchmark",
        "Measure a package, in turns with others.",
        reads="package",
        makes="report",
        source=("package",),
    ),
    Verb(
        "tune",
        "ovconvert.judges.tune",
        "Find the fastest precisions and settings that still pass.",
        reads="package",
        makes="report",
        source=("package",),
        needs=("nncf",),
        fault=QualityError,
    ),
    Verb(
        "rehearse",
        "ovconvert.judges.rehearse",
        "Try on this machine whether `compare` tells a slowdown from none.",
        reads="package",
        makes="report",
        source=("package",),
        fault=EnvironmentFault,  # the machine is too noisy for so few rounds
    ),
    Verb(
        "speak",
        "ovconvert.speak",
        "Turn text into a WAV with a package.",
        reads="package",
        makes="audio",
        source=("package",),
        dest=("-o", "--output", "dest"),
        default_dest="speech.wav",
        arguments=("text",),
    ),
    Verb(
        "transcribe",
        "ovconvert.transcribe",
        "Turn a recording into text with a package.",
        reads="package",
        makes="text",
        source=("package",),
        dest=("-o", "--output", "dest"),
        default_dest="transcript.txt",
        arguments=("audio",),
    ),
    Verb(
        "generate",
        "ovconvert.generate",
        "Answer a text with a package.",
        reads="package",
        makes="text",
        source=("package",),
        dest=("-o", "--output", "dest"),
        default_dest="answer.txt",
        arguments=("text",),
    ),
)

BY_NAME = {verb.name: verb for verb in VERBS}
