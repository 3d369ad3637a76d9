"""Makes command-line commands from the table of verbs and the fields of their `Options`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ovconvert import fields
from ovconvert.errors import OvconvertError, UsageError
from ovconvert.fields import OptionField
from ovconvert.verbs import Verb

STDOUT = "-"  # as a destination
INTERRUPTED = 130  # what shells report for a process that Ctrl-C ended
TYPES: dict[type, click.ParamType[Any]] = {
    bool: click.BOOL,
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(path_type=Path),
}

Loader = Callable[[], click.Command]


class ShownError(click.ClickException):
    """An OvconvertError as click shows it: the message alone, on stderr, with the exit code of its class."""

    def __init__(self, error: OvconvertError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: Any = None) -> None:
        """Print the error, wrapped by nobody."""
        click.echo(f"error: {self.message}", file=file or sys.stderr)


class Commands(click.Group):
    """A group that makes a command when it is used, so that `--help` imports none of them."""

    def __init__(self, name: str, loaders: Mapping[str, tuple[str, Loader]], **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.loaders = dict(loaders)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the table."""
        return list(self.loaders)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the command called `cmd_name`, None if there is none."""
        if cmd_name not in self.loaders:
            return None
        return self.loaders[cmd_name][1]()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without making any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (text, _) in self.loaders.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours is shown bare, anything else keeps its traceback."""
        try:
            return super().invoke(ctx)
        except OvconvertError as error:
            raise ShownError(error) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


class CommaSeparated(click.ParamType[Any]):
    """Several values of one type in one argument: `0.1,0.2`."""

    name = "list"

    def __init__(self, field: OptionField) -> None:
        self.field = field

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return how the help names the value."""
        return f"{self.field.base.__name__.upper()},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the values as a tuple. Fails as a usage error that names the wrong one."""
        if isinstance(value, tuple):
            return value
        items = [item.strip() for item in str(value).split(",")] if str(value).strip() else []
        values = tuple(TYPES[self.field.base].convert(item, param, ctx) for item in items)
        wrong = [item for item in values if self.field.choices and item not in self.field.choices]
        if wrong:
            self.fail(f"{wrong[0]!r} is not one of {', '.join(self.field.choices)}", param, ctx)
        return values


def click_type(field: OptionField) -> click.ParamType[Any]:
    """Return the click type of an option."""
    if field.several:
        return CommaSeparated(field)
    if field.choices:
        return click.Choice(field.choices)
    return TYPES[field.base]


def flag(field: OptionField) -> click.Option:
    """Return the flag of an option. A bool that is on by default, or open, gets a `--no-` form beside it."""
    declarations = [field.flag, field.name]
    if field.base is bool and not field.several:
        declarations[0] += f"/--no-{field.flag[2:]}" if field.default is not False else ""
    if field.short:
        declarations.insert(0, "-" + field.short.lstrip("-"))
    shown = field.default not in (None, "", (), False)
    if field.base is bool and not field.several:
        return click.Option(declarations, is_flag=True, default=field.default, help=field.help, show_default=shown)
    default = field.default
    text = ",".join(map(str, default)) if field.several and default else shown
    return click.Option(declarations, type=click_type(field), default=default, help=field.help, show_default=text or False)


def flags(options: type, arguments: tuple[str, ...] = ()) -> list[click.Parameter]:
    """Return a parameter per field of an `Options` dataclass; those named in `arguments` are written without a flag."""
    return [
        click.Argument([field.name], type=click_type(field), default=field.default, required=False)
        if field.name in arguments
        else flag(field)
        for field in fields.read(options)
    ]


def place(
    declarations: tuple[str, ...], default: str = "", help: str = "", exists: bool = False, required: bool = True
) -> click.Parameter:
    """Return the parameter for a path that a verb reads or writes: a flag if its declaration begins with a dash."""
    kind = click.Path(path_type=Path, exists=exists)
    if declarations[0].startswith("-"):
        if default:
            return click.Option(declarations, type=kind, default=default, help=help, show_default=True)
        return click.Option(declarations, type=kind, required=required, help=help)
    return click.Argument(declarations, type=kind)


def verb_command(verb: Verb) -> click.Command:
    """Return the command of a verb, made from its row and its module's `Options`."""
    module = verb.load()
    parameters: list[click.Parameter] = []
    if verb.source:
        said = f"The {verb.reads} to read."
        parameters.append(place(verb.source, help=said, exists=True, required=not verb.source_may_lack))
    if verb.judges:
        parameters.append(REPORT)
    else:
        parameters.append(place(verb.dest, verb.default_dest, help=f"Where to write the {verb.makes}."))
    parameters += flags(module.Options, verb.arguments)
    runner = _judge if verb.judges else _perform
    names = {parameter.name for parameter in parameters}
    if len(names) < len(parameters):
        raise TypeError(f"{verb.module}.Options has a field named like a parameter of its command; have: {names}")

    def callback(**values: Any) -> None:
        source = values.pop(verb.source[-1]) if verb.source else None
        runner(verb, source, module.Options, values)

    return click.Command(
        verb.name, callback=callback, params=parameters, help=module.__doc__, short_help=verb.help, epilog=None
    )


REPORT = click.Option(
    ["-r", "--report", "reports"],
    type=click.Path(path_type=Path),
    multiple=True,
    help="Write the report here, as JSON, Markdown, JUnit XML or one HTML page by suffix (.json, .md, .xml, .html); may be "
    "given several times. Without it: JSON beside the package, in PACKAGE.<judge>.json.",
)


def beside(package: Path, judge: str) -> Path:
    """Return where the report of a judge lies by default: beside the package, which must stay as it was sealed."""
    package = package.absolute()
    return package.with_name(f"{package.name}.{judge}.json")


def _perform(verb: Verb, source: Path | None, options: type, values: dict[str, Any]) -> None:
    from ovconvert.perform import perform
    from ovconvert.progress import shown

    dest = values.pop("dest")
    with shown() as progress:
        perform(verb, source, dest, options(**values), progress)
    if str(dest) != STDOUT:  # which has what was made
        click.echo(dest)


def _judge(verb: Verb, source: Path | None, options: type, values: dict[str, Any]) -> None:
    from ovconvert.perform import gate, judge
    from ovconvert.progress import shown
    from ovconvert.report import to_table
    from ovconvert.screen import draw

    if source is None:
        raise UsageError(f"{verb.name} needs a package")
    dests = values.pop("reports") or (beside(source, verb.name),)
    with shown() as progress:
        report = judge(verb, source, dests, options(**values), progress)
    click.echo(draw(to_table(report)))
    for dest in dests:
        click.echo(f"report: {dest}")
    gate(verb, report)
