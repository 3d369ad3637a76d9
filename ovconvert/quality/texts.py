"""The test set: sentences that no calibration has seen, and the voices that speak them in turn."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ovconvert.bench import texts as bench
from ovconvert.errors import UsageError
from ovconvert.quality.speaking import Prompt

RECORDINGS = (".wav", ".flac", ".ogg", ".mp3")


def shipped() -> tuple[str, ...]:
    """Return the shipped English sentences. They have no sentence in common with what calibration and benchmark ship."""
    return tuple(resources.files(__package__).joinpath("texts.en.txt").read_text(encoding="utf-8").splitlines())


def of_file(path: Path) -> tuple[str, ...]:
    """Return the texts in a UTF-8 file, one a line. Raises UsageError if there are none."""
    return tuple(text.text for text in bench.of_file(path))


def recordings(places: Sequence[Path]) -> tuple[Path, ...]:
    """Return the recordings that `places` name: files, and all in the folders among them, sorted.

    Raises UsageError for a place that does not exist, and for a folder without recordings.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.iterdir() if path.suffix.lower() in RECORDINGS)
            if not inside:
                raise UsageError(f"no recordings in {place}; it may hold {', '.join(RECORDINGS)}")
            found += inside
        elif place.is_file():
            found.append(place)
        else:
            raise UsageError(f"voice {place}: no such file or folder")
    return tuple(found)


def prompts(texts: Sequence[str], voices: Sequence[Path]) -> tuple[Prompt, ...]:
    """Return every text with a voice, the voices in turn. Raises UsageError if there is none of either."""
    if not texts:
        raise UsageError("no text to speak; write one a line")
    if not voices:
        raise UsageError("no voice: give recordings with --voices, files or a folder; the package holds none")
    return tuple(
        Prompt(f"{number:02d}, {voices[(number - 1) % len(voices)].stem}", text, voices[(number - 1) % len(voices)])
        for number, text in enumerate(texts, 1)
    )
