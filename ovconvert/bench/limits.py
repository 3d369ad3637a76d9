"""How near each component comes to what the machine allows: its work, and the machine's rates of the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ovconvert.bench.alone import Alone, subject_of
from ovconvert.bench.reading import Reading, Table
from ovconvert.bench.rows import row
from ovconvert.errors import UsageError
from ovconvert.package import Manifest
from ovconvert.report import Measurement
from ovconvert.roofline.count import Work, count_component
from ovconvert.roofline.limit import floor_seconds

MACHINE = "machine"
BANDWIDTH = Reading(MACHINE, "", "bandwidth", 0.0, "GB/s")
RATE = Reading(MACHINE, "", "multiply rate", 0.0, "GFLOP/s")


def probe(threads: int) -> Callable[[], list[Reading]]:
    """Return what measures the machine's two rates once, as a turn of its own."""
    from ovconvert.roofline.probe import Probe

    probed = Probe(threads)

    def sample() -> list[Reading]:
        rates = probed.sample()
        return [
            Reading(MACHINE, "", BANDWIDTH.metric, rates.bytes_per_second / 1e9, BANDWIDTH.unit),
            Reading(MACHINE, "", RATE.metric, rates.flops_per_second / 1e9, RATE.unit),
        ]

    return sample


def works(package_dir: Path, manifest: Manifest, cases: Sequence[Alone]) -> tuple[dict[Alone, Work], list[str]]:
    """Return the work of every case that can be counted, and why the others cannot."""
    found: dict[Alone, Work] = {}
    problems = []
    for case in cases:
        try:
            found[case] = count_component(package_dir, manifest.packed(case.name), case.all_sizes())
        except UsageError as error:
            problems.append(f"no limit of {case.name} [{case.case}]: {error}")
    return found, problems


def limit_rows(found: dict[Alone, Work], alone: Table, machine: Table, rounds: int) -> Iterator[Measurement]:
    """Yield per case its operations, its bytes, the least time it can take, and the part of that limit that was reached.

    Time and rates are of the same round. Above 100 % the weights came from a cache and not from memory.
    """
    bandwidth, rate = (machine.samples(reading.key, rounds) for reading in (BANDWIDTH, RATE))
    for case, work in found.items():
        subject = subject_of(case)
        yield Measurement(subject, case.case, "operations", work.flops / 1e9, "GFLOP", detail="; ".join(work.uncounted))
        yield Measurement(subject, case.case, "bytes", work.bytes / 1e6, "MB")
        taken = alone.samples((subject, case.case, "one call"), rounds)
        if taken is None or bandwidth is None or rate is None:
            continue
        floors = tuple(1000 * floor_seconds(work, b * 1e9, r * 1e9) for b, r in zip(bandwidth, rate, strict=True))
        yield row(Reading(subject, case.case, "limit", 0.0, "ms"), floors)
        reached = tuple(100 * floor / one for floor, one in zip(floors, taken, strict=True))
        yield row(Reading(subject, case.case, "part of the limit reached", 0.0, "%", "higher"), reached)
