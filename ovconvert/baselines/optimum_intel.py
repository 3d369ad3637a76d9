"""optimum-intel: its export to OpenVINO, and its models behind the decoding loop of `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from ovconvert.baselines.kinds import LANGUAGE_MODEL, LISTENER, WRITER
from ovconvert.baselines.transformers_loop import LOOPS

CHOSEN = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE")


@dataclass(frozen=True)
class Form:
    """How the export calls what a kind of model is for, the library's class, and the graph that writes the ids.

    `tokenizer`: pipelines that open the directory want the tokenizer as graphs.
    """

    task: str
    model: str
    graph: str
    tokenizer: bool = False


FORMS: Mapping[str, Form] = {
    LANGUAGE_MODEL: Form("text-generation-with-past", "OVModelForCausalLM", "openvino_model.xml"),
    LISTENER: Form(
        "automatic-speech-recognition-with-past", "OVModelForSpeechSeq2Seq", "openvino_decoder_model.xml", tokenizer=True
    ),
    WRITER: Form("text2text-generation-with-past", "OVModelForSeq2SeqLM", "openvino_decoder_model.xml"),
}


def convert(source: Path, dest: Path, weights: str, kind: str) -> None:
    """Export the model in `source` into the directory `dest`, with its cache in the model; `weights` is fp16 or int8."""
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig, OVWeightQuantizationConfig

    quantized = OVWeightQuantizationConfig(bits=8) if weights == "int8" else None
    main_export(
        str(source),
        dest,
        task=FORMS[kind].task,
        ov_config=OVConfig(dtype=weights, quantization_config=quantized),
        convert_tokenizer=FORMS[kind].tokenizer,
        local_files_only=True,
    )


class Optimum:
    """A model of a kind, with its own defaults."""

    def __init__(self, directory: Path, weights: str, threads: int, kind: str) -> None:
        from optimum import intel

        model: Any = getattr(intel, FORMS[kind].model).from_pretrained(
            str(directory), ov_config={"INFERENCE_NUM_THREADS": str(threads)}, local_files_only=True
        )
        # of a model in two parts, the one that writes
        compiled = getattr(model, "decoder", model).request.get_compiled_model()
        chosen = ", ".join(f"{name} {_shown(compiled.get_property(name))}" for name in CHOSEN)
        self.settings = f"optimum-intel {metadata.version('optimum-intel')}, weights {weights}, {chosen}"
        self._loop = LOOPS[kind](model, directory)

    def generate(self, source: Any, tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids after `source`."""
        return self._loop(source, tokens, beams)


MODELS = {kind: partial(Optimum, kind=kind) for kind in FORMS}


def _shown(value: Any) -> str:
    """Return a property without the brackets that types are printed in."""
    return str(getattr(value, "to_string", lambda: value)())


def pinned(directory: Path, kind: str) -> str:
    """Return the settings that the export has written into the IR that writes the ids."""
    import openvino as ov

    model = ov.Core().read_model(directory / FORMS[kind].graph)
    path = ["runtime_options"]
    if not model.has_rt_info(path):
        return "nothing pinned in the IR"
    options = model.get_rt_info(path).astype(dict)
    return ", ".join(f"{name} {value.astype(str) if hasattr(value, 'astype') else value}" for name, value in options.items())
