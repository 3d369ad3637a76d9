"""From a step with explicit cache to the same step with its cache as in-model state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ovconvert.spec import CacheSpec

if TYPE_CHECKING:
    import openvino as ov

BEAM_IDX = "beam_idx"
MASK = 3  # its place among the inputs of ScaledDotProductAttention


def make_stateful(model: ov.Model, cache: CacheSpec) -> ov.Model:
    """Return a copy of `model` whose cache tensors are variables, with a new input `beam_idx` (batch,) int32.

    `beam_idx[b]` is the row of the previous call that row b continues: the cache is gathered by it before it grows. A reset
    state is empty, with the batch of the first input of the next call. Keys and values of a cross attention are made by
    the first call after a reset and read by the others, which ignore the encoder's states; they are not gathered, since
    beams share what they listen to.
    """
    import openvino as ov
    from openvino import opset13 as ops
    from openvino._offline_transformations import apply_make_stateful_transformation

    stateful = model.clone()
    beam_idx = ops.parameter(ov.PartialShape([-1]), ov.Type.i32, name=BEAM_IDX)
    beam_idx.output(0).get_tensor().set_names({BEAM_IDX})
    for past, _ in cache.names():
        value = stateful.input(past)
        readers = value.get_target_inputs()
        gathered = ops.gather(value, beam_idx, ops.constant(np.int64(0)))
        for reader in readers:
            reader.replace_source_output(gathered.output(0))
    stateful.add_parameters([beam_idx])
    stateful.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(stateful, dict(cache.names()))

    # the CPU plugin refuses a state of unknown origin: it starts empty, with as many rows as the call has
    shape_of_first = ops.shape_of(stateful.inputs[0], output_type="i64")
    batch = ops.gather(shape_of_first, ops.constant(np.array([0], np.int64)), ops.constant(np.int64(0)))
    empty = ops.concat([batch, ops.constant(np.array([cache.heads, 0, cache.head_dim], np.int64))], 0)
    for node in stateful.get_ops():
        if node.get_type_name() == "ReadValue":
            node.set_arguments([ops.broadcast(ops.constant(np.float32(0)), empty)])
    _keep_cross(stateful, cache)
    _widen_masks(stateful)
    stateful.validate_nodes_and_infer_types()
    return stateful


def _keep_cross(model: ov.Model, cache: CacheSpec) -> None:
    """Put a variable behind every tensor of the cross attention, whose first value is what the graph computes."""
    from openvino import opset13 as ops
    from openvino.op.util import Variable, VariableInfo

    for _, present in cache.cross_names():
        made = model.output(present).get_node().input_value(0)
        readers = [reader for reader in made.get_target_inputs() if reader.get_node().get_type_name() != "Result"]
        model.remove_result(model.output(present).get_node())
        described = VariableInfo()
        described.variable_id = present
        described.data_type, described.data_shape = made.get_element_type(), made.get_partial_shape()
        variable = Variable(described)
        kept = ops.read_value(made, variable)
        for reader in readers:
            reader.replace_source_output(kept.output(0))
        model.add_sinks([ops.assign(kept, variable)])
        model.add_variables([variable])


def _widen_masks(model: ov.Model) -> None:
    """Give attention without a mask, which the fusion writes as a scalar zero, one of four axes.

    The CPU plugin refuses a scalar mask once it has fused the cache into the attention.
    """
    from openvino import opset13 as ops

    for node in model.get_ops():
        if node.get_type_name() == "ScaledDotProductAttention" and node.get_input_size() > MASK:
            mask = node.input_value(MASK)
            if mask.get_partial_shape().rank.get_length() == 0:
                node.input(MASK).replace_source_output(ops.unsqueeze(mask, ops.constant(np.arange(4))).output(0))
