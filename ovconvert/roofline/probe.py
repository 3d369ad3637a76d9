"""Measures what this machine can do, shortly enough to be repeated in every round of a benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovconvert.machine import Reader, read_text
from ovconvert.runtime.engine import ONE_STREAM

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
LEAST_BYTES, MOST_BYTES = 256 * 2**20, 512 * 2**20  # of the array that is read
CACHE_FACTOR = 8  # the array, in last-level caches
PASSES = 2  # over the array, between two looks at the clock
SIDE = 1024  # of the square matrices: 2.1e9 operations on 13 MB, far on the computing side of any CPU
BUDGET_SECONDS = 0.1  # for each of the two rates
LEAST_REPEATS = 3


@dataclass(frozen=True)
class Rates:
    """What the machine did in one sample."""

    bytes_per_second: float  # read from DRAM
    flops_per_second: float  # float32, a multiply-add as two


class Probe:
    """Reads memory and multiplies matrices on `threads` threads.

    `bytes_per_second` is of reading int32 values that lie in a row: each thread takes the largest of its own part of an
    array several times as large as the last-level cache. NumPy does that with vector instructions, without the lock of the
    interpreter and without a BLAS that brings threads of its own. On one Zen 3 core it takes 46 GB/s out of the
    second-level cache, where DRAM gives 13 to 16: it is the memory that is measured. `flops_per_second` is of a float32
    MatMul in OpenVINO, with constant weights and the engine's properties.

    A sample is the best of a few repeats, because a limit is what the machine can do; how much it varies, the rounds show.
    It takes about 0.3 seconds where a core has 60 GFLOP/s and 12 GB/s. Between samples the probe holds some 10 MB; in
    one, the array of 256 to 512 MiB beside it, which is given back. `array_bytes` and `side`, of the array and of the
    square matrices, are for tests: smaller ones measure caches and overheads.
    """

    def __init__(self, threads: int, *, array_bytes: int | None = None, side: int = SIDE) -> None:
        import openvino as ov
        from openvino import opset13 as ops

        self._threads = threads
        self._array_bytes = array_bytes or size_beyond(last_level_cache_bytes())
        rows = ops.parameter([side, side], ov.Type.f32, name="rows")
        # neither zeros nor denormal numbers, which some processors multiply at other speeds
        self._rows = (np.arange(side * side, dtype=np.float32).reshape(side, side) % 7 + 1) / 8
        product = ops.matmul(rows, ops.constant(self._rows.T.copy()), False, False)
        properties = {**ONE_STREAM, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = ov.Core().compile_model(ov.Model([product], [rows], "probe"), "CPU", properties)
        self._request = compiled.create_infer_request()

    def sample(self) -> Rates:
        """Measure both rates once."""
        return Rates(self._bytes_per_second(), self._flops_per_second())

    def _bytes_per_second(self) -> float:
        chunks = np.array_split(np.empty(self._array_bytes // 4, np.int32), self._threads)
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(_fill, chunks))  # pages that were never written all read the same page of zeros
            seconds = _best_seconds(lambda: list(pool.map(_read, chunks)))
        return PASSES * sum(chunk.nbytes for chunk in chunks) / seconds

    def _flops_per_second(self) -> float:
        inputs = {"rows": self._rows}
        self._request.infer(inputs, share_inputs=True)
        return 2 * len(self._rows) ** 3 / _best_seconds(lambda: self._request.infer(inputs, share_inputs=True))


def size_beyond(cache_bytes: int) -> int:
    """Return the bytes of an array that measures DRAM in spite of a last-level cache of `cache_bytes` (0: unknown)."""
    return min(max(CACHE_FACTOR * cache_bytes, LEAST_BYTES), MOST_BYTES)


def last_level_cache_bytes(read: Reader = read_text) -> int:
    """Return the size of the largest cache of the first core, 0 where the system does not tell."""
    texts = [read(CACHES / f"index{number}" / "size") for number in range(5)]
    return max((int(text[:-1]) * UNITS[text[-1]] for text in texts if text[:-1].isdigit() and text[-1] in UNITS), default=0)


def _fill(chunk: np.ndarray) -> None:
    chunk.fill(1)  # by the thread that will read it: memory then lies near its core


def _read(chunk: np.ndarray) -> None:
    for _ in range(PASSES):
        chunk.max()


def _best_seconds(work: Callable[[], object]) -> float:
    """Return the seconds that the fastest of several calls of `work` took."""
    times: list[float] = []
    while len(times) < LEAST_REPEATS or sum(times) < BUDGET_SECONDS:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
