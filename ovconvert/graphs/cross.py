"""The two halves of a step with cross attention: what is made once per sequence, and what reads it at every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovconvert.spec import CacheSpec

if TYPE_CHECKING:
    import openvino as ov


def cross_part(model: ov.Model, cache: CacheSpec) -> ov.Model:
    """Return the graph from the encoder's states to the keys and values of every layer, cut out of a copy of `model`."""
    import openvino as ov

    copy = model.clone()
    results = [copy.output(present).get_node() for _, present in cache.cross_names()]
    source = copy.input(cache.cross).get_node()
    part = ov.Model(results, [source], "cross")
    for node in part.get_ops():
        if node.get_type_name() not in ("Parameter", "Result"):
            for output in node.outputs():
                output.get_tensor().set_names(set())  # a tensor that is renamed when compiled keeps its old name beside
    for result, (_, present) in zip(results, cache.cross_names(), strict=True):
        result.input_value(0).get_tensor().set_names({present})
    return part


def step_part(model: ov.Model, cache: CacheSpec) -> ov.Model:
    """Return a copy of `model` that takes the keys and values of the cross attention instead of the encoder's states."""
    from openvino import opset13 as ops

    copy = model.clone()
    taken = []
    for past, present in cache.cross_names():
        made = copy.output(present).get_node().input_value(0)
        copy.remove_result(copy.output(present).get_node())
        parameter = ops.parameter(made.get_partial_shape(), made.get_element_type(), name=past)
        parameter.output(0).get_tensor().set_names({past})
        for reader in made.get_target_inputs():
            reader.replace_source_output(parameter.output(0))
        taken.append(parameter)
    copy.add_parameters(taken)
    copy.remove_parameter(copy.input(cache.cross).get_node())
    copy.validate_nodes_and_infer_types()
    return copy
