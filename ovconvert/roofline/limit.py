"""The roofline: the least time that some work can take on a machine."""

from __future__ import annotations

from ovconvert.roofline.count import Work


def floor_seconds(work: Work, bytes_per_second: float, flops_per_second: float) -> float:
    """Return the least seconds that `work` takes: max(bytes / bytes_per_second, flops / flops_per_second).

    This is the roofline model of Williams, Waterman and Patterson (Roofline: an insightful visual performance model for
    multicore architectures, Communications of the ACM 52(4), 2009), written as a time: bytes and operations overlap
    completely, and each goes at the machine's full rate.

    With the bandwidth of DRAM it is a bound only for work whose bytes come from there. Where weights stay in the processor's
    last-level cache from call to call, a component may be faster than this.
    """
    return max(work.bytes / bytes_per_second, work.flops / flops_per_second)
