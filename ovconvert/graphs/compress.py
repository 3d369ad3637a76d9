"""Weights and activations of a graph as small integers, by NNCF; the settings have the names that optimum-cli gives them."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovconvert.errors import ConversionError
from ovconvert.graphs.layers import Layer, find_layers
from ovconvert.graphs.save import number_names
from ovconvert.options import option
from ovconvert.package import LayerPrecision
from ovconvert.spec import FULL_INT8, INTEGER_FORMATS

if TYPE_CHECKING:
    import openvino as ov

BACKUPS = ("none", "int8_sym", "int8_asym")
FALLBACKS = ("error", "ignore", "adjust")
DATA_FREE_METRIC = "weight_quantization_error"
METRICS = (
    *(DATA_FREE_METRIC, "hessian_input_activation", "mean_activation_variance"),
    *("max_activation_variance", "mean_activation_magnitude"),
)
DEFAULT_GROUP = 128
LEAST_PER_SCALE = 16  # with fewer values per channel, scale and zero point weigh half of what they save
ATTENTION = ("ScaledDotProductAttention", "Softmax")
TELEMETRY_OFF = "NNCF_CI"
NO_AWQ = "No matching patterns were found for applying AWQ"  # what NNCF says of it, and nothing else does

Sample = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Compression:
    """How to make weights, and if asked for activations, small. What stays None is NNCF's default."""

    weight_format: str = option("int8", "Precision of the weights.", choices=INTEGER_FORMATS)
    quant_mode: str | None = option(None, "Quantize the activations too, from the samples of --dataset.", choices=("int8",))
    sym: bool = option(False, "Scale weights symmetrically, without a zero point.")
    group_size: int | None = option(
        None, f"Values that share a scale, INT4 only; -1: one scale per channel (default: {DEFAULT_GROUP})."
    )
    group_size_fallback: str | None = option(
        None,
        "Layers that the group size does not divide: an error, left in floating point, or a smaller group of at least 32, "
        "else the backup precision (default: adjust).",
        choices=FALLBACKS,
    )
    ratio: float | None = option(None, "Share of the weights that become INT4, 0 to 1; the rest is INT8 (default: 1).")
    backup_precision: str | None = option(
        None, "Precision of what does not become INT4: embeddings, convolutions, the last layer.", choices=BACKUPS
    )
    all_layers: bool = option(False, "INT4 also for embeddings and the last layer.")
    sensitivity_metric: str | None = option(
        None, "How the layers that stay at INT8 are found if the ratio is below 1.", choices=METRICS
    )
    awq: bool = option(False, "Activation-aware weight quantization (AWQ), INT4 only.")
    scale_estimation: bool = option(False, "Choose INT4 scales by the error of a layer's output; needs --dataset.")
    gptq: bool = option(False, "GPTQ: correct INT4 weights one after the other; needs --dataset.")
    smooth_quant_alpha: float | None = option(
        None, "SmoothQuant: how much of the range of activations moves into weights, 0 to 1; -1: none. With --quant-mode."
    )
    num_samples: int | None = option(
        None, "Samples of the dataset that are used, of each component (default: 128, with --quant-mode 300)."
    )


INT4_ONLY = (
    *("group_size", "group_size_fallback", "ratio", "backup_precision", "all_layers", "sensitivity_metric"),
    *("awq", "scale_estimation", "gptq"),
)


def problems(settings: Compression, *, with_data: bool, formats: Collection[str] = ()) -> list[str]:
    """Return what cannot be combined, all of it; `with_data` tells whether there are samples.

    `formats` are precisions that single components get, beside the format of the settings.
    """
    given = [name for name in INT4_ONLY if getattr(settings, name) not in (None, False)]
    found = []
    int4 = "int4" in (settings.weight_format, *formats)
    if not int4:
        found += [
            f"{_flag(name)} needs --weight-format int4: INT8 takes every layer, one scale per channel" for name in given
        ]
    wanting = [name for name in ("scale_estimation", "gptq") if getattr(settings, name)]
    if settings.sensitivity_metric not in (None, DATA_FREE_METRIC):
        wanting.append("sensitivity_metric")
    if settings.quant_mode:
        wanting.append("quant_mode")
    full = FULL_INT8 in formats
    if not with_data:
        texts = [*map(_flag, wanting), *([FULL_INT8] if full else [])]
        found += [f"{text} needs --dataset, a directory that 'ovconvert calibrate' made" for text in texts]
    elif not wanting and not int4 and not full:
        found.append("--dataset has no use: INT8 weights need no data; it is for --quant-mode and --weight-format int4")
    if settings.smooth_quant_alpha is not None and not settings.quant_mode and not full:
        found.append("--smooth-quant-alpha needs --quant-mode: it is about activations")
    if settings.sensitivity_metric and settings.ratio in (None, 1.0):
        found.append("--sensitivity-metric needs a --ratio below 1: it chooses the layers that stay at INT8")
    if settings.backup_precision == "none" and settings.all_layers:
        found.append("--backup-precision none and --all-layers exclude each other: no layer would be left for the backup")
    if settings.group_size_fallback and settings.group_size == -1:
        found.append("--group-size-fallback has no use with --group-size -1, which divides every layer")
    ranges = (
        ("ratio", lambda value: 0.0 <= value <= 1.0, "0 to 1"),
        ("group_size", lambda value: value == -1 or value >= 2, "-1 (per channel), or 2 or more"),
        ("smooth_quant_alpha", lambda value: value == -1.0 or 0.0 <= value <= 1.0, "0 to 1, or -1 for none"),
        ("num_samples", lambda value: value >= 1, "1 or more"),
    )
    for name, fits, allowed in ranges:
        value = getattr(settings, name)
        if value is not None and not fits(value):
            found.append(f"{_flag(name)} is {value}; allowed: {allowed}")
    return found


def gains_nothing(layer: Layer) -> bool:
    """Tell whether integers are no use for a layer: a depthwise filter, a first layer, or one that reads constants alone.

    The last is computed when the graph is compiled, and the CPU plugin fails to do so from compressed weights.
    """
    return layer.fixed or layer.per_scale < LEAST_PER_SCALE


def compress_weights(
    model: ov.Model,
    settings: Compression,
    kept: Collection[str] = (),
    samples: Sequence[Sample] | None = None,
    statistics: Path | None = None,
    idle: list[str] | None = None,
) -> ov.Model:
    """Return `model`, changed, with its weights in `settings.weight_format`; operations named in `kept` stay as they are.

    Without samples, what of the settings wants some is left out. `statistics` is a directory in which NNCF keeps what it
    found out from the samples. `idle` gets "awq" if that was asked for and found nothing to do. Raises ConversionError
    naming the layers that a group size does not divide, if that shall be an error.
    """
    with _nncf() as nncf, _listening() as said:
        number_names(model)
        family = {"int8": "INT8", "int4": "INT4"}[settings.weight_format]
        arguments: dict[str, Any] = {
            "mode": nncf.CompressWeightsMode[f"{family}_{'SYM' if settings.sym else 'ASYM'}"],
            "ignored_scope": nncf.IgnoredScope(names=sorted(kept)),
        }
        if settings.weight_format == "int4":
            arguments |= _int4_arguments(nncf, settings, samples, statistics)
        try:
            compressed = nncf.compress_weights(model, **arguments)
        except nncf.InvalidGroupSizeError as error:
            raise ConversionError(
                f"{error}\ngive another --group-size, or --group-size-fallback adjust or ignore, or keep these layers"
            ) from error
    if idle is not None and any(NO_AWQ in text for text in said):
        idle.append("awq")
    return compressed


def quantize_activations(
    model: ov.Model, settings: Compression, kept: Collection[str], samples: Sequence[Sample]
) -> ov.Model:
    """Return `model` with weights and activations in INT8, by the ranges that `samples` show; what NNCF leaves, and `kept`
    does not name, gets INT8 weights."""
    with _nncf() as nncf:
        number_names(model)
        attends = any(node.get_type_name() in ATTENTION for node in model.get_ops())
        advanced = nncf.AdvancedQuantizationParameters()
        if settings.smooth_quant_alpha is not None:
            alpha = settings.smooth_quant_alpha
            advanced.smooth_quant_alphas = nncf.AdvancedSmoothQuantParameters(matmul=alpha)
        quantized = nncf.quantize(
            model,
            nncf.Dataset(list(samples)),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER if attends else None,
            ignored_scope=nncf.IgnoredScope(names=sorted(kept)),
            advanced_parameters=advanced,
        )
    done = (layer for layer in find_layers(quantized) if layer.precision.group_size is not None)
    stored = {operation for layer in done for operation in layer.operations}
    rest = Compression(sym=settings.sym)
    names = {node.get_friendly_name() for node in quantized.get_ops()}
    return compress_weights(quantized, rest, (stored | set(kept)) & names)


def follow(model: ov.Model, precisions: Mapping[str, LayerPrecision], settings: Compression) -> ov.Model:
    """Return `model` with each layer in the precision that another form of the component has given it, without data."""
    layers = find_layers(model)

    def but(bits: int) -> list[str]:
        others = (layer for layer in layers if layer.name not in precisions or precisions[layer.name].bits != bits)
        return [operation for layer in others for operation in layer.operations]

    if any(precision.bits == 4 for precision in precisions.values()):
        settings4 = Compression(
            "int4", None, settings.sym, settings.group_size, settings.group_size_fallback, all_layers=True
        )
        model = compress_weights(model, settings4, but(4))
    symmetric = settings.sym if settings.weight_format == "int8" else settings.backup_precision == "int8_sym"
    return compress_weights(model, Compression("int8", sym=symmetric), but(8))


def _int4_arguments(
    nncf: Any, settings: Compression, samples: Sequence[Sample] | None, statistics: Path | None
) -> dict[str, Any]:
    metric, backup = settings.sensitivity_metric, settings.backup_precision
    if not samples:  # a component that was not heard: what wants data is left out
        settings = replace(settings, scale_estimation=False, gptq=False)
        metric, statistics = metric and DATA_FREE_METRIC, None
    return {
        "ratio": settings.ratio,
        "group_size": settings.group_size,
        "all_layers": settings.all_layers or None,
        "awq": settings.awq or None,
        "scale_estimation": settings.scale_estimation or None,
        "gptq": settings.gptq or None,
        "sensitivity_metric": metric and nncf.SensitivityMetric(metric),
        "backup_mode": backup and nncf.BackupMode(backup),
        "dataset": nncf.Dataset(list(samples)) if samples else None,
        "subset_size": len(samples) if samples else 128,
        "advanced_parameters": nncf.AdvancedCompressionParameters(
            statistics_path=str(statistics) if statistics else None,
            group_size_fallback_mode=nncf.GroupSizeFallbackMode(settings.group_size_fallback or "adjust"),
        ),
    }


@contextlib.contextmanager
def _nncf() -> Iterator[Any]:
    """Give NNCF, which neither reports to anybody over the network nor writes on the screen while the block runs."""
    os.environ.setdefault(TELEMETRY_OFF, "1")  # read when it is imported
    with contextlib.redirect_stdout(io.StringIO()):
        import nncf
        from nncf.common.logging.logger import nncf_logger

        level = nncf_logger.level
        nncf.set_log_level(40)  # errors; the layers and what they got are in the manifest
        try:
            yield nncf
        finally:
            nncf_logger.setLevel(level)


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """Give the list of what NNCF says while the block runs, where nobody sees it."""
    from nncf.common.logging.logger import nncf_logger

    said: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    screens = nncf_logger.handlers[:]
    level = nncf_logger.level
    nncf_logger.handlers[:] = [handler]
    nncf_logger.setLevel(logging.INFO)
    try:
        yield said
    finally:
        nncf_logger.handlers[:] = screens
        nncf_logger.setLevel(level)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
