"""Options declared once, as frozen dataclasses: command-line flags and recipe keys are both generated from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any

Progress = Callable[[str, int, int], None]  # (what is being done, steps finished, steps in all)


def silent(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


def option(default: Any, help: str, *, choices: tuple[str, ...] = (), short: str = "") -> Any:
    """Return a dataclass field with the text and the allowed values that its flag and recipe key show.

    A field `weight_format` becomes the flag `--weight-format` and the recipe key `weight_format`; a bool whose default
    is True becomes `--x/--no-x`; a tuple field takes comma-separated values on the command line.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "short": short})


def left_open(fallback: Any, help: str, *, choices: tuple[str, ...] = ()) -> Any:
    """Return an option that is None where it is not given: the package decides then, else `fallback` holds.

    A bool becomes `--x/--no-x`, of which neither may be given.
    """
    shown = ("no", "yes")[fallback] if isinstance(fallback, bool) else fallback
    shown = ",".join(map(str, fallback)) if isinstance(fallback, tuple) else shown
    return option(None, f"{help} (default: the package's, else {shown}).", choices=choices)
