"""Copy-synthesis: the corpus's own speech taken apart and put together again, from three depths.

`vocoder` starts from the true mel, `flow` from the codes of the recording and the language model's states over them. What
the full synthesis loses more than `flow` is the language model's doing, what `flow` loses more than `vocoder` is that of the
codes and the flow; `flow` with many solver steps tells how much of it is the solver's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from demo_voice.data import MEL
from demo_voice.spoken import Spoken
from demo_voice.synthesise import emotion
from ovconvert.runtime import Request, features
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.indextts2 import Program


def vocoder(engine: Engine, rows: Sequence[Spoken]) -> Iterator[Spoken]:
    """Yield the recordings made anew from their mel spectra."""
    for row in rows:
        mel = features.log_mel(row.samples, **MEL)
        wave = engine.run("vocoder", mel=mel)["waveform"].reshape(-1)
        yield Spoken(row.text, row.speaker, row.style, wave)


def flow(engine: Engine, rows: Sequence[Spoken], voices: Path, *, seed: int = 0, **settings: Any) -> Iterator[Spoken]:
    """Yield the recordings made anew from their codes, in the voice and the emotion that full synthesis is given."""
    program = Program(engine)
    for number, row in enumerate(rows):
        stacked, mask = features.semantic_features(row.samples)
        found = engine.run("semantic_encoder", input_features=stacked, attention_mask=mask)["features"]
        codes = engine.run("semantic_codec", features=found)["codes"][0]
        request = Request(
            voice=voices / f"{row.speaker}.wav", emotion_vector=emotion(row.style), seed=seed + number, **settings
        )
        yield Spoken(row.text, row.speaker, row.style, program.render(f"{row.text}.", codes, request))
