"""Write a checkpoint with seeded random weights in a family's published layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovconvert.options import Progress, option, silent

SIZES = ("tiny", "full")


@dataclass(frozen=True)
class Options:
    """Whose checkpoint, how large, and from which seed."""

    family: str = option("", "family of the model")
    size: str = option("tiny", "tiny for tests in seconds, full for honest timing", choices=SIZES)
    seed: int = option(0, "seed of the weights: the same seed gives the same files")
    variant: str = option("", "version of the family (default: its first)")
    force: bool = option(False, "replace the destination if it is a checkpoint made by this command")


def requires(source: Path | None, options: Options) -> list[str]:
    """Return what is wrong with the options: a family that there is none of."""
    from ovconvert import families

    have = families.names()
    given = f"no family named {options.family!r}" if options.family else "no family named: give --family"
    return [] if options.family in have else [f"{given}; have: {', '.join(have)}"]


def run(source: Path | None, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the checkpoint to `dest`. Raises UsageError if `dest` may not be written; `source` is not read."""
    from ovconvert import families

    family = families.find(options.family)
    family.make_checkpoint(
        dest,
        size=options.size,
        seed=options.seed,
        variant=options.variant,
        force=options.force,
        progress=progress,
    )
    return dest
