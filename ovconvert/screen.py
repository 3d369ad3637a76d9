"""Tables as text: as wide as the terminal, and wide enough for one row a line where there is none."""

from __future__ import annotations

import io
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 180  # columns, where the output goes to a file or a pipe


def draw(table: Table) -> str:
    """Return a table as plain text for standard output."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    console = Console(file=io.StringIO(), record=True, width=width)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.export_text().rstrip("\n").splitlines())
