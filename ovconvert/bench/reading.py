"""One figure of one turn, and the table that gathers the figures of all rounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

Key = tuple[str, str, str]  # (subject, case, metric)


@dataclass(frozen=True)
class Reading:
    """A figure: of what, on which input, called what, in which unit, whether "lower" or "higher" is better, or neither."""

    subject: str
    case: str
    metric: str
    value: float
    unit: str
    better: str = ""
    detail: str = ""

    @property
    def key(self) -> Key:
        """Return what the figures of all rounds have in common."""
        return self.subject, self.case, self.metric


@dataclass
class Table:
    """The figures of one competitor over all rounds: by key, the readings in the order of the rounds."""

    readings: defaultdict[Key, dict[int, Reading]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, number: int, readings: Iterable[Reading]) -> None:
        """Add the readings of round `number`. Raises ValueError for two readings of one round with one key."""
        for reading in readings:
            if number in self.readings[reading.key]:
                raise ValueError(f"round {number} has two readings of {reading.key}")
            self.readings[reading.key][number] = reading

    def follow(self, other: Table, rounds: int) -> None:
        """Add the readings of another table, whose first round follows the `rounds` of this one."""
        for key, found in other.readings.items():
            self.readings[key] |= {rounds + number: reading for number, reading in found.items()}

    def order(self) -> list[Key]:
        """Return the keys in the order in which they came first."""
        return list(self.readings)

    def samples(self, key: Key, rounds: int) -> tuple[float, ...] | None:
        """Return one figure per round, None if a round lacks it: figures of other rounds must not take its place."""
        found = self.readings.get(key, {})
        return tuple(found[number].value for number in range(rounds)) if len(found) == rounds else None

    def any_of(self, key: Key) -> Reading:
        """Return the last reading of a key, for what stays the same over the rounds."""
        found = self.readings[key]
        return found[max(found)]

    def gaps(self, rounds: int) -> list[Key]:
        """Return the keys that some round lacks."""
        return [key for key, found in self.readings.items() if len(found) < rounds]
