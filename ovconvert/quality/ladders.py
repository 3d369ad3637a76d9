"""Shows that the MOS proxy puts known damage in order: every recording, every kind of damage, from slight to severe.

python -m ovconvert.quality.ladders RECORDING... --report report.json --report report.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ovconvert.machine import describe
from ovconvert.options import Progress, silent
from ovconvert.quality import mos
from ovconvert.quality.damage import LADDERS
from ovconvert.quality.metric import RATE
from ovconvert.report import Measurement, Report, check_destination, figure, write
from ovconvert.runtime import audio

Proxy = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Ladder:
    """One recording, one kind of damage: its severities from slight to severe, and the score of each."""

    recording: str
    kind: str
    unit: str
    severities: tuple[float, ...]
    scores: tuple[float, ...]

    @property
    def ordered(self) -> bool:
        """Tell whether every rung scores less than the one before it, and the first less than what is undamaged."""
        return all(lower < higher for higher, lower in pairwise((5.0, *self.scores)))


def climb(recordings: Mapping[str, np.ndarray], proxy: Proxy, progress: Progress = silent) -> Iterator[Ladder]:
    """Yield a ladder per recording (count,) at RATE and kind of damage."""
    for number, (name, samples) in enumerate(recordings.items()):
        progress("ladders", number, len(recordings))
        for kind, (damage, unit, severities) in LADDERS.items():
            scores = tuple(proxy(samples, damage(samples, severity).astype(np.float32)) for severity in severities)
            yield Ladder(name, kind, unit, severities, scores)
    progress("ladders", len(recordings), len(recordings))


def to_report(ladders: Sequence[Ladder], made_of: str) -> Report:
    """Return a row per ladder that passes if it is in order, its samples the scores, and one that counts them."""
    right = sum(ladder.ordered for ladder in ladders)
    rows = [Measurement("all", f"{len(ladders)} ladders", "in order", right, "", float(len(ladders)), right == len(ladders))]
    rows += [
        Measurement(
            ladder.recording,
            f"{ladder.kind}: {', '.join(map(figure, ladder.severities))} {ladder.unit}",
            "lowest MOS proxy",
            ladder.scores[-1],
            "MOS",
            None,
            ladder.ordered,
            " > ".join(f"{score:.2f}" for score in ladder.scores),
            samples=ladder.scores,
        )
        for ladder in ladders
    ]
    return Report("quality-ladders", "known damage", describe(), tuple(rows), {"make_up": {mos.MOS.name: made_of}})


def read(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return the samples (count,) at RATE of recordings, by name. Raises UsageError for what is none."""
    return {path.stem: audio.resample(audio.read_audio(path), RATE).samples for path in paths}


def main() -> None:
    """Read recordings, climb, write the reports. Ends with 1 if a ladder is out of order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--report", type=Path, action="append", default=[])
    asked = parser.parse_args()
    for dest in asked.report:
        check_destination(dest)
    report = to_report(list(climb(read(asked.recordings), mos.open_proxy())), mos.made_of())
    for dest in asked.report:
        write(report, dest)
    raise SystemExit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
