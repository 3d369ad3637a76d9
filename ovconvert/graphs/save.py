"""Saving an IR: precision stated, load-time defaults pinned, weights shared between forms of one component."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

CONSTANT = re.compile(rb'(<data [^>]*?offset=")(\d+)(" size=")(\d+)(")')
ALIGNMENT = 64


def save_ir(model: ov.Model, xml: Path, *, weight_format: str, runtime_options: Mapping[str, str]) -> None:
    """Write `model` as IR with its weights in `weight_format` and `runtime_options` pinned in its rt_info.

    Cache precision and the quantization of activations are otherwise decided by defaults that change between releases.
    """
    import openvino as ov

    for key, value in runtime_options.items():
        model.set_rt_info(value, ["runtime_options", key])
    model.set_rt_info(weight_format, ["ovconvert", "weight_format"])
    ov.save_model(model, xml, compress_to_fp16=weight_format == "fp16")


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
    return {
        (size, digest): offset for offset, size, digest in _constants_of(xml.read_bytes(), xml.with_suffix(".bin"))
    }


def _constants_of(text: bytes, weights: Path) -> list[tuple[int, int, bytes]]:
    """Return (offset, size, digest) per distinct constant of an IR's text."""
    spans = sorted({(int(match[2]), int(match[4])) for match in CONSTANT.finditer(text)})
    if weights.stat().st_size == 0:
        return [(offset, size, b"") for offset, size in spans]
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [
            (offset, size, hashlib.sha256(memoryview(data)[offset : offset + size]).digest()) for offset, size in spans
        ]


def _slice(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
