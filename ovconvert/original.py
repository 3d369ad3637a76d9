"""What the published code of a family does more than our networks and loops, as data: who times the original reads it.

A baseline that ran our savings would be too fast, and one that guessed would be worth nothing. So each difference is a row,
with what became of it, and the seconds of the original are built from measured calls and counts that can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ovconvert.errors import UsageError

PER = ("voice", "segment", "token", "step")  # a reference recording, a piece of text, a code, a solver step


@dataclass(frozen=True)
class Runs:
    """How often a call of `component` is made `per` voice, segment, token or step: by the published code, and by our runner.

    `call` tells calls of one component apart that differ in size, "" where there is one kind.
    """

    component: str
    per: str
    published: int
    ours: int
    call: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        if self.per not in PER:
            raise ValueError(f"runs of {self.label!r} are counted per {self.per!r}; have: {', '.join(PER)}")

    @property
    def label(self) -> str:
        """The component and, in brackets, which of its calls."""
        return f"{self.component} ({self.call})" if self.call else self.component


@dataclass(frozen=True)
class Difference:
    """Where our network or loop saves work against the published code, and whether the baseline gives the saving back.

    `share` is the part of the component's time that is still missing in the baseline, an upper estimate.
    """

    component: str
    published: str
    ours: str
    restored: bool
    share: float = 0.0


@dataclass(frozen=True)
class Original:
    """The published code of one version of a family."""

    runs: tuple[Runs, ...]
    differences: tuple[Difference, ...]

    def built(self, seconds: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
        """Return the seconds of the published code by call, from the `seconds` of one call and `counts` of what `PER` names.

        A voice that is registered counts 0: the published code remembers the last recordings too. Raises UsageError naming
        every call that is needed and was not measured.
        """
        return _summed([(row, row.published * counts.get(row.per, 0)) for row in self.runs], seconds)

    def added(self, seconds: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
        """Return by call what the published code takes longer than our runner with the same networks; less is negative.

        This is what is added to a run of our runner on the networks of the original. Raises UsageError as `built` does.
        """
        return _summed([(row, (row.published - row.ours) * counts.get(row.per, 0)) for row in self.runs], seconds)


def _summed(times: list[tuple[Runs, int]], seconds: Mapping[str, float]) -> dict[str, float]:
    needed = [(row.label, count) for row, count in times if count]
    missing = sorted({label for label, _ in needed if label not in seconds})
    if missing:
        have = ", ".join(sorted(seconds)) or "nothing"
        raise UsageError(f"no seconds measured for {', '.join(missing)}; measured: {have}; measure those too")
    total: dict[str, float] = {}
    for label, count in needed:
        total[label] = total.get(label, 0.0) + count * seconds[label]
    return total
