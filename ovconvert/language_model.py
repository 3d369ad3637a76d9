"""The decoder of a package as a plain language model: ids in, ids out, for engines that know no other.

Which components those are follows from their ports; which of their tensors are which of GPT-2's, a family says.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovconvert.errors import UsageError
from ovconvert.package import Manifest
from ovconvert.spec import Component

POSITION_IDS = "position_ids"


@dataclass(frozen=True)
class Gpt2Names:
    """Which tensors of the decoder and of the embeddings are which part of a GPT-2; `layers` and `norm` are prefixes.

    The tensors below `layers` have GPT-2's own names: `0.attn.c_attn.weight` and so on. `norm` is the last one before the
    head, and `head` has a row per id.
    """

    tokens: str
    positions: str
    layers: str
    norm: str
    head: str


@dataclass(frozen=True)
class Parts:
    """The component that continues a sequence of embeddings, and the one that embeds ids at positions."""

    decoder: Component
    embeddings: Component

    @property
    def ids(self) -> str:
        """The input of the embeddings that takes the ids, (batch, sequence) int64."""
        return next(port.name for port in self.embeddings.inputs if port.name != POSITION_IDS)

    @property
    def embedded(self) -> str:
        """The input of the decoder that takes embeddings, (batch, sequence, width); an output of the embeddings."""
        return self.decoder.inputs[0].name

    @property
    def vocabulary(self) -> int:
        """How many ids there are: the width of the logits."""
        return next(int(port.shape[-1]) for port in self.decoder.outputs if port.name == "logits")


def parts_of(manifest: Manifest) -> Parts:
    """Return the decoder of a package and its embeddings. Raises UsageError if it has no such pair."""
    components = [packed.component for packed in manifest.components]
    for decoder in (component for component in components if component.cache is not None):
        for embeddings in components:
            names = {port.name for port in embeddings.inputs}
            if embeddings.outputs == decoder.inputs[:1] and len(names) == 2 and POSITION_IDS in names:
                return Parts(decoder, embeddings)
    raise UsageError(
        "the package has no language model that continues ids: a decoder with a cache, and a component that embeds ids at "
        f"{POSITION_IDS} for it; have: {', '.join(component.name for component in components)}"
    )
