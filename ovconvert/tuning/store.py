"""Keeps what was measured, so that nothing is measured twice: a file per figure, named by all that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from ovconvert.report import write_whole

T = TypeVar("T")


class Store:
    """Figures below `directory`. `common` is what all of them depend on: package, machine, texts, tools."""

    def __init__(self, directory: Path, common: Mapping[str, object]) -> None:
        self._directory = directory
        self._common = dict(common)
        self.made = self.reused = 0

    def path(self, kind: str, key: Mapping[str, object]) -> Path:
        """Return where a figure is kept."""
        whole = {"kind": kind, "common": self._common, "key": dict(key)}
        return self._directory / f"{kind}-{hashlib.sha256(msgspec.json.encode(whole, order='sorted')).hexdigest()[:16]}.json"

    def recall(self, kind: str, key: Mapping[str, object], of: type[T], make: Callable[[], T]) -> T:
        """Return what is kept under the key, else what `make` returns, which is kept. A damaged file is made again."""
        path = self.path(kind, key)
        try:
            # the standard library's JSON: a divergence may be infinite
            kept = msgspec.convert(json.loads(path.read_text()), of)
        except (OSError, ValueError):
            kept = make()
            self.made += 1
            write_whole(path, (json.dumps(msgspec.to_builtins(kept)) + "\n").encode())
            return kept
        self.reused += 1
        return kept
