"""What fewer evaluations of the flow cost: the mel of solvers, schedules and guidances against that of 200 steps.

Codes, latents, noise and voice are the same throughout, so that nothing but the solver differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.fft import rfft

from demo_voice import interval
from demo_voice.interval import Figure
from demo_voice.spoken import Spoken
from demo_voice.synthesise import emotion
from ovconvert.runtime import Request, features
from ovconvert.runtime.engine import Engine
from ovconvert.runtime.programs.indextts2 import Program
from ovconvert.runtime.solve import SOLVERS

CEPSTRA = 24  # coefficients of a mel-cepstral distance, the level left out
TRUTH: dict[str, Any] = {"solver": "euler", "steps": 200}
EXACT: dict[str, Any] = {"solver": "euler", "steps": 25}


@dataclass(frozen=True)
class Row:
    """A setting, its evaluations of the estimator (with and without condition count as two), and how far its mels are.

    Distances are mel-cepstral, in dB, from 200 steps and from the original's 25 at the same guidance and prompt; `snr_db` is
    that of the log-mels from 200 steps.
    """

    settings: dict[str, Any]
    evaluations: float
    from_truth: Figure
    from_exact: Figure
    snr_db: Figure


def settings() -> list[dict[str, Any]]:
    """Return every setting that is tried."""
    found: list[dict[str, Any]] = [dict(EXACT)]
    found += [
        {"solver": solver, "steps": steps // SOLVERS[solver].evaluations, "sway": sway}
        for solver in SOLVERS
        for steps in (16, 12, 10, 8, 6, 4)
        for sway in (0.0, -0.5, -1.0)
    ]
    base = {"solver": "ab2", "steps": 8, "sway": -0.5}
    found += [base | {"guidance_every": every} for every in (2, 4, 8)]
    found += [base | {"guidance_interval": (0.0, end)} for end in (0.25, 0.5, 0.75)]
    found += [base | {"guidance_interval": (start, 1.0)} for start in (0.1, 0.25)]
    found += [base | {"prompt_seconds": seconds} for seconds in (0.5, 1.0, 2.0)]
    few = {"solver": "dpm++", "sway": -1.0}
    found += [
        few | {"steps": steps, "guidance_interval": (0.0, end)} for steps in (8, 6, 5) for end in (0.25, 0.4, 0.6, 0.75)
    ]
    return found


def measure(
    package: Path, rows: Sequence[Spoken], voices: Path, on_progress: Callable[[int, int], None], **common: Any
) -> list[Row]:
    """Return a row per setting over the recordings `rows`, their codes taken from them; `common` settings hold for all."""
    engine = Engine(package, threads=1)
    program = Program(engine)
    codes = []
    for row in rows:
        stacked, mask = features.semantic_features(row.samples)
        found = engine.run("semantic_encoder", input_features=stacked, attention_mask=mask)["features"]
        codes.append(engine.run("semantic_codec", features=found)["codes"][0])
    engine.release("semantic_encoder", "semantic_codec")

    def mels(chosen: dict[str, Any]) -> list[np.ndarray]:
        return [
            program.spectrum(
                f"{row.text}.",
                code,
                Request(
                    voice=voices / f"{row.speaker}.wav",
                    emotion_vector=emotion(row.style),
                    seed=number,
                    **(common | chosen),
                ),
            )[0]
            for number, (row, code) in enumerate(zip(rows, codes, strict=True))
        ]

    tried = settings()
    truth, exact = mels(TRUTH), mels(EXACT)
    measured = []
    for done, chosen in enumerate(tried, 1):
        found = mels(chosen)
        measured.append(
            Row(
                chosen,
                evaluations(chosen),
                interval.mean([distance(a, b) for a, b in zip(found, truth, strict=True)]),
                interval.mean([distance(a, b) for a, b in zip(found, exact, strict=True)]),
                interval.mean([snr(a, b) for a, b in zip(found, truth, strict=True)]),
            )
        )
        on_progress(done, len(tried))
    return measured


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, the nearest to 200 steps first among those of equal cost."""
    lines = [
        "# Solvers of the flow on the demo voice",
        "",
        f"Mels of {rows[0].from_truth.count} recordings (first of the test set), codes taken from them, guidance 1.5: mean",
        "and 95 % interval over recordings. Truth is Euler's method with 200 steps, exact that with 25, both guided all the",
        "way and with the whole prompt (about 3 s). Written by `python -m demo_voice solvers`. An evaluation is one pass of",
        "the estimator, with or without condition; `sway` is not shown where it is 0.",
        "",
        "| settings | evaluations | distance from truth, dB | from exact, dB | SNR to truth, dB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: (row.evaluations, row.from_truth.value)):
        named = ", ".join(f"{key} {value}" for key, value in row.settings.items() if value != 0.0)
        figures = (f"{f.value:.2f} ({f.low:.2f} to {f.high:.2f})" for f in (row.from_truth, row.from_exact, row.snr_db))
        lines.append(f"| {named} | {row.evaluations:g} | " + " | ".join(figures) + " |")
    return "\n".join(lines) + "\n"


def evaluations(chosen: dict[str, Any]) -> float:
    """Return how many single evaluations of the estimator a setting takes, guidance counted where it is evaluated."""
    from ovconvert.runtime.guidance import Guided
    from ovconvert.runtime.solve import solve, sway_times

    count = 0

    def branches(x: np.ndarray, t: float, mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
        nonlocal count
        count += len(mask)
        return np.zeros((len(weights), *x.shape[1:]), np.float32)

    start, end = chosen.get("guidance_interval", (0.0, 1.0))
    guided = Guided(branches, 1.0, (start, end), chosen.get("guidance_every", 1))
    solve(chosen["solver"], guided, np.zeros((1, 1, 1), np.float32), sway_times(chosen["steps"], chosen.get("sway", 0.0)))
    return count


def distance(mel: np.ndarray, other: np.ndarray) -> float:
    """Return the mel-cepstral distance in dB of two natural-log mels (bands, frames) of equal length.

    10 / ln 10 * sqrt(2 * sum of squared differences of cepstra), averaged over frames (Kubichek 1993), the cepstra by a
    cosine transform of the log-mel.
    """
    difference = cepstra(mel) - cepstra(other)
    return float(10 / np.log(10) * np.mean(np.sqrt(2 * np.square(difference).sum(0))))


def cepstra(mel: np.ndarray) -> np.ndarray:
    """Return cepstra 1 to CEPSTRA (CEPSTRA, frames) of a natural-log mel (bands, frames): the orthonormal DCT-II, scaled so
    that they are the coefficients of the log amplitude's cosine series."""
    bands = len(mel)
    mirrored = rfft(np.concatenate([mel, mel[::-1]]), axis=0)[:bands]
    turn = np.exp(-0.5j * np.pi * np.arange(bands) / bands)[:, None]
    return (mirrored * turn).real[1 : CEPSTRA + 1] / (2 * bands)


def snr(mel: np.ndarray, other: np.ndarray) -> float:
    """Return the signal-to-noise ratio in dB of `mel` against `other`, the mean of `other` taken off both."""
    return float(10 * np.log10(np.square(other - other.mean()).sum() / max(np.square(mel - other).sum(), 1e-12)))
