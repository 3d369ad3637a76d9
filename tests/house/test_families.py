"""The stop rule: a family's name occurs in its own files and nowhere else in the package."""

from __future__ import annotations

import re
from pathlib import Path

from imports import PACKAGE, ROOT, sources

OWN = ("families", "runtime/programs")  # where a family may be named, besides recipes and tests


def family_names(package: Path) -> list[str]:
    """Return the names of the families below `package`: files and directories of `families`."""
    here = (package / "families").iterdir()
    found = sorted(path.stem for path in here if not path.name.startswith(("_", ".")) and path.suffix in ("", ".py"))
    assert found, f"no family below {package}"
    return found


def mentions(package: Path) -> list[str]:
    """Return every line of source outside of a family's own files that names a family, in any spelling."""
    names = re.compile("|".join(re.escape(name) for name in family_names(package)), re.IGNORECASE)
    found = []
    for path in sources(package):
        inside = path.relative_to(package).as_posix()
        if inside.startswith(tuple(f"{own}/" for own in OWN)):
            continue
        found += [
            f"{inside}:{number}: {line.strip()}"
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if names.search(_code(line))
        ]
    return found


def _code(line: str) -> str:
    """Return a line without its comment, which may say why by example."""
    return line.partition("  # ")[0]


def test_no_family_is_named_outside_of_its_files() -> None:
    strings = [line for line in mentions(PACKAGE) if re.search(r"""['"]""", line)]
    assert strings == []


def test_each_family_has_its_three_files() -> None:
    for name in family_names(PACKAGE):
        assert list((PACKAGE / "runtime" / "programs").glob(f"{name}*")), f"{name} has no program"
        assert list((ROOT / "recipes").glob(f"{name}*.toml")), f"{name} has no recipe"


def test_the_guard_can_fail(tmp_path: Path) -> None:
    for file in ("families/tacotron.py", "families/__init__.py", "runtime/programs/tacotron.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('NAME = "tacotron"')
    assert mentions(tmp_path) == []
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "export.py").write_text('if family == "Tacotron2":\n    pass  # as tacotron\n')
    assert mentions(tmp_path) == ['stages/export.py:1: if family == "Tacotron2":']
