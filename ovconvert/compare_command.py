"""The command `compare`: two reports, or two packages that it measures in turns first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ovconvert.commands import flags, place
from ovconvert.errors import PerformanceRegression, UsageError, listing
from ovconvert.report import Report

if TYPE_CHECKING:
    from ovconvert.comparison import Comparison
    from ovconvert.judges.benchmark import Options

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
MAX_ROUNDS = click.Option(
    ["--max-rounds"],
    type=click.IntRange(1),
    help="Of packages: where --rounds cannot tell, measure once more, with as many rounds as would tell but no more than "
    "these; both comparisons are then stricter.",
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
    max_rounds: int | None,
    **measuring: Any,
) -> None:
    """Tell whether a package became slower or larger, by intervals: exit code 7 if it did.

    BASE and NEW are two reports of `benchmark`, or two packages, which are then measured in turns: the better way, as
    what the machine does meets both. The flags from --keep on are for packages.
    """
    from ovconvert.compare import compare as judge
    from ovconvert.compare import share
    from ovconvert.comparison import headline, to_table
    from ovconvert.judges.benchmark import Options
    from ovconvert.report import check_destination
    from ovconvert.screen import draw

    limit = share(fail_over, "--fail-over")
    unseen = None if drift is None else share(drift, "--drift")
    for dest in (*reports, *_kept(keep)):
        check_destination(dest)  # before the work, not after it
    options = Options(**measuring)
    reader = _reader(base, new, options, {"keep": keep, "max-rounds": max_rounds})
    judged = partial(judge, fail_over=limit, drift=unseen, metrics=metrics, looks=2 if max_rounds else 1)
    both = reader(options)
    found = judged(*both)
    rounds = _rounds_that_tell(found, options.rounds, max_rounds)
    if rounds:
        click.echo(f"{headline(found)}; measuring once more, in {rounds} rounds")
        both = reader(dataclasses.replace(options, rounds=rounds))
        found = judged(*both)
    for one, dest in zip(both, _kept(keep), strict=False):
        _written(one, dest)
    click.echo(draw(to_table(found)))
    for line in (*found.warnings, *found.notes):
        click.echo(line)
    for dest in reports:
        _write(found, dest)
    _gate(found, fail_on_uncertain)


def parameters() -> list[click.Parameter]:
    """Return the parameters of the command: its own, and those of `benchmark` that two packages are measured with."""
    from ovconvert.judges import benchmark

    own: list[click.Parameter] = [
        place(("base",)),
        place(("new",)),
        FAIL_OVER,
        METRICS,
        DRIFT,
        REPORTS,
        UNCERTAIN,
        KEEP,
        MAX_ROUNDS,
    ]
    return [*own, *(flag for flag in flags(benchmark.Options) if flag.name not in NOT_IN_PAIRS)]


def _reader(base: Path, new: Path, options: Options, given: dict[str, Any]) -> Callable[[Options], tuple[Report, Report]]:
    """Return what gives both reports: read, or of two packages measured in turns with the options that it is called with.

    Raises UsageError for anything but two packages or two reports, and for options, or `given` flags, that are for packages.
    """
    from ovconvert.compare import read
    from ovconvert.package import MANIFEST

    packages = [(path / MANIFEST).is_file() for path in (base, new)]
    if all(packages):
        _require_measurable(base, new, options, given["max-rounds"])
        return partial(_measured, base, new)
    if any(packages):
        raise UsageError(f"{base} and {new}: one is a package, the other is not; give two packages or two reports")
    named = [field.name for field in dataclasses.fields(options) if getattr(options, field.name) != field.default]
    named += [name for name, value in given.items() if value]
    reports = read(base), read(new)
    if named:
        flagged = ", ".join("--" + name.replace("_", "-") for name in named)
        raise UsageError(f"{flagged}: only for two packages, which are measured; {base} and {new} are reports")
    return lambda _: reports


def _require_measurable(base: Path, new: Path, options: Options, max_rounds: int | None) -> None:
    from ovconvert import package
    from ovconvert.judges import benchmark

    families = [package.load(path).family for path in (base, new)]
    if families[0] != families[1]:
        raise UsageError(f"{base} is of the family {families[0]!r}, {new} of {families[1]!r}: not to be compared")
    problems = [f"{path}: {problem}" for path in (base, new) for problem in benchmark.requires(path, options)]
    if max_rounds is not None and max_rounds <= options.rounds:
        problems.append(f"--max-rounds {max_rounds}: give more than --rounds, {options.rounds}, or leave it out")
    if problems:
        raise UsageError(listing("compare cannot start:", problems))


def _measured(base: Path, new: Path, options: Options) -> tuple[Report, Report]:
    from ovconvert.judges import benchmark
    from ovconvert.progress import shown

    with shown() as progress:
        return benchmark.measure_pair(base, new, options, progress)


def _rounds_that_tell(found: Comparison, rounds: int, most: int | None) -> int:
    """Return with how many rounds to measure once more, at most `most`; 0 if nothing is left to tell, or no number would."""
    from ovconvert.comparison import UNKNOWN, WORSE

    more = [change.more for change in found.having(UNKNOWN) if change.more]
    return min(rounds + max(more), most) if most and more and not found.having(WORSE) else 0


def _kept(keep: Path | None) -> list[Path]:
    """Return where both reports are kept."""
    return [keep / f"{name}.json" for name in ("base", "new")] if keep else []


def _written(one: Report, dest: Path) -> None:
    from ovconvert import report

    report.write(one, dest)
    click.echo(f"report: {dest}")


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
