"""An object in another process: its answers, its errors, and its death."""

from __future__ import annotations

import os
import signal

import pytest

from ovconvert.bench.worker import WorkerError, worker
from ovconvert.errors import EnvironmentFault, UsageError


class Counter:
    """What lives in the other process."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise UsageError("start below 0")
        self.value = start

    def add(self, number: int) -> int:
        self.value += number
        return self.value

    def where(self) -> int:
        return os.getpid()

    def refuse(self) -> None:
        raise UsageError("no such text")

    def stumble(self) -> None:
        raise KeyError("a bug")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_it_keeps_its_state_in_a_process_of_its_own_and_survives_errors() -> None:
    with worker("counter", Counter, 5) as process:
        assert process.call("add", 1) == 6
        with pytest.raises(UsageError, match="no such text"):
            process.call("refuse")
        with pytest.raises(WorkerError, match="KeyError: 'a bug'"):
            process.call("stumble")
        assert process.call("add", 1) == 7
        assert process.call("where") == process.pid != os.getpid()
        with pytest.raises(EnvironmentFault, match="counter ended with -9"):
            process.call("die")


def test_what_cannot_be_made_is_said_at_once() -> None:
    with pytest.raises(UsageError, match="start below 0"), worker("counter", Counter, -1):
        pass
