"""Write a checkpoint with seeded random weights in a family's published layout."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from ovconvert.errors import EnvironmentFault
from ovconvert.options import Progress, option, silent
from ovconvert.package import existing_parent, whole

SIZES = ("tiny", "full")
MARK = "seeded_weights.json"  # says that the weights are random, and tells a directory of ours from a real checkpoint

# How PyTorch and safetensors say, in errors that are no OSError, that the system did not take what they wrote.
REFUSED = ("inline_container", "PytorchStreamWriter", "I/O error", "IoError")


@dataclass(frozen=True)
class Options:
    """Whose checkpoint, how large, and from which seed."""

    family: str = option("", "Family of the model.")
    size: str = option("tiny", "Tiny for tests in seconds, full for honest timing.", choices=SIZES)
    seed: int = option(0, "Seed of the weights: the same seed gives the same files.")
    variant: str = option("", "Version of the family (default: its first).")
    force: bool = option(False, "Replace the destination if it is a checkpoint made by this command.")


def requires(source: Path | None, options: Options) -> list[str]:
    """Return what is wrong with the options: a family that there is none of, a seed below zero."""
    from ovconvert import families

    have = families.names()
    problems = []
    if options.family not in have:
        given = f"no family named {options.family!r}" if options.family else "no family given: name one with --family"
        problems.append(f"{given}; have: {', '.join(have)}")
    if options.seed < 0:
        problems.append(f"seed {options.seed}: at least 0")
    return problems


def run(source: Path | None, dest: Path, options: Options, progress: Progress = silent) -> Path:
    """Write the checkpoint to `dest`, whole or not at all; `source` is not read.

    Raises UsageError if `dest` may not be written, EnvironmentFault if the disk fills up.
    """
    from ovconvert import families

    family = families.find(options.family)
    with whole(dest, force=options.force, mark=MARK) as partial:
        what = f"{options.size} checkpoint of {options.family}"
        progress(what, 0, 1)
        try:
            family.make_checkpoint(partial, size=options.size, seed=options.seed, variant=options.variant)
        except Exception as error:
            if not any(words in str(error) for words in REFUSED):
                raise
            free = shutil.disk_usage(existing_parent(dest)).free / 2**30
            raise EnvironmentFault(
                f"cannot write {dest}: the system refused a file ({error}); {free:.1f} GiB free there; make room or "
                "name another place. Nothing was left behind."
            ) from error
        made = {key: value for key, value in asdict(options).items() if key != "force"}
        (partial / MARK).write_bytes(msgspec.json.encode(made, order="sorted") + b"\n")
        progress(what, 1, 1)
    return dest
