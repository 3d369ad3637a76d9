"""All figures of a list of utterances, whatever made them: the corpus, copy-synthesis or the whole model.

What is measured of each utterance is kept in a file beside the figures, so a run that was broken off goes on where it was.
An utterance that was measured without one of the packages is measured anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demo_voice import interval, prosody
from demo_voice.interval import Figure
from demo_voice.meter import Instruments, Meter, Row
from demo_voice.prosody import Prosody
from demo_voice.spoken import Spoken

OPINIONS = ("overall", "signal", "background", "p808")
MODELS = ("domain", "general")


def evaluate(
    spoken: Sequence[Spoken],
    instruments: Instruments,
    dest: Path,
    *,
    source: Mapping[str, Any] | None = None,
    processes: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Return the figures of utterances and write them to `dest` (JSON) with every utterance's row in `dest`.rows.jsonl.

    `source`, the figures of the corpus's own audio, lets the directions of the styles be compared with it. Packages that are
    not installed are named under "missing", and their figures are absent.
    """
    rows, missing = _measured(spoken, instruments, dest.with_suffix(".rows.jsonl"), processes, on_progress)
    figures = {"missing": missing, **summarise(rows)}
    if source and "prosody" in figures and "prosody" in source:
        found = prosody.directions(_figures(figures["prosody"]["moves"]), _figures(source["prosody"]["moves"]))
        figures["directions"] = {name: asdict(value) for name, value in found.items()}
    dest.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def summarise(rows: Sequence[Row], seed: int = 0) -> dict[str, Any]:
    """Return the figures of measured rows, each with its interval."""
    figures: dict[str, Any] = {
        "utterances": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "duration_ratio": _mean([row["seconds"] / row["expected_seconds"] for row in rows], seed),
        "failures": _failures(rows),
    }
    figures["word_error_rate"] = {
        model: _by_group(rows, model, _word_error_rate(model), seed) for model in MODELS if any(model in row for row in rows)
    }
    if any("opinion" in row for row in rows):
        figures["opinion"] = _by_group(rows, "opinion", _opinion, seed)
    if any("cosines" in row for row in rows):
        figures["voices"] = _by_group(rows, "cosines", _voices, seed)
    if any("prosody" in row for row in rows):
        figures["prosody"] = _prosody([row for row in rows if "prosody" in row], seed)
    return figures


def speed_factor(normal: Sequence[Spoken], changed: Sequence[Spoken], seed: int = 0) -> Figure:
    """Return how much faster `changed` is than `normal`, the same sentences at speed 1: 1.25 if it is a quarter faster."""
    return interval.ratio([one.seconds for one in normal], [one.seconds for one in changed], seed)


def _measured(
    spoken: Sequence[Spoken], instruments: Instruments, path: Path, processes: int, on_progress: Callable[[int, int], None]
) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of the utterances, in order, and the missing packages."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    known: dict[str, Row] = {row["key"]: row for row in map(json.loads, lines) if not row["missing"]}
    keys = [instruments.fingerprint(one) for one in spoken]
    todo = {key: one for key, one in zip(keys, spoken, strict=True) if key not in known}
    with path.open("a", encoding="utf-8") as file:
        for done, (key, row) in enumerate(zip(todo, _run(list(todo.values()), instruments, processes), strict=True), 1):
            known[key] = row
            file.write(json.dumps({"key": key, **row}) + "\n")
            file.flush()
            on_progress(done, len(todo))
    rows = [known[key] for key in keys]
    return rows, {name: reason for row in rows for name, reason in row["missing"].items()}


_meter: Meter | None = None  # of a worker process


def _run(spoken: Sequence[Spoken], instruments: Instruments, processes: int) -> Iterator[Row]:
    if processes == 1:
        _start(instruments)
        yield from map(_measure, spoken)
        return
    with ProcessPoolExecutor(processes, initializer=_start, initargs=(instruments,)) as pool:
        yield from pool.map(_measure, spoken)


def _start(instruments: Instruments) -> None:
    global _meter  # noqa: PLW0603  the instruments are opened once in each process
    _meter = Meter(instruments)


def _measure(spoken: Spoken) -> Row:
    assert _meter is not None
    return {**_meter.measure(spoken), "missing": _meter.missing}


def _by_group(rows: Sequence[Row], need: str, figure: Callable[[Sequence[Row], int], Any], seed: int) -> dict[str, Any]:
    """Return a figure of all rows that have `need`, and of those of every speaker and of every style."""
    rows = [row for row in rows if need in row]
    found: dict[str, Any] = {"all": figure(rows, seed)}
    for group in ("speaker", "style"):
        names = sorted({row[group] for row in rows})
        found[group] = {name: figure([row for row in rows if row[group] == name], seed) for name in names}
    return found


def _word_error_rate(model: str) -> Callable[[Sequence[Row], int], dict[str, Any]]:
    def figure(rows: Sequence[Row], seed: int) -> dict[str, Any]:
        errors, words = ([row[model][name] for row in rows] for name in ("errors", "words"))
        return asdict(interval.ratio(errors, words, seed))

    return figure


def _opinion(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    return {name: _mean([row["opinion"][name] for row in rows], seed) for name in OPINIONS}


def _voices(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """Return how often the right speaker's cosine is the highest, that cosine, and its lead over the next speaker's."""
    own = [row["cosines"][row["speaker"]] for row in rows]
    next_best = [max(value for name, value in row["cosines"].items() if name != row["speaker"]) for row in rows]
    leads = [mine - other for mine, other in zip(own, next_best, strict=True)]
    taken = Counter(
        max(row["cosines"], key=row["cosines"].__getitem__) for row, lead in zip(rows, leads, strict=True) if lead < 0
    )
    return {
        "right": _mean([float(lead > 0) for lead in leads], seed),
        "own": _mean(own, seed),
        "lead": _mean(leads, seed),
    } | ({"taken_for": dict(taken)} if taken else {})


def _prosody(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """Return the pitch in Hz, its spread in semitones and the words per second of each speaker and style, and the moves."""
    cells: dict[str, dict[str, Any]] = {}
    for speaker, style in sorted({(row["speaker"], row["style"]) for row in rows}):
        mine = [row for row in rows if (row["speaker"], row["style"]) == (speaker, style)]
        cells.setdefault(speaker, {})[style] = _cell(mine, seed)
    found = prosody.moves(((row["speaker"], row["style"], Prosody(**row["prosody"])) for row in rows), seed)
    moves = {
        speaker: {style: {name: asdict(figure) for name, figure in figures.items()} for style, figures in styles.items()}
        for speaker, styles in found.items()
    }
    return {"cells": cells, "moves": moves}


def _cell(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    voiced = [row["prosody"] for row in rows if row["prosody"]["pitch"] is not None]
    if not voiced:
        return {}
    return {
        "pitch_hz": _mean([2 ** (one["pitch"] / 12) for one in voiced], seed),
        "spread_semitones": _mean([one["spread"] for one in voiced], seed),
        "words_per_second": _mean([row["domain"]["words"] / row["seconds"] for row in rows], seed),
    }


def _failures(rows: Sequence[Row]) -> dict[str, Any]:
    """Return how many utterances failed, how many by each name, and which ones."""
    failed = [row for row in rows if row["failures"]]
    names = Counter(failure["name"] for row in failed for failure in row["failures"])
    keep = ("text", "speaker", "style", "failures")
    return {
        "utterances": len(failed),
        **{name: names[name] for name in ("silent", "truncated", "looping")},
        "found": [{name: row[name] for name in keep} | {"heard": row["domain"]["heard"]} for row in failed],
    }


def _mean(values: Sequence[float], seed: int) -> dict[str, Any]:
    return asdict(interval.mean(values, seed))


def _figures(moves: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Figure]]]:
    return {
        speaker: {style: {name: Figure(**value) for name, value in figures.items()} for style, figures in styles.items()}
        for speaker, styles in moves.items()
    }
