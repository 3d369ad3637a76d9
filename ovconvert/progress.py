"""Progress on stderr: bars with elapsed and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from ovconvert.options import Progress

QUIET_SECONDS = 5.0  # between two plain lines about the same work


@contextmanager
def shown(stream: TextIO | None = None) -> Iterator[Progress]:
    """Give a function that shows progress on `stream` (stderr) while the block runs."""
    stream = stream or sys.stderr
    if stream.isatty():
        with bars(stream) as progress:
            yield progress
    else:
        yield lines(stream)


def lines(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Return a progress that writes a line when work begins, ends, and every few seconds between."""
    begun = clock()
    last: dict[str, float] = {}

    def progress(what: str, done: int, total: int) -> None:
        now = clock()
        if what in last and done < total and now - last[what] < QUIET_SECONDS:
            return
        last[what] = now
        count = f" {done}/{total}" if total > 1 else ""
        print(f"[{now - begun:7.1f} s] {what}{count}", file=stream, flush=True)

    return progress


@contextmanager
def bars(stream: TextIO) -> Iterator[Progress]:
    """Give a progress that draws one bar per kind of work."""
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.SpinnerColumn(),
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(compact=True),
    )
    with rich.Progress(*columns, console=Console(file=stream)) as display:
        tasks: dict[str, rich.TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = display.add_task(what, total=total)
            display.update(tasks[what], completed=done, total=total)

        yield progress
