"""Prints what a package consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from ovconvert import package
from ovconvert.package import Manifest, PackedComponent
from ovconvert.screen import draw
from ovconvert.spec import CacheSpec, Port

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Row:
    """One component as it lies on disk. A file that forms share counts once in `bytes`; -1: a file is missing."""

    component: str
    role: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weight_format: str
    forms: tuple[str, ...]
    cache: CacheSpec | None
    bytes: int
    export: dict[str, float] | None  # seconds and peak_bytes that the export took; None where it left no report


def rows(directory: Path, manifest: Manifest) -> tuple[Row, ...]:
    """Return one row per component of the package at `directory`."""
    costs = _export_costs(directory)
    return tuple(_row(directory, packed, costs.get(packed.component.name)) for packed in manifest.components)


def to_json(directory: Path) -> str:
    """Return the package's description as JSON."""
    manifest = package.load(directory)
    data = {**_heading(manifest), "components": rows(directory, manifest), "lineage": manifest.lineage}
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()


def to_text(directory: Path) -> str:
    """Return the package's description: a heading, a table of components, and the ports of each."""
    from rich.table import Table

    manifest = package.load(directory)
    table = Table("component", "role", "weights", "forms", "cache", "MiB", "export s", "export peak GiB")
    found = rows(directory, manifest)
    for row in found:
        table.add_row(
            row.component,
            row.role,
            row.weight_format,
            ", ".join(row.forms),
            describe_cache(row.cache),
            f"{row.bytes / MIB:.1f}" if row.bytes >= 0 else "missing",
            f"{row.export['seconds']:.1f}" if row.export else "-",
            f"{row.export['peak_bytes'] / GIB:.2f}" if row.export and row.export["peak_bytes"] else "-",
        )
    heading = (f"{key}: {value}" for key, value in _heading(manifest).items())
    return "\n".join([*heading, draw(table), *(line for row in found for line in ports(row))])


def ports(row: Row) -> list[str]:
    """Return the ports of a component, one a line; those of the cache are in the table."""
    ins = (f"  in   {shape(port)}" for port in row.inputs)
    return [row.component, *ins, *(f"  out  {shape(port)}" for port in row.outputs)]


def shape(port: Port) -> str:
    """Return a port as `name: dtype (axis, axis)`."""
    return f"{port.name}: {port.dtype} ({', '.join(map(str, port.shape))})"


def describe_cache(cache: CacheSpec | None) -> str:
    """Return a cache as `layers x heads x head_dim`, "-" for a component without."""
    return f"{cache.layers} x {cache.heads} x {cache.head_dim}" if cache else "-"


def _heading(manifest: Manifest) -> dict[str, object]:
    return {
        "family": manifest.family,
        "variant": manifest.variant,
        "sample_rate": manifest.sample_rate,
        "format": manifest.format,
    }


def _export_costs(directory: Path) -> dict[str, dict[str, float]]:
    """Return what the export noted beside the manifest, by component; nothing where the note was not copied along."""
    path = directory / package.EXPORT_REPORT
    if not path.is_file():
        return {}
    try:
        return {row["component"]: row for row in msgspec.json.decode(path.read_bytes())}
    except (msgspec.DecodeError, TypeError, KeyError):  # the one file that no hash protects
        return {}


def _row(directory: Path, packed: PackedComponent, cost: dict[str, float] | None) -> Row:
    files = {name for graph in packed.graphs.values() for name in (graph.xml, graph.bin)}
    there = all((directory / name).is_file() for name in files)
    component = packed.component
    return Row(
        component=component.name,
        role=component.role,
        inputs=component.inputs,
        outputs=component.outputs,
        weight_format=packed.precision,
        forms=tuple(sorted(packed.graphs)),
        cache=component.cache,
        bytes=sum((directory / name).stat().st_size for name in files) if there else -1,
        export={key: cost[key] for key in ("seconds", "peak_bytes")} if cost else None,
    )
