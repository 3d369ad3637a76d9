"""The trainings in the order in which they need each other, with the steps and the time that each takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demo_voice import classifier, flow, language_model, semantic, speaker, vocoder

Train = Callable[..., None]


@dataclass(frozen=True)
class Step:
    """A training: `run(work, steps, seed)`; `falls` names the loss that must fall, `quick` how many steps show it."""

    name: str
    run: Train
    steps: int
    quick: int
    falls: str


STEPS: tuple[Step, ...] = (
    Step("features", semantic.train_features, 1400, 24, "code"),
    Step("codec", semantic.train_codec, 1500, 30, "code"),
    Step("speaker", speaker.train, 500, 12, "speaker"),
    Step("language_model", language_model.train, 2700, 10, "code"),
    Step("flow", flow.train, 4300, 8, "velocity"),
    Step("vocoder", vocoder.train, 9000, 8, "mel"),
    Step("classifier", classifier.train, 1500, 12, "loss"),
)
