"""The probe measures rates of the right order and gives its memory back. How fast a machine is, no test asks."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from ovconvert.roofline import probe
from ovconvert.roofline.probe import Probe, last_level_cache_bytes, size_beyond

MIB = 2**20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_sample_has_rates_of_a_computer() -> None:
    probed = Probe(2, array_bytes=4 * MIB, side=64)
    first, second = probed.sample(), probed.sample()
    for rates in (first, second):
        assert 1e6 < rates.bytes_per_second < 1e13
        assert 1e6 < rates.flops_per_second < 1e14
    assert 1e-3 < first.bytes_per_second / second.bytes_per_second < 1e3


def test_memory_is_given_back() -> None:
    probed = Probe(1, array_bytes=96 * MIB, side=64)
    before = resident_bytes()
    probed.sample()
    assert resident_bytes() - before < 48 * MIB
    kept = np.ones(96 * MIB // 8)
    assert resident_bytes() - before > 48 * MIB, kept.nbytes  # the measure sees what is kept


def test_rates_follow_from_size_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_best_seconds", lambda work: work() is None or 0.5)
    rates = Probe(1, array_bytes=MIB, side=64).sample()
    assert rates.bytes_per_second == probe.PASSES * MIB / 0.5
    assert rates.flops_per_second == 2 * 64**3 / 0.5


@pytest.mark.parametrize(("cache", "size"), [(0, 256), (1, 256), (32, 256), (48, 384), (1024, 512)])
def test_the_array_is_larger_than_the_cache_and_not_huge(cache: int, size: int) -> None:
    assert size_beyond(cache * MIB) == size * MIB


@pytest.mark.parametrize(
    ("texts", "size"),
    [({0: "32K", 2: "512K", 3: "32768K"}, 32 * MIB), ({0: "32K", 3: "1G"}, 2**30), ({}, 0), ({0: "many"}, 0)],
)
def test_the_largest_cache_is_read(texts: dict[int, str], size: int) -> None:
    files = {probe.CACHES / f"index{number}" / "size": text for number, text in texts.items()}
    assert last_level_cache_bytes(lambda path: files.get(path, "")) == size
