"""Does one verb: asks what it requires, runs it, and writes down what a judge found."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ovconvert.errors import EnvironmentFault, OvconvertError, listing
from ovconvert.options import Progress, silent
from ovconvert.package import fault_of, write_fault
from ovconvert.report import Report, check_destination, write
from ovconvert.verbs import Verb


def perform(verb: Verb, source: Path | None, dest: Path, options: Any, progress: Progress = silent) -> None:
    """Run a verb that makes something: read `source`, write `dest`.

    Raises the verb's refusal with everything that it requires and does not find.
    """
    require_modules(verb)
    module = verb.load()
    refuse(verb, module.requires(source, options))
    try:
        module.run(source, dest, options, progress)
    except OSError as error:
        fault = fault_of(error, Path(os.path.abspath(dest)))
        if fault is None:
            raise
        raise fault from error


def judge(verb: Verb, package: Path, dests: Iterable[Path], options: Any, progress: Progress = silent) -> Report:
    """Run a verb that judges, write its report to each of `dests` and return it, also if rows failed (see `gate`)."""
    dests = tuple(dests)
    for dest in dests:
        check_destination(dest)  # before the work, not after it
    require_modules(verb)
    module = verb.load()
    refuse(verb, module.requires(package, options))
    report: Report = module.run(package, options, progress)
    for dest in dests:
        try:
            write(report, dest)
        except OSError as error:
            raise write_fault(dest, error) from error
    return report


def gate(verb: Verb, report: Report) -> None:
    """Raise the verb's fault, with its exit code, if a row of the report is below its floor."""
    if report.failed:
        heading = f"{verb.name}: {len(report.failed)} of {len(report.rows)} rows of {report.package} fall short:"
        raise verb.fault(listing(heading, (row.line() for row in report.failed)))


def require_modules(verb: Verb) -> None:
    """Raise EnvironmentFault if the installation lacks a module that the verb needs."""
    missing = [name for name in verb.needs if find_spec(name) is None]
    if missing:
        raise EnvironmentFault(
            f"{verb.name} needs {', '.join(missing)}, which the deployment install leaves out; "
            "install the extra: pip install -c constraints.txt -e '.[convert]'"
        )


def refuse(verb: Verb, problems: list[str]) -> None:
    """Raise the verb's refusal if there are `problems`, one line each."""
    if problems:
        error: type[OvconvertError] = verb.refusal
        raise error(listing(f"{verb.name} cannot start:", problems) if len(problems) > 1 else problems[0])
