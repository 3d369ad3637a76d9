"""Makes the next item in a thread while the one before it is used: never more than one ahead."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Left(Exception):
    """Nobody waits for the items any more. Raised, where progress is reported, in the thread that makes them."""


class _End:
    """What comes behind the last item."""


class _Failed(_End):
    """An error in place of the next item."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Maker(Generic[Item]):
    """A thread that makes one item whenever the one before it was taken."""

    def __init__(self, items: Generator[Item, None, None], left: threading.Event, name: str) -> None:
        self._items = items
        self._left = left
        self._wanted = threading.Semaphore(1)
        self._ready: SimpleQueue[Item | _End] = SimpleQueue()
        self._thread = threading.Thread(target=self._make, name=name, daemon=True)
        self._thread.start()

    def take(self) -> Item | _End:
        """Return the next item, or what stands behind the last, and let the one after it be made."""
        item = self._ready.get()
        self._wanted.release()
        return item

    def stop(self) -> None:
        """Wait until the thread has ended."""
        self._wanted.release()
        self._thread.join()

    def _make(self) -> None:
        last = _End()
        try:
            with closing(self._items):
                while self._wanted.acquire() and not self._left.is_set():
                    self._ready.put(next(self._items))
        except (StopIteration, Left):
            pass
        except BaseException as error:  # handed to the consumer, who raises it
            last = _Failed(error)
        self._ready.put(last)  # always: somebody may be waiting


def ahead(items: Generator[Item, None, None], left: threading.Event, name: str = "ahead") -> Generator[Item, None, None]:
    """Yield `items`, in order and unchanged, while a thread called `name` makes the next one, and that one alone.

    An error in the thread comes in place of the item that it prevented, so that what was made before it is not lost. When
    the consumer goes, by closing this generator or by an error of its own, `left` is set and the thread awaited: who makes
    long items raises Left as soon as it sees it. Generators of this kind may be nested, on the same `left`.
    """
    maker = _Maker(items, left, name)
    try:
        while not isinstance(item := maker.take(), _End):
            yield item
        if isinstance(item, _Failed):
            raise item.error
    except BaseException:
        left.set()
        raise
    finally:
        maker.stop()
