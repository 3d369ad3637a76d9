"""The command line: a table of commands. Each is made, and its module imported, when it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

import ovconvert
from ovconvert import compare_command
from ovconvert.commands import Commands, Loader, place, verb_command
from ovconvert.verbs import VERBS, Verb

Parameters = Sequence[click.Parameter] | Callable[[], Sequence[click.Parameter]]

PACKAGE = place(("package",))
RECIPE = place(("recipe",))
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
OUTPUT = click.Option(
    ["-o", "--output"],
    type=click.Path(path_type=Path),
    help="Directory for the steps and their results (default: work/<name of the recipe>).",
)


def verify(package: Path) -> None:
    """Compare the files of a package with the hashes in its manifest."""
    from ovconvert.package import load
    from ovconvert.package import verify as check

    extra = check(package)
    click.echo(f"{package}: {len(load(package).files)} files as sealed")
    for name in extra:
        click.echo(f"not in the manifest: {name}", err=True)


def inspect(package: Path, as_json: bool) -> None:
    """Print what a package consists of: components, shapes, precision, sizes."""
    from ovconvert import inspect

    click.echo(inspect.to_json(package) if as_json else inspect.to_text(package))


def doctor(as_json: bool) -> None:
    """Check this machine and installation, and say what to do about each fault."""
    from ovconvert import doctor

    checks = doctor.examine()
    click.echo(doctor.to_json(checks) if as_json else doctor.to_text(checks))
    doctor.refuse_faults(checks)


def run(recipe: Path, output: Path | None) -> None:
    """Run a recipe; finished steps are reused, and a killed run goes on where it stopped."""
    from ovconvert import pipeline
    from ovconvert.progress import shown
    from ovconvert.recipe import load

    read = load(recipe)
    with shown() as progress:
        made = pipeline.run(read, output or Path("work") / read.name, progress, lambda line: click.echo(line, err=True))
    for path in made:
        click.echo(path)


def plan(recipe: Path, output: Path | None) -> None:
    """Print which steps of a recipe would run and which are reused."""
    from ovconvert import pipeline
    from ovconvert.recipe import load

    read = load(recipe)
    for line in pipeline.describe(pipeline.plan(read, output or Path("work") / read.name)):
        click.echo(line)


TOOLS: tuple[tuple[Callable[..., None], Parameters], ...] = (
    (verify, (PACKAGE,)),
    (inspect, (PACKAGE, JSON)),
    (doctor, (JSON,)),
    (run, (RECIPE, OUTPUT)),
    (plan, (RECIPE, OUTPUT)),
    (compare_command.compare, compare_command.parameters),
)
"""Functions and their parameters, or what makes these where that takes heavy imports."""


def _verb_loader(verb: Verb) -> Loader:
    return lambda: verb_command(verb)


def _loaders() -> dict[str, tuple[str, Loader]]:
    loaders: dict[str, tuple[str, Loader]] = {verb.name: (verb.help, _verb_loader(verb)) for verb in VERBS}
    for function, parameters in TOOLS:
        loaders[function.__name__] = (str(function.__doc__).split("\n\n")[0], _tool_loader(function, parameters))
    return loaders


def _tool_loader(function: Callable[..., None], parameters: Parameters) -> Loader:
    def make() -> click.Command:
        params = parameters() if callable(parameters) else parameters
        return click.Command(function.__name__, callback=function, params=list(params), help=function.__doc__)

    return make


cli = Commands(
    "ovconvert",
    _loaders(),
    help=f"{ovconvert.__doc__}\n\nExit codes: 0 done, 2 usage, 3 environment, 4 conversion, 5 parity, 6 quality, "
    "7 performance regression, 8 integrity.",
    params=[],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
click.version_option(ovconvert.__version__, prog_name="ovconvert")(cli)


def main() -> None:
    """Entry point of the `ovconvert` script."""
    cli(prog_name="ovconvert")
