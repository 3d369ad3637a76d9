"""The command `compare`: two reports, or two packages that it measures in turns first."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from ovconvert.commands import flags, place
from ovconvert.errors import PerformanceRegression, UsageError, listing
from ovconvert.report import Report

NOT_IN_PAIRS = (
    "baseline",
    "model",
    "against",
    "ablation",
    "reference_seconds",
)  # options of benchmark without a meaning here
FAIL_OVER = click.Option(
    ["--fail-over"],
    default="5%",
    show_default=True,
    help="How much slower (for other metrics: worse) is still accepted: 5% or 0.05.",
)
METRICS = click.Option(
    ["--metrics"],
    multiple=True,
    help="Judge what fits this pattern, SUBJECT:METRIC or SUBJECT:CASE:METRIC with * and ?, such as 'end to end:*'; the "
    "rest is for information. May be given several times (default: what the user feels; see the README).",
)
DRIFT = click.Option(
    ["--drift"],
    help="Of reports of two runs: by how much the machine may have drifted unseen (default: 10%, and 100% where the reports "
    "hold no probes of it). 0% on a machine of one's own.",
)
REPORTS = click.Option(
    ["-r", "--report", "reports"],
    type=click.Path(path_type=Path),
    multiple=True,
    help="Write the comparison here, in the form that the suffix names: .md for a pull request, .xml as JUnit, .json, "
    ".html; may be given several times.",
)
UNCERTAIN = click.Option(["--fail-on-uncertain"], is_flag=True, help="Also fail if a metric cannot be told.")
KEEP = click.Option(
    ["--keep"], type=click.Path(path_type=Path), help="Of packages: write both reports, with all samples, into this folder."
)


def compare(
    base: Path,
    new: Path,
    fail_over: str,
    drift: str | None,
    metrics: tuple[str, ...],
    reports: tuple[Path, ...],
    fail_on_uncertain: bool,
    keep: Path | None,
    **measuring: Any,
) -> None:
    """Tell whether a package became slower or larger, by intervals: exit code 7 if it did.

    BASE and NEW are two reports of `benchmark`, or two packages, which are then measured in turns: the better way, as
    what the machine does meets both. The flags from --keep on are for packages.
    """
    from ovconvert.compare import compare as judge
    from ovconvert.compare import share
    from ovconvert.comparison import to_table
    from ovconvert.report import check_destination
    from ovconvert.screen import draw

    limit = share(fail_over, "--fail-over")
    unseen = None if drift is None else share(drift, "--drift")
    for dest in reports:
        check_destination(dest)  # before the work, not after it
    found = judge(*_both(base, new, keep, measuring), limit, unseen, metrics)
    click.echo(draw(to_table(found)))
    for line in (*found.warnings, *found.notes):
        click.echo(line)
    for dest in reports:
        _write(found, dest)
    _gate(found, fail_on_uncertain)


def parameters() -> list[click.Parameter]:
    """Return the parameters of the command: its own, and those of `benchmark` that two packages are measured with."""
    from ovconvert.judges import benchmark

    own: list[click.Parameter] = [place(("base",)), place(("new",)), FAIL_OVER, METRICS, DRIFT, REPORTS, UNCERTAIN, KEEP]
    return [*own, *(flag for flag in flags(benchmark.Options) if flag.name not in NOT_IN_PAIRS)]


def _both(base: Path, new: Path, keep: Path | None, measuring: dict[str, Any]) -> tuple[Report, Report]:
    """Return the two reports: read, or of the two packages measured in turns."""
    from ovconvert.compare import read
    from ovconvert.judges import benchmark
    from ovconvert.package import MANIFEST

    options = benchmark.Options(**measuring)
    packages = [(path / MANIFEST).is_file() for path in (base, new)]
    if all(packages):
        return _measured(base, new, keep, options)
    if any(packages):
        raise UsageError(f"{base} and {new}: one is a package, the other is not; give two packages or two reports")
    reports = read(base), read(new)
    given = [field.name for field in dataclasses.fields(options) if getattr(options, field.name) != field.default]
    if given or keep:
        named = ", ".join("--" + name.replace("_", "-") for name in [*given, *(["keep"] if keep else [])])
        raise UsageError(f"{named}: only for two packages, which are measured; {base} and {new} are reports")
    return reports


def _measured(base: Path, new: Path, keep: Path | None, options: Any) -> tuple[Report, Report]:
    from ovconvert import package, report
    from ovconvert.judges import benchmark
    from ovconvert.progress import shown

    families = [package.load(path).family for path in (base, new)]
    if families[0] != families[1]:
        raise UsageError(f"{base} is of the family {families[0]!r}, {new} of {families[1]!r}: not to be compared")
    problems = [f"{path}: {problem}" for path in (base, new) for problem in benchmark.requires(path, options)]
    if problems:
        raise UsageError(listing("compare cannot start:", problems))
    dests = [keep / f"{name}.json" for name in ("base", "new")] if keep else []
    for dest in dests:
        report.check_destination(dest)
    with shown() as progress:
        both = benchmark.measure_pair(base, new, options, progress)
    for one, dest in zip(both, dests, strict=False):
        report.write(one, dest)
        click.echo(f"report: {dest}")
    return both


def _write(found: Any, dest: Path) -> None:
    from ovconvert.comparison import write
    from ovconvert.package import write_fault

    try:
        write(found, dest)
    except OSError as error:
        raise write_fault(dest, error) from error
    click.echo(f"report: {dest}")


def _gate(found: Any, fail_on_uncertain: bool) -> None:
    """Raise PerformanceRegression, exit code 7, if a metric is worse, or asked for and not to be told."""
    from ovconvert.comparison import UNKNOWN, WORSE, cells, headline

    failed = [*found.having(WORSE), *(found.having(UNKNOWN) if fail_on_uncertain else ())]
    if failed:
        lines = ("{} {} [{}]: {}, {} -> {}, {} {}".format(*cells(change)).rstrip() for change in failed)
        raise PerformanceRegression(listing(f"{headline(found)}:", lines))
