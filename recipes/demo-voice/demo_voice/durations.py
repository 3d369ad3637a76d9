"""How long a text takes: the mean time of each word by speaker, from the corpus's alignments, times the style's stretch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from demo_voice.corpus import LEAD, STYLES, TAIL, Utterance
from demo_voice.recognise import words_of


@dataclass(frozen=True)
class Durations:
    """Seconds of a word, by speaker, spoken calmly."""

    seconds: Mapping[str, Mapping[str, float]]

    @classmethod
    def learn(cls, utterances: Iterable[Utterance]) -> Durations:
        """Take the mean of every word over utterances of all styles, each divided by its style's stretch."""
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in utterances:
            for word, start, end in row.words:
                found[row.speaker][word.strip(".")].append((end - start) / STYLES[row.style][0])
        return cls(
            {
                speaker: {word: round(sum(times) / len(times), 4) for word, times in sorted(words.items())}
                for speaker, words in sorted(found.items())
            }
        )

    @classmethod
    def load(cls, path: Path) -> Durations:
        """Read what `save` wrote."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def save(self, dest: Path) -> None:
        """Write as JSON."""
        dest.write_text(json.dumps(self.seconds, indent=1) + "\n", encoding="utf-8")

    def expected(self, text: str, speaker: str, style: str, speed: float = 1.0) -> float:
        """Return the seconds of an utterance, the silence before and after it included.

        Raises KeyError for a speaker, style or word that the corpus does not have.
        """
        words = sum(self.seconds[speaker][word] for word in words_of(text))
        return (words * STYLES[style][0] + LEAD + TAIL) / speed
