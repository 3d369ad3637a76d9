"""A monolithic encoder-decoder as ONNX, understood: its decoder's input, its attentions, and what its encoder says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovconvert.errors import ConversionError, UsageError
from ovconvert.graphs.flow import Flow

if TYPE_CHECKING:
    import onnx

DECODER = ("decoder", "target", "tgt")  # what the names of a decoder's inputs have in them
MASK = "mask"
LOGITS = "logits"
# what may stand between the product of queries and keys, the softmax, and the product with the values
BETWEEN = (
    *("Add", "Sub", "Mul", "Div", "Where", "Min", "Max", "Clip", "Cast", "Identity", "Dropout", "Reshape", "Softmax"),
    *("IsNaN", "Tanh"),
)


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention: the product of queries and keys, the product with the values, and all tensors between the two."""

    product: onnx.NodeProto
    mix: onnx.NodeProto
    between: frozenset[str]
    crosses: bool  # the keys are made from the encoder's inputs


@dataclass(frozen=True, eq=False)
class Whole:
    """What depends on what in a monolith.

    `words` is the decoder's input, `masks` its inputs that cover all positions. `said` are the tensors that are made from
    the values of the words, `sized` those that are made from their number or from `masks`, `heard` those that are made from
    the encoder's inputs alone. A tensor that is made from the encoder's values and from the size of the words' batch is in
    `sized`. `states` is the last tensor that all cross attentions listen to.
    """

    flow: Flow
    words: str
    masks: tuple[str, ...]
    encoder_inputs: tuple[str, ...]
    said: frozenset[str]
    sized: frozenset[str]
    heard: frozenset[str]
    attentions: tuple[Attention, ...]
    states: str
    logits: str


def understand(
    model: onnx.ModelProto,
    inputs: Sequence[str],
    *,
    decoder_inputs: Sequence[str] = (),
    encoder_output: str = "",
    logits: str = "",
) -> Whole:
    """Return what the graph is made of; `inputs` are its inputs without weights.

    Raises UsageError for names that it lacks and where a name has to be given, ConversionError if there is no encoder or no
    decoder that attends to itself and to an encoder.
    """
    flow = Flow(model)
    inner = sorted(
        {node.op_type for node in flow.nodes if any(item.HasField("g") or item.graphs for item in node.attribute)}
    )
    if inner:
        raise ConversionError(f"graphs inside of nodes ({', '.join(inner)}) cannot be split; export without control flow")
    strange = [name for name in decoder_inputs if name not in inputs]
    if strange:
        raise UsageError(f"--decoder-inputs: {', '.join(strange)}: no such input; have: {', '.join(inputs)}")
    chosen = tuple(decoder_inputs) or tuple(name for name in inputs if any(word in name.lower() for word in DECODER))
    if not chosen:
        chosen = _guess(flow, inputs)
    words = [name for name in chosen if not is_mask(name)]
    if len(words) != 1:
        raise UsageError(
            f"the decoder must have one input besides masks, these are taken for its inputs: {', '.join(chosen)}; name the "
            f"right ones with --decoder-inputs; have: {', '.join(inputs)}"
        )
    masks = tuple(name for name in chosen if name != words[0])
    others = tuple(name for name in inputs if name not in chosen)
    said, sized, heard = _classes(flow, words[0], masks, others)
    found = tuple(attentions(flow, said, flow.reached(others, by_value=True) - said))
    crossing = [one for one in found if one.crosses]
    if not crossing:
        raise ConversionError(
            f"no encoder found: nothing that depends on {words[0]} attends to what is made from "
            f"{', '.join(others) or 'other inputs'}"
        )
    if len(crossing) == len(found):
        raise ConversionError(f"no attention of the decoder to itself was found behind {words[0]}; --at cuts anywhere")
    targets = [one.product.input[1] for one in crossing] + [one.mix.input[1] for one in crossing]
    states, candidates = flow.bottleneck(others, targets)
    if encoder_output:
        _require_between(flow, encoder_output, others, targets, states or ", ".join(candidates))
        states = encoder_output
    if states is None:
        raise UsageError(
            f"no one tensor is all that the cross attentions listen to; candidates: {', '.join(candidates)}. Name one with "
            "--encoder-output if the others are part of the decoder"
        )
    if states in inputs:
        raise ConversionError(f"no encoder found: the cross attentions read the input {states} itself")
    made = [port.name for port in model.graph.output if port.name in said]
    if not logits:
        logits = LOGITS if LOGITS in made else made[0] if len(made) == 1 else ""
    if logits not in made:
        raise UsageError(f"name the output with the scores of the words with --logits; have: {', '.join(made)}")
    return Whole(flow, words[0], masks, others, said, sized, heard, found, states, logits)


def is_mask(name: str) -> bool:
    """Tell whether an input's name says that it is a mask."""
    return MASK in name.lower()


def attentions(flow: Flow, said: Collection[str], heard: Collection[str]) -> Iterable[Attention]:
    """Yield the attentions whose queries are in `said`, in the order of the graph.

    Raises ConversionError for a softmax whose scores are a sum of several products.
    """
    for node in flow.nodes:
        if node.op_type != "Softmax" or node.output[0] not in said:
            continue
        products = [one for one in _products(flow, node.input[0], said) if one.input[1] in said or one.input[1] in heard]
        if not products:
            continue  # of a weight: no attention
        between, mixes = _forward(flow, products[0].output[0], said)
        if len(products) > 1 or len(mixes) != 1 or products[0].input[0] not in said:
            raise ConversionError(
                f"unsupported attention at {node.name or node.output[0]}: its scores come from {len(products)} products and "
                f"go into {len(mixes)}; one of queries and keys, and one with values, can be given a cache. --no-cache "
                "leaves it as it is"
            )
        yield Attention(products[0], mixes[0], frozenset(between), products[0].input[1] in heard)


def _classes(
    flow: Flow, words: str, masks: Sequence[str], others: Sequence[str]
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    said = flow.reached({words}, by_value=True)
    decoder = flow.reached({words, *masks}, by_value=False)
    heard = flow.reached(others, by_value=False)
    return frozenset(said), frozenset(decoder - said), frozenset(heard - decoder)


def _guess(flow: Flow, inputs: Sequence[str]) -> tuple[str, ...]:
    """Return the one input behind which attentions to itself and to the others' tensors are found."""
    found = []
    for name in inputs:
        said = flow.reached({name}, by_value=True)
        heard = flow.reached({other for other in inputs if other != name}, by_value=True) - said
        try:
            kinds = {one.crosses for one in attentions(flow, said, heard)}
        except ConversionError:  # what looks at it is no decoder
            continue
        if kinds == {True, False}:
            found.append(name)
    if len(found) == 1:
        return tuple(found)
    if not found:
        raise ConversionError(
            "no encoder found: behind none of the inputs is there a decoder that attends to itself and to what the others "
            f"say; have: {', '.join(inputs)}"
        )
    raise UsageError(f"several inputs may be the decoder's: {', '.join(found)}; name it with --decoder-inputs")


def _products(flow: Flow, scores: str, said: Collection[str]) -> list[onnx.NodeProto]:
    """Return the products that scores are made from."""
    found: dict[str, onnx.NodeProto] = {}
    pending = [scores]
    seen = set()
    while pending:
        name = pending.pop()
        node = flow.maker.get(name)
        if name in seen or name not in said or node is None:
            continue
        seen.add(name)
        if node.op_type == "MatMul":
            found[name] = node
        elif node.op_type in BETWEEN:
            pending.extend(flow.values_read(node))
    return list(found.values())


def _forward(flow: Flow, product: str, said: Collection[str]) -> tuple[set[str], list[onnx.NodeProto]]:
    """Return the tensors between a product and the next products on its way, and those."""
    between, mixes = {product}, []
    for node in flow.nodes:
        read = between.intersection(flow.values_read(node))
        if not read:
            continue
        if node.op_type == "MatMul":
            mixes.append(node)
        else:
            between.update(name for name in node.output if name in said)
    return between, mixes


def _require_between(flow: Flow, name: str, inputs: Sequence[str], targets: Sequence[str], found: str) -> None:
    """Raise UsageError unless the cross attentions hear of the inputs through `name` alone."""
    if name not in flow.maker:
        raise UsageError(f"--encoder-output {name}: no such tensor; found here: {found}")
    past = set().union(*(_avoiding(flow, target, name) for target in targets)) & set(inputs)
    if past:
        raise UsageError(
            f"--encoder-output {name}: the cross attentions hear of {', '.join(sorted(past))} past it; found here: {found}"
        )


def _avoiding(flow: Flow, target: str, name: str) -> set[str]:
    """Return what `target` is made from by value on ways that do not lead through `name`."""
    found, pending = set(), [target]
    while pending:
        current = pending.pop()
        if current in found or current == name:
            continue
        found.add(current)
        if current in flow.maker:
            pending.extend(flow.values_read(flow.maker[current]))
    return found
