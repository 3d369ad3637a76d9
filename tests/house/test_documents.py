"""README, recipes and CI say what the code does."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import yaml
from imports import ROOT

from ovconvert import errors, recipe
from ovconvert.cli import cli
from ovconvert.doctor import parse_requirements, within
from ovconvert.errors import OvconvertError

CI_RECIPE = ROOT / "recipes" / "ci-benchmark"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", CI_RECIPE / "README.md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def commands(text: str) -> list[list[str]]:
    """Return every command line of ours in the code of a Markdown text, split into words, without the program."""
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, re.DOTALL)
    lines = [part for block in blocks for line in block.replace("\\\n", " ").splitlines() for part in line.split("&&")]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0].rsplit("/", 1)[-1] == "ovconvert"]


def problems(line: list[str]) -> list[str]:
    """Return what of a command line does not exist: the command, or a flag of it."""
    if not line or line[0].startswith("-"):
        return []
    command = cli.get_command(click.Context(cli), line[0])
    if command is None:
        return [f"no command {line[0]}"]
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    given = [word.partition("=")[0] for word in line[1:] if re.fullmatch(r"--?[a-z][a-z0-9-]*(=.*)?", word)]
    return [f"{line[0]} has no {flag}" for flag in given if flag not in flags]


def test_every_command_in_the_documents_exists() -> None:
    found = [line for document in DOCUMENTS for line in commands(document.read_text())]
    assert len(found) > 5
    assert [problem for line in found for problem in problems(line)] == []


def test_the_command_guard_can_fail() -> None:
    text = "```bash\n.venv/bin/ovconvert exprot x && ovconvert run --fast r.toml\n```"
    assert [problem for line in commands(text) for problem in problems(line)] == [
        "no command exprot",
        "run has no --fast",
    ]


def of_script(text: str) -> list[list[str]]:
    """Return the command lines of a script that takes two installed ovconvert as $old and $new."""
    return commands("```bash\n" + re.sub(r'"\$(old|new)"', "ovconvert", text) + "```")


def test_the_script_and_the_workflow_for_ci_use_what_exists() -> None:
    text = (CI_RECIPE / "compare.sh").read_text()
    lines = of_script(text)
    assert [line[0] for line in lines] == ["make-checkpoint", "export", "export", "compare"]
    assert [problem for line in lines for problem in problems(line)] == []
    assert problems(of_script('"$new" compare a --fail-under 5%')[0]) == ["compare has no --fail-under"]
    (job,) = yaml.safe_load((CI_RECIPE / "workflow.yml").read_text())["jobs"].values()
    scripts = "\n".join(step.get("run", "") for step in job["steps"])
    (script,) = re.findall(r"bash (\S+\.sh)", scripts)
    assert ROOT / script == CI_RECIPE / "compare.sh"
    assert "build/speed/compare.md" in scripts and '--report "$work/compare.md"' in text


def pinned(text: str, word: str) -> set[str]:
    """Return the command lines of a text, README or script, that have `word` in them, without where the tools lie."""
    lines = (part.strip() for line in text.replace("\\\n", " ").splitlines() for part in line.split("&&"))
    found = {re.sub(r"\S*/bin/", "", line) for line in lines if re.match(rf"\S*/bin/{word}\b", line)}
    assert found, f"no command with {word}"
    return found


@pytest.mark.parametrize("word", ["pip install", "pytest"])
def test_ci_runs_what_the_readme_says(word: str) -> None:
    said = pinned((ROOT / "README.md").read_text(), word)
    assert pinned((ROOT / ".ci" / "run").read_text(), word) <= said


def test_the_guard_of_ci_can_fail() -> None:
    assert pinned("x && .venv/bin/pytest -q", "pytest") == {"pytest -q"}
    assert pinned('"$venv"/bin/pytest -x', "pytest") != {"pytest -q"}
    with pytest.raises(AssertionError, match="no command"):
        pinned("echo pytest", "pytest")


def exit_codes(text: str) -> dict[int, str]:
    """Return {code: class} of the table of exit codes in a Markdown text."""
    return {int(code): name for code, name in re.findall(r"^\| (\d+) \| `?(\w*)`? *\|", text, re.MULTILINE)}


def test_exit_codes_of_the_readme_are_those_of_the_errors() -> None:
    classes = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, OvconvertError)]
    real = {item.exit_code: item.__name__ for item in classes if item is not OvconvertError}
    assert len(real) == len(classes) - 1
    said = exit_codes((ROOT / "README.md").read_text())
    assert {code: name for code, name in said.items() if name} == real
    assert {0, 130} <= set(said)


def test_the_guard_of_exit_codes_can_fail() -> None:
    assert exit_codes("| 9 | `Odd` | text |\n| 0 | | done |") == {9: "Odd", 0: ""}


RECIPES = sorted((ROOT / "recipes").rglob("*.toml"))


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses(path: Path) -> None:
    assert recipe.load(path).name == path.stem


def test_constraints_keep_the_bounds_and_name_every_requirement() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    exact = dict(line.split("==") for line in lines)
    asked = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    needs = parse_requirements([*PROJECT["dependencies"], *asked])
    assert len(needs) > 20
    for need in needs:
        assert "<" in need.bounds, f"{need.name} has no upper bound"
        assert within(exact[need.name.lower()], need.bounds), need


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text
    assert "END OF TERMS AND CONDITIONS" in text
