"""Saving an IR: precision stated, load-time defaults pinned, weights shared between forms of one component."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

CONSTANT = re.compile(rb'(<data [^>]*?offset=")(\d+)(" size=")(\d+)(")')
COUNTED = re.compile(r"[A-Za-z0-9]+_\d+(_compressed)?")
ALIGNMENT = 64
SMALL = 4096  # values


def save_ir(model: ov.Model, xml: Path, *, weight_format: str, runtime_options: Mapping[str, str]) -> None:
    """Write `model` as IR with its weights in `weight_format` and `runtime_options` pinned in its rt_info.

    Cache precision and the quantization of activations are otherwise decided by defaults that change between releases.
    With fp16 the model itself is changed: its large constants become float16. Integers it must have already.
    """
    import openvino as ov

    if weight_format == "fp16":
        halve(model)
    for key, value in runtime_options.items():
        model.set_rt_info(value, ["runtime_options", key])
    model.set_rt_info(weight_format, ["ovconvert", "weight_format"])
    number_names(model)
    ov.save_model(model, xml, compress_to_fp16=False)


def number_names(model: ov.Model) -> None:
    """Give operations without a name of their own one by their place in the graph, which no other has.

    OpenVINO numbers them by a counter of the process, so that the same model would never give the same file twice.
    """
    nodes = list(enumerate(model.get_ordered_ops()))
    anonymous = [
        (place, node)
        for place, node in nodes
        if node.get_type_name() != "Parameter" and COUNTED.fullmatch(node.get_friendly_name())
    ]
    taken = {node.get_friendly_name() for _, node in nodes} - {node.get_friendly_name() for _, node in anonymous}
    for place, node in anonymous:
        name = f"{node.get_type_name()}:{place}"
        while name in taken:  # of an earlier numbering, before the graph was changed
            name += "+"
        taken.add(name)
        node.set_friendly_name(name)


def halve(model: ov.Model, also: Collection[str] = ()) -> None:
    """Turn the large float32 constants of `model`, and those named in `also`, into float16 with a decompression that the
    plugin keeps. OpenVINO does nothing to a model whose weights are compressed already, so this comes first.

    OpenVINO's own compression takes all constants. Small ones stay float32 here: they weigh nothing, and a table of
    frequencies rounded to float16 turns a time embedding of argument 1000 by half a radian.
    """
    from openvino import opset13 as ops
    from openvino._offline_transformations import compress_model_transformation

    small = {
        node.get_friendly_name(): node.get_data().copy()
        for node in model.get_ops()
        if node.get_type_name() == "Constant"
        and node.get_output_element_type(0).get_type_name() == "f32"
        and math.prod(node.get_output_shape(0)) < SMALL
        and node.get_friendly_name() not in also
    }
    compress_model_transformation(model)
    for node in model.get_ops():
        name = node.get_friendly_name()
        if node.get_type_name() != "Convert" or name not in small:
            continue
        if node.input_value(0).get_node().get_friendly_name() == f"{name}_compressed":
            original = ops.constant(small[name])
            original.set_friendly_name(name)
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(original.output(0))


def share_weights(xml: Path, owner: Path) -> int:
    """Make the IR at `xml` read the .bin of the IR `owner`, and delete its own; return the bytes that were added to it.

    Constants that the owner's file lacks are appended to it. The two graphs must come from one model, so that nearly all
    constants are equal.
    """
    own_bin, shared_bin = xml.with_suffix(".bin"), owner.with_suffix(".bin")
    places = _constants(owner)
    text = xml.read_bytes()
    added = 0
    moved: dict[tuple[int, int], int] = {}
    with shared_bin.open("r+b") as shared:
        for offset, size, digest in _constants_of(text, own_bin):
            place = places.get((size, digest))
            if place is None:
                shared.seek(0, 2)
                padding = -shared.tell() % ALIGNMENT
                place = shared.tell() + padding
                shared.write(b"\0" * padding + _slice(own_bin, offset, size))
                places[size, digest] = place
                added += size + padding
            moved[offset, size] = place

    def relocated(match: re.Match[bytes]) -> bytes:
        head, offset, middle, size, tail = match.groups()
        return head + str(moved[int(offset), int(size)]).encode() + middle + size + tail

    xml.write_bytes(CONSTANT.sub(relocated, text))
    own_bin.unlink()
    return added


def _constants(xml: Path) -> dict[tuple[int, bytes], int]:
    """Return {(size, digest): offset} of the constants of an IR."""
    return {(size, digest): offset for offset, size, digest in _constants_of(xml.read_bytes(), xml.with_suffix(".bin"))}


def _constants_of(text: bytes, weights: Path) -> list[tuple[int, int, bytes]]:
    """Return (offset, size, digest) per distinct constant of an IR's text."""
    spans = sorted({(int(match[2]), int(match[4])) for match in CONSTANT.finditer(text)})
    # read piece by piece: a mapped file of gigabytes would count as resident memory
    return [(offset, size, hashlib.sha256(_slice(weights, offset, size)).digest()) for offset, size in spans]


def _slice(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
