"""Errors that reach the user, each with the exit code that CI jobs rely on.

A message says what was given, what is allowed and what to do. Anything that is not an `OvconvertError` is a
bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable


class OvconvertError(Exception):
    """Base of every error shown bare on the command line. `exit_code` is stable between releases."""

    exit_code = 4


class UsageError(OvconvertError):
    """The command, an option, a recipe or an input file of the user's (text, audio) is not acceptable."""

    exit_code = 2


class EnvironmentFault(OvconvertError):
    """The machine or the installation lacks something: memory, disk, a package, an instruction set."""

    exit_code = 3


class ConversionError(OvconvertError):
    """A checkpoint or a graph cannot be converted."""

    exit_code = 4


class ParityError(OvconvertError):
    """A converted graph does not compute what its source computed."""

    exit_code = 5


class QualityError(OvconvertError):
    """The audio of a package falls below a quality floor."""

    exit_code = 6


class PerformanceRegression(OvconvertError):
    """A package became slower than the bound that was given."""

    exit_code = 7


class IntegrityError(OvconvertError):
    """A package differs from its manifest: a file is missing, changed or of an unknown format."""

    exit_code = 8


def listing(heading: str, problems: Iterable[str]) -> str:
    """Return `heading` followed by one indented line per problem: every fault of a file at once, not the first."""
    return "\n".join([heading, *(f"  - {problem}" for problem in problems)])
