"""Packages made worse on purpose: the weights of one layer are scaled wrongly."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from ovconvert import package
from ovconvert.graphs.layers import _weight, find_layers, weight_place
from ovconvert.package import Graph


def layer_names(package_dir: Path, name: str) -> list[str]:
    """Return the layers of a component."""
    return [layer.name for layer in find_layers(_read(package_dir, next(iter(_graphs(package_dir, name).values()))))]


def damage(source: Path, dest: Path, name: str, layer: str, factor: float = 1.5) -> Path:
    """Write a copy of a package in which the weights of one layer, or the scales of its integers, are `factor` times theirs.

    All forms of the component get them, and the copy is sealed anew: only its sound gives it away.
    """
    import openvino as ov

    shutil.copytree(source, dest)
    manifest = package.load(dest)
    packed = manifest.packed(name)
    models = {form: _read(dest, graph) for form, graph in packed.graphs.items()}
    graphs = {}
    for form, model in models.items():
        _scale(model, layer, factor)
        graphs[form] = Graph(f"damaged_{form}.xml", f"damaged_{form}.bin")
        ov.save_model(model, dest / graphs[form].xml, compress_to_fp16=False)
    for graph in packed.graphs.values():
        for file in (graph.xml, graph.bin):
            (dest / file).unlink(missing_ok=True)
    components = tuple(
        dataclasses.replace(one, graphs=graphs) if one.component.name == name else one for one in manifest.components
    )
    package.save(dataclasses.replace(manifest, components=components, files=package.seal(dest)), dest)
    return dest


def _scale(model: Any, layer: str, factor: float) -> None:
    from openvino import opset13 as ops

    found = next(one for one in find_layers(model) if one.name == layer)
    node = next(node for node in model.get_ops() if node.get_friendly_name() == found.operations[0])
    weight = _weight(node.input_value(weight_place(node)).get_node())
    assert weight is not None
    constant = weight.constant if weight.scale is None else weight.scale
    values = constant.get_data()
    scaled = ops.constant((values * factor).astype(values.dtype))
    scaled.set_friendly_name(constant.get_friendly_name())
    for reader in constant.output(0).get_target_inputs():
        reader.replace_source_output(scaled.output(0))
    model.validate_nodes_and_infer_types()


def _graphs(package_dir: Path, name: str) -> dict[str, Graph]:
    return package.load(package_dir).packed(name).graphs


def _read(package_dir: Path, graph: Graph) -> Any:
    import openvino as ov

    return ov.Core().read_model(package_dir / graph.xml, package_dir / graph.bin)
