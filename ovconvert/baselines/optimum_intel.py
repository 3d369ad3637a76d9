"""optimum-intel: its export of a GPT-2 to OpenVINO, and its model behind the decoding loop of `transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

MODEL = "openvino_model.xml"
CHOSEN = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE")


def convert(source: Path, dest: Path, weights: str) -> None:
    """Export the GPT-2 in `source` into the directory `dest`, with its cache in the model; `weights` is fp16 or int8."""
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig, OVWeightQuantizationConfig

    quantized = OVWeightQuantizationConfig(bits=8) if weights == "int8" else None
    main_export(
        str(source),
        dest,
        task="text-generation-with-past",
        ov_config=OVConfig(dtype=weights, quantization_config=quantized),
        convert_tokenizer=False,
        local_files_only=True,
    )


def open_model(directory: Path, weights: str, threads: int) -> Optimum:
    """Open what `convert` wrote."""
    return Optimum(directory, weights, threads)


class Optimum:
    """The model with its own defaults."""

    def __init__(self, directory: Path, weights: str, threads: int) -> None:
        from optimum.intel import OVModelForCausalLM

        self._model: Any = OVModelForCausalLM.from_pretrained(
            str(directory), ov_config={"INFERENCE_NUM_THREADS": str(threads)}, local_files_only=True
        )
        compiled = self._model.request.get_compiled_model()
        chosen = ", ".join(f"{name} {_shown(compiled.get_property(name))}" for name in CHOSEN)
        self.settings = f"optimum-intel {metadata.version('optimum-intel')}, weights {weights}, {chosen}"

    def generate(self, prompt: Sequence[int], tokens: int, beams: int) -> list[int]:
        """Return `tokens` ids after `prompt`."""
        import torch

        ids = torch.tensor([list(prompt)])
        found = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            num_beams=beams,
            do_sample=False,
            eos_token_id=None,
        )
        return [int(token) for token in found[0, len(prompt) :]]


def _shown(value: Any) -> str:
    """Return a property without the brackets that types are printed in."""
    return str(getattr(value, "to_string", lambda: value)())


def pinned(directory: Path) -> str:
    """Return the settings that the export has written into the IR."""
    import openvino as ov

    model = ov.Core().read_model(directory / MODEL)
    path = ["runtime_options"]
    if not model.has_rt_info(path):
        return "nothing pinned in the IR"
    options = model.get_rt_info(path).astype(dict)
    return ", ".join(f"{name} {value.astype(str) if hasattr(value, 'astype') else value}" for name, value in options.items())
