"""The model card: README.md of the checkpoint, its tables drawn from the measured figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from string import Template
from typing import Any

from demo_voice.steps import STEPS
from ovconvert.families.indextts2 import layout

KINDS = {
    "corpus": "the corpus's own recordings",
    "vocoder": "vocoder alone, from the true mel",
    "flow": "codes, flow and vocoder, from the recording",
    "flow_100_steps": "the same with 100 solver steps",
    "original": "full synthesis, PyTorch",
    "graphs": "full synthesis, OpenVINO, float32",
}
# which state dicts of the checkpoint a training fills
STATES = {
    "features": ("w2v_bert", "w2v_stats"),
    "codec": ("codec",),
    "speaker": ("campplus",),
    "language_model": ("gpt",),
    "flow": ("cfm", "length_regulator", "gpt_layer"),
    "vocoder": ("bigvgan",),
    "classifier": ("qwen",),
}
MEASURES = {"pitch": "pitch", "spread": "range of pitch", "rate": "speaking rate"}


def write(work: Path, template: Path, checkpoint: Path) -> None:
    """Write README.md into `checkpoint`: the template filled with the figures in WORK.

    Raises KeyError for a figure that is missing.
    """
    figures = work / "figures"
    found = {
        path.name.removesuffix(".json"): json.loads(path.read_text(encoding="utf-8")) for path in figures.glob("*.json")
    }
    text = template.read_text(encoding="utf-8")
    filled = {
        "understood": _understood(found),
        "sound": _sound(found),
        "speakers": _speakers(found),
        "styles": _styles(found),
        "failures": _failures(found),
        "seeds": _seeds(found),
        "speeds": _speeds(figures),
        "agreement": _agreement(found["agreement"]),
        "training": _training(work, checkpoint),
        "parameters": f"{sum(_parameters(checkpoint).values()) / 1e6:.1f} million",
        "megabytes": f"{sum(path.stat().st_size for path in checkpoint.rglob('*') if path.is_file()) / 1e6:.0f}",
    }
    (checkpoint / "README.md").write_text(Template(text).substitute(filled), encoding="utf-8")


def _understood(found: Mapping[str, Any]) -> str:
    rows = []
    for kind, words in KINDS.items():
        domain = found[kind]["word_error_rate"]["domain"]["all"]
        general = found[f"{kind}.heard"]["word_error_rate"]["general"]["all"]
        rows.append((words, str(domain["count"]), _percent(domain), _percent(general)))
    return _table(("audio", "sentences", "word error rate, language model of the domain", "general language model"), rows)


def _sound(found: Mapping[str, Any]) -> str:
    rows = []
    for kind, words in KINDS.items():
        opinion = found[f"{kind}.heard"]["opinion"]["all"]
        rows.append((words, *(_plain(opinion[name]) for name in ("overall", "signal", "background", "p808"))))
    return _table(("audio", "DNSMOS overall", "signal", "background", "P.808"), rows)


def _speakers(found: Mapping[str, Any]) -> str:
    rows = []
    for kind, words in KINDS.items():
        voices = found[kind].get("voices") or found[f"{kind}.heard"]["voices"]
        one = voices["all"]
        rows.append((words, str(one["right"]["count"]), _percent(one["right"]), _plain(one["own"]), _plain(one["lead"])))
    return _table(("audio", "utterances", "right speaker nearest", "cosine to it", "lead over the next"), rows)


def _styles(found: Mapping[str, Any]) -> str:
    rows = []
    for kind in ("original", "graphs"):
        for name, words in MEASURES.items():
            one = found[kind]["directions"][name]
            rows.append(
                (KINDS[kind], words, str(one["moves"]), str(one["right"]), str(one["certain"]), f"{one['share']:.2f}")
            )
    return _table(
        ("audio", "what", "moves in the source", "same direction", "of these certain", "size against the source"), rows
    )


def _failures(found: Mapping[str, Any]) -> str:
    rows = []
    for kind, words in KINDS.items():
        one = found[kind]["failures"]
        rows.append(
            (words, str(found[kind]["utterances"]), *(str(one[name]) for name in ("silent", "truncated", "looping")))
        )
    return _table(("audio", "utterances", "silent", "truncated", "looping"), rows)


def _seeds(found: Mapping[str, Any]) -> str:
    rows = []
    for kind in [
        "graphs",
        *sorted(name for name in found if name.startswith("seed_") and not name.endswith(".heard")),
    ]:
        one = found[kind]
        error, ratio = one["word_error_rate"]["domain"]["all"], one["duration_ratio"]
        rows.append((kind, str(one["utterances"]), _percent(error), _plain(ratio)))
    return _table(("seeds", "sentences", "word error rate", "duration against the expected"), rows)


def _speeds(figures: Path) -> str:
    from demo_voice import spoken

    plain = spoken.load(figures / "graphs")
    rows = []
    for path in sorted(figures.glob("speed_*")):
        if path.is_dir():
            changed = spoken.load(path)
            factors = [one.seconds / other.seconds for one, other in zip(plain, changed, strict=False)]
            asked = changed[0].speed
            rows.append((f"{asked:g}", str(len(factors)), f"{min(factors):.3f} to {max(factors):.3f}"))
    return _table(("speed asked for", "sentences", "durations are shorter by"), rows)


def _agreement(found: Mapping[str, Any]) -> str:
    rows = [
        (name, str(one["tokens"]), _percent(one["top1"]), _plain(one["divergence"], 4), _percent(one["accuracy"]))
        for name, one in found.items()
    ]
    return _table(("weights", "codes", "same first choice", "divergence, nats", "right codes"), rows)


def _training(work: Path, checkpoint: Path) -> str:
    kept = _parameters(checkpoint)
    rows = []
    for step in STEPS:
        last = json.loads((work / step.name / "losses.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        count = sum(kept[name] for name in STATES[step.name])
        rows.append((step.name, str(last["step"]), f"{last['seconds'] / 60:.0f} min", f"{count / 1e6:.2f} million"))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _parameters(checkpoint: Path) -> dict[str, int]:
    """Return how many numbers each state dict of the checkpoint has."""
    contents = layout.read(checkpoint)
    return {name: sum(prod(shape) for shape in shapes.values()) for name, shapes in contents.shapes.items()}


def _percent(figure: Mapping[str, Any]) -> str:
    return f"{100 * figure['value']:.1f} % ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def _plain(figure: Mapping[str, Any], digits: int = 2) -> str:
    return f"{figure['value']:.{digits}f} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
