"""Text that a verb writes: to a free name, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ovconvert.errors import UsageError
from ovconvert.package import write_fault


def refuse_text(dest: Path, suffixes: tuple[str, ...], *, force: bool) -> None:
    """Raise UsageError unless `dest` ends in one of `suffixes` and is free, or `force` allows to replace it."""
    if dest.suffix.lower() not in suffixes:
        raise UsageError(f"output {dest}: unknown suffix {dest.suffix!r}; have: {', '.join(suffixes)}")
    if dest.is_dir():
        raise UsageError(f"output {dest} is a directory; name a file")
    if dest.exists() and not force:
        raise UsageError(f"output {dest} exists; name another, or replace it with --force")


def write_text(dest: Path, text: str) -> None:
    """Write `text` as UTF-8. Raises EnvironmentFault if the system refuses."""
    partial = dest.with_name(dest.name + ".partial")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, dest)
    except OSError as error:
        raise write_fault(dest, error) from error
    finally:
        partial.unlink(missing_ok=True)
