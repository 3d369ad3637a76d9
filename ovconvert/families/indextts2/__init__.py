"""IndexTTS2, versions 2.0 and 2.5: checkpoint directory to components."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ovconvert.errors import ConversionError, listing
from ovconvert.families.indextts2 import layout, parts
from ovconvert.families.indextts2.assets import read_settings, write_assets
from ovconvert.families.indextts2.checks import contradictions, lookup, misstated
from ovconvert.families.indextts2.synthetic import make_checkpoint
from ovconvert.generation import read_generation
from ovconvert.parts import PartedCheckpoint
from ovconvert.spec import Family

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "make_checkpoint", "open_checkpoint", "recognises"]


def recognises(source: Path) -> bool:
    """Tell whether `source` has the two files that only this family has side by side."""
    return layout.locate(source, layout.GPT) is not None and (source / "s2mel.pth").is_file()


def open_checkpoint(source: Path, *, split: bool = True, strict: bool = True) -> Checkpoint:
    """Open and check a checkpoint directory; with `split` False the decoder is the full sequence without a cache.

    Raises ConversionError with every missing, misshapen or unexpected key and every contradiction of config.yaml; without
    `strict`, unexpected keys count as unused.
    """
    return Checkpoint(layout.read(source), split=split, strict=strict)


class Checkpoint(PartedCheckpoint):
    """A checkpoint whose keys and sizes were checked. Weights are read when a component is built."""

    def __init__(self, contents: layout.Contents, *, split: bool, strict: bool) -> None:
        self._contents = contents
        self.variant = "2.5" if "lang_embedding.weight" in contents.shapes["gpt"] else "2.0"
        chosen = parts.PARTS[self.variant]
        if not split:
            chosen = tuple(parts.FULL_SEQUENCE_DECODER if part is parts.DECODER else part for part in chosen)
        if contents.classifier is not None:
            chosen += (parts.EMOTION_CLASSIFIER,)
        super().__init__(chosen, contents.shapes, contents)
        fatal = misstated(contents.config)
        problems = [*fatal]
        generation = read_generation(contents.generation, problems)
        if fatal:  # no component would have a size
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self.configure(problems)
        dead = dict.fromkeys(parts.DEAD[self.variant], ("*",))
        self.unused = self.check_keys(problems, strict=strict, unused=dead)
        shapes = {name: tuple(matrix.shape) for name, matrix in contents.matrices.items()}
        problems += contradictions(contents.config, self.configs, shapes)
        self._settings = read_settings(contents, self.configs, self.variant, problems) | {"generation": generation}
        if problems:
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self.files = contents.files
        rate = int(lookup(contents.config, "s2mel.preprocess_params.sr"))
        self.family = Family("indextts2", self.variant, rate, parts.DIMS, self.components())

    def read_state(self, state: str) -> Mapping[str, torch.Tensor]:
        """Return the tensors of a state dict; folded ones are computed when they are asked for."""
        return layout.read_state(self._contents, state)

    def write_assets(self, dest: Path) -> None:
        """Write tokenizers, matrices and settings into `dest`."""
        write_assets(dest, self._contents, self._settings)
