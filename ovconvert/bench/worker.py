"""An object that lives in a process of its own: what it computes, and the memory it takes, is its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from ovconvert.errors import EnvironmentFault, OvconvertError

PATIENCE_SECONDS = 5.0  # for a process that was asked to end


class WorkerError(RuntimeError):
    """A bug of ours in another process, with its traceback."""


class Worker:
    """Calls the methods of an object in another process, one at a time."""

    def __init__(self, name: str, connection: Connection, process: Any) -> None:
        self.name = name
        self._connection = connection
        self._process = process

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return int(self._process.pid)

    def call(self, method: str, *arguments: Any) -> Any:
        """Return what the method of the object returns.

        Raises what it raises if that is an error of ours, WorkerError with the traceback for any other, EnvironmentFault if
        the process is gone.
        """
        try:
            self._connection.send((method, arguments))
            done, value = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(PATIENCE_SECONDS)
            raise EnvironmentFault(
                f"the process that measures {self.name} ended with {self._process.exitcode}; if it was killed (-9), memory "
                "was short: measure fewer at a time"
            ) from error
        if not done:
            raise value
        return value


@contextlib.contextmanager
def worker(name: str, make: Callable[..., Any], *arguments: Any) -> Iterator[Worker]:
    """Give `make(*arguments)` in a fresh process, which ends with the block. Raises as `Worker.call` does."""
    context = multiprocessing.get_context("spawn")  # a fork would share what this process has loaded
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, arguments), name=name, daemon=True)
    process.start()
    theirs.close()
    made = Worker(name, ours, process)
    try:
        made.call("")
        yield made
    finally:
        ours.close()
        process.join(PATIENCE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(connection: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Make the object and answer calls until the other side closes. The first call, of no method, tells that it is made."""
    made: Any = None
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            method, given = connection.recv()
            answer: tuple[bool, Any]
            try:
                if made is None:
                    made = make(*arguments)
                answer = True, getattr(made, method)(*given) if method else None
            except OvconvertError as error:
                answer = False, error
            except Exception:
                answer = False, WorkerError(traceback.format_exc())
            connection.send(answer)
