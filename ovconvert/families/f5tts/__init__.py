"""F5-TTS with its DiT, both versions, and the Vocos vocoder: checkpoint directory to components."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ovconvert.errors import ConversionError, listing
from ovconvert.families.f5tts import layout, parts
from ovconvert.families.f5tts.settings import MEL, read_settings
from ovconvert.families.f5tts.synthetic import make_checkpoint
from ovconvert.parts import PartedCheckpoint
from ovconvert.spec import Family

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "make_checkpoint", "open_checkpoint", "recognises"]

NAME = "f5tts"
UNUSED = ("initted", "step", "ema_model.mel_spec.*")  # besides what the networks name
# What holds where a request says nothing: the original's solver, guidance, and segments that fade into each other.
GENERATION = {"solver": "euler", "steps": 32, "sway": -1.0, "guidance": 2.0, "silence_ms": 0}


def recognises(source: Path) -> bool:
    """Tell whether `source` has a model and a vocabulary named as the published ones."""
    return (source / layout.VOCABULARY).is_file() and bool(layout.models(source))


def open_checkpoint(source: Path, *, split: bool = True, strict: bool = True) -> Checkpoint:
    """Open and check a checkpoint directory; `split` changes nothing: no component has a cache.

    Raises ConversionError with every missing, misshapen or, if `strict`, unexpected key and every setting that is missing,
    not understood or contradicted by the weights.
    """
    return Checkpoint(layout.read(source), strict=strict)


class Checkpoint(PartedCheckpoint):
    """A checkpoint whose keys and settings were checked. Weights are read when a component is built."""

    def __init__(self, contents: layout.Contents, *, strict: bool) -> None:
        self._contents = contents
        problems: list[str] = []
        settings = read_settings(contents.settings, contents.vocoder_settings, problems)
        if settings is None:  # no component would have a size
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self._settings = settings
        super().__init__(parts.PARTS, contents.shapes, settings)
        self.configure(problems)
        if not problems:
            self.unused = self.check_keys(problems, strict=strict, unused=dict.fromkeys(contents.shapes, UNUSED))
            problems += self._contradictions()
        if problems:
            raise ConversionError(listing(f"the checkpoint {contents.source} cannot be converted:", problems))
        self.files = contents.files
        variant = "1" if settings.text_masked else "0"
        self.family = Family(NAME, variant, settings.sample_rate, parts.DIMS, self.components())

    def read_state(self, state: str) -> Mapping[str, torch.Tensor]:
        """Return the tensors of a state dict."""
        return layout.read_state(self._contents, state)

    def write_assets(self, dest: Path) -> None:
        """Write the vocabulary and the settings of the runtime into `dest`."""
        dest.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._contents.paths["vocabulary"], dest / layout.VOCABULARY)
        settings = {
            "text_masked": self._settings.text_masked,
            "mel": {
                "sample_rate": self._settings.sample_rate,
                "bands": self._settings.bands,
                "hop_length": self._settings.hop_length,
                "n_fft": self._settings.fft,
            },
            "generation": GENERATION,
        }
        (dest / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _contradictions(self) -> list[str]:
        """Return where settings, vocabulary and weights disagree."""
        embedding, estimator, vocoder = (self.configs[part.name] for part in parts.PARTS)
        found = []
        if len(self._contents.symbols) + 1 != embedding.symbols:
            found.append(
                f"{layout.VOCABULARY} has {len(self._contents.symbols)} symbols, the embedding rows for "
                f"{embedding.symbols - 1} and the filler; take the vocabulary that belongs to the model"
            )
        if estimator.width % self._settings.heads:
            found.append(f"the width {estimator.width} is no multiple of the {self._settings.heads} heads of the settings")
        for what, weights, said in (
            ("bands of the model", estimator.mel, self._settings.bands),
            ("bands of the vocoder", vocoder.mel, self._settings.bands),
            ("samples of the vocoder's transform", vocoder.fft, self._settings.fft),
        ):
            if weights != said:
                found.append(f"{what}: {weights} in the weights, {said} in {MEL} of the settings; they must be equal")
        return found
