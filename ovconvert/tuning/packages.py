"""The packages that are tried: the source in one precision, and mixtures that take each component from one of those."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import msgspec

from ovconvert import calibration, package
from ovconvert.errors import ConversionError
from ovconvert.options import Progress, silent
from ovconvert.package import Manifest, PackedComponent
from ovconvert.quantization.asked import decides, full_by_default
from ovconvert.spec import FLOAT_FORMATS, FULL_INT8, PRECISIONS
from ovconvert.stages import quantize

DIGITS = 12
TOOLS = ("ovconvert", "openvino", "nncf")

Formats = Mapping[str, str]  # component: precision


class Shelf:
    """Packages made of one float package, below `room`. Each component is made once in every precision."""

    def __init__(self, source: Path, room: Path, dataset: Path | None = None, precisions: Sequence[str] = ()) -> None:
        self.source, self.dataset = source, dataset
        self.manifest: Manifest = package.load(source)
        self._room = room
        self._heard = _heard(dataset) if dataset else frozenset()
        self._identity = [
            package.sha256(source / package.MANIFEST),
            package.sha256(dataset / calibration.MANIFEST) if dataset else "",
            {name: version(name) for name in TOOLS},
        ]
        self.precisions = self._precisions(precisions or PRECISIONS)

    @property
    def formats(self) -> dict[str, str]:
        """Return the precisions of the source."""
        return {packed.component.name: packed.precision for packed in self.manifest.components}

    def _precisions(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Return those that the source can be had in, the most exact first, each that makes a difference."""
        found: dict[str, dict[str, str]] = {}
        for precision in (one for one in PRECISIONS if one in asked):
            formats = self.uniform_formats(precision)
            if formats is not None and formats not in found.values():
                found[precision] = formats
        return tuple(found)

    def uniform_formats(self, precision: str) -> dict[str, str] | None:
        """Return what `quantize` makes of all components if `precision` is asked for, None if the source does not have it.

        A component that makes choices stays in FP16 at integers. INT8 activations are for those that `quantize` offers them
        to and that the dataset heard; the others get INT8 weights.
        """
        if precision == "fp32" and any(packed.weight_format != "fp32" for packed in self.manifest.components):
            return None
        if precision == FULL_INT8 and not self._heard:
            return None
        return {packed.component.name: self._offered(packed, precision) for packed in self.manifest.components}

    def _offered(self, packed: PackedComponent, precision: str) -> str:
        component = packed.component
        if precision in FLOAT_FORMATS:
            return precision
        if decides(component):
            return "fp16"
        if precision == FULL_INT8 and not (
            full_by_default(component) and component.name in self._heard and component.cache is None
        ):
            return "int8"
        return precision

    def uniform(self, precision: str, progress: Progress = silent) -> Path:
        """Return the package in one precision; made if it is not there. Raises as `quantize` does."""
        formats = self.uniform_formats(precision)
        assert formats is not None
        if formats == self.formats:
            return self.source
        dest = self._place(precision, formats)
        return dest if dest.exists() else quantize.run(self.source, dest, self.asked(formats), progress)

    def mixed(self, formats: Formats) -> Path:
        """Return a package with these precisions, each component taken from a uniform package that has it."""
        if dict(formats) == self.formats:
            return self.source
        alike = next((one for one in self.precisions if self.uniform_formats(one) == dict(formats)), None)
        if alike:
            return self.uniform(alike)
        dest = self._place("mixed", formats)
        if not dest.exists():
            with package.whole(dest) as partial:
                self._assemble(formats, partial)
        return dest

    def final(self, formats: Formats, dest: Path, progress: Progress = silent) -> Path:
        """Return the package that `quantize` makes with these precisions, which is what was judged, bit for bit.

        One that is there already is kept. Raises ConversionError if what is made is not what was judged.
        """
        judged = package.load(self.mixed(formats)).files
        if not self._is_there(dest, formats):
            quantize.run(self.source, dest, replace(self.asked(formats), force=True), progress)
        made = package.load(dest).files
        other = sorted(name for name in made if made[name] != judged.get(name))
        if other:
            raise ConversionError(f"quantize made other files than those that were judged: {', '.join(other)}")
        return dest

    def _is_there(self, dest: Path, formats: Formats) -> bool:
        """Tell whether `dest` is what `quantize` makes of this source with these precisions."""
        if not (dest / package.MANIFEST).is_file():
            return False
        steps = package.load(dest).lineage.get(quantize.LINEAGE, [])
        last = steps[-1] if isinstance(steps, list) and steps else {}
        asked = list(self.asked(formats).formats)
        return last.get("package") == self._identity[0] and last.get("options", {}).get("formats") == asked

    def asked(self, formats: Formats) -> quantize.Options:
        """Return the options of `quantize` that make these precisions."""
        dataset = self.dataset if FULL_INT8 in formats.values() else None
        return quantize.Options(formats=tuple(f"{name}={precision}" for name, precision in formats.items()), dataset=dataset)

    def bytes_of(self, name: str, precision: str) -> int:
        """Return the size of the files of a component in a precision."""
        place, packed = self._owner(name, precision)
        files = {file for graph in packed.graphs.values() for file in (graph.xml, graph.bin)}
        return sum((place / file).stat().st_size for file in files)

    def _owner(self, name: str, precision: str) -> tuple[Path, PackedComponent]:
        """Return a package that has the component in the precision, and its entry."""
        if self.formats[name] == precision:
            return self.source, self.manifest.packed(name)
        for uniform in self.precisions:
            formats = self.uniform_formats(uniform)
            if formats is not None and formats[name] == precision:
                place = self.uniform(uniform)
                return place, package.load(place).packed(name)
        raise AssertionError(f"{name} is not offered in {precision}")

    def _assemble(self, formats: Formats, dest: Path) -> None:
        graphs = {file for packed in self.manifest.components for graph in packed.graphs.values()
                  for file in (graph.xml, graph.bin)}  # fmt: skip
        files = {name: digest for name, digest in self.manifest.files.items()
                 if name not in graphs and not name.startswith(quantize.ONNX)}  # fmt: skip
        places = dict.fromkeys(files, self.source)
        entries = []
        for packed in self.manifest.components:
            place, entry = self._owner(packed.component.name, formats[packed.component.name])
            digests = package.load(place).files
            for name in {name for graph in entry.graphs.values() for name in (graph.xml, graph.bin)}:
                files[name], places[name] = digests[name], place
            entries.append(entry)
        for name, place in places.items():
            (dest / name).parent.mkdir(parents=True, exist_ok=True)
            _link(place / name, dest / name)
        package.save(replace(self.manifest, components=tuple(entries), files=files), dest)

    def _place(self, name: str, formats: Formats) -> Path:
        whole = msgspec.json.encode([*self._identity, dict(formats)], order="sorted")
        return self._room / f"{name}-{hashlib.sha256(whole).hexdigest()[:DIGITS]}"


def _heard(dataset: Path) -> frozenset[str]:
    return frozenset(sample.component for sample in calibration.load(dataset).samples)


def _link(source: Path, dest: Path) -> None:
    """Give a file a second name; copy it where the disk cannot."""
    try:
        os.link(source, dest)
    except OSError:
        shutil.copyfile(source, dest)
