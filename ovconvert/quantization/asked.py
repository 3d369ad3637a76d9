"""Which precision each component and each layer gets: what the options ask for, and what is wrong with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ovconvert import package
from ovconvert.graphs import compress
from ovconvert.graphs.compress import Compression
from ovconvert.graphs.layers import Layer
from ovconvert.options import option
from ovconvert.package import Manifest, PackedComponent
from ovconvert.spec import FLOAT_FORMATS, FULL_INT8, PRECISIONS, Component

# Where quantized activations may pay: parts whose time is spent multiplying. A step waits for its weights, and feeds its
# errors back to itself; 8-bit vocoders were slower and audibly worse wherever they were tried.
FULL_ROLES = ("frontend", "encoder", "estimator")


@dataclass(frozen=True)
class Asked(Compression):
    """Which components and layers to quantize, and how."""

    components: tuple[str, ...] = option(
        (),
        "Components to quantize, comma-separated; the others are copied. Default: all; with --quant-mode the activations of "
        "front end, encoders and estimator, but for those that a family leaves out, and the weights of all.",
    )
    formats: tuple[str, ...] = option(
        (),
        "Precisions of single components, comma-separated: NAME=FORMAT, as vocoder=fp32,decoder=int4; FORMAT is one of "
        f"{', '.join(PRECISIONS)}, the last with INT8 activations.",
    )
    keep: tuple[str, ...] = option(
        (), "More layers that stay in floating point: regular expressions of layer names, or COMPONENT:EXPRESSION."
    )
    keep_fp: bool = option(
        True, "Keep the layers that the package names in floating point; --no-keep-fp quantizes them too."
    )


Wish = TypeVar("Wish", bound=Asked)


def asked_of(component: Component, options: Wish) -> Wish:
    """Return the options as they hold for one component: with the precision that --formats gives it, as if it were named."""
    precision = read_formats(options.formats)[0].get(component.name)
    if precision is None:
        return options
    named = replace(options, components=(component.name,), quant_mode=None, weight_format=precision)
    return replace(named, quant_mode="int8", weight_format="int8") if precision == FULL_INT8 else named


def read_formats(items: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the precision that each component is given, and what is wrong with `items`."""
    found: dict[str, str] = {}
    problems = []
    for item in items:
        name, _, precision = item.partition("=")
        if not name or precision not in PRECISIONS:
            problems.append(f"--formats {item!r}: write COMPONENT=FORMAT; formats: {', '.join(PRECISIONS)}")
        elif name in found:
            problems.append(f"--formats names {name!r} twice")
        else:
            found[name] = precision
    return found, problems


def to_quantize(manifest: Manifest, options: Asked) -> list[PackedComponent]:
    """Return the components that do not stay as they are."""
    formats, _ = read_formats(options.formats)
    named = {*options.components, *formats} if options.components else {one.component.name for one in manifest.components}
    stay = {
        one.component.name
        for one in manifest.components
        if formats.get(one.component.name) == one.weight_format and one.weight_format in FLOAT_FORMATS
    }
    return [one for one in manifest.components if one.component.name in named - stay]


def decides(component: Component) -> bool:
    """Tell whether a component makes choices, such as the codes of a codec: it stays in FP16 unless it is named.

    A choice is right or wrong: of the demo voice's codec, INT8 weights changed one code in fifty.
    """
    return any(not port.dtype.startswith("float") for port in component.outputs)


def full(component: Component, options: Asked) -> bool:
    """Tell whether the activations of a component are quantized too, if that is asked for at all."""
    return component.name in options.components or (not options.components and full_by_default(component))


def full_by_default(component: Component) -> bool:
    """Tell whether a component that is not named has its activations quantized where that is asked for."""
    return component.role in FULL_ROLES and not component.weights_only


def kept(layers: Sequence[Layer], component: Component, options: Asked) -> list[Layer]:
    """Return the layers that stay in floating point: those that component or options name, those that gain nothing."""
    patterns = list(component.keep_fp) if options.keep_fp else []
    patterns += [text for name, text in map(_split, options.keep) if name in ("", component.name)]
    return [layer for layer in layers if compress.gains_nothing(layer) or any(_fits(text, layer) for text in patterns)]


def pattern_problems(patterns: Sequence[str], layers: Mapping[str, Sequence[Layer]]) -> list[str]:
    """Return the patterns that are no expression or match no layer, with the layers that they may have meant.

    `layers` are those of every component that is quantized.
    """
    problems = []
    for pattern in patterns:
        name, text = _split(pattern)
        if name and name not in layers:
            problems.append(f"--keep {pattern!r}: {name!r} is no component that is quantized; have: {', '.join(layers)}")
            continue
        try:
            re.compile(text)
        except re.error as error:
            problems.append(f"--keep {pattern!r} is no regular expression: {error}")
            continue
        asked = [layer for key, found in layers.items() if name in ("", key) for layer in found]
        if not any(_fits(text, layer) for layer in asked):
            near = difflib.get_close_matches(text.replace("\\", ""), [layer.name for layer in asked], n=3, cutoff=0.3)
            meant = near or [layer.name for layer in asked[:3]]
            problems.append(f"--keep {pattern!r} matches no layer; near: {', '.join(meant)}")
    return problems


def _split(pattern: str) -> tuple[str, str]:
    """Return (component, expression) of `component:expression`; no component if there is none before a colon."""
    name, colon, text = pattern.partition(":")
    return (name, text) if colon and package.plain(name) else ("", pattern)


def _fits(pattern: str, layer: Layer) -> bool:
    return re.fullmatch(pattern, layer.name) is not None
