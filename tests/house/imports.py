"""Which module imports which, read from source without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ovconvert"


@dataclass(frozen=True)
class Import:
    """One import: who, whom, on which line, and whether only a type checker or a called function executes it."""

    importer: str
    imported: str
    line: int
    typing_only: bool
    inside_function: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def sources(package: Path) -> list[Path]:
    """Return every source file below `package`. Fails if there is none: a guard that sees nothing holds nothing."""
    found = sorted(package.rglob("*.py"))
    assert found, f"no source below {package}"
    return found


def module_name(path: Path, package: Path) -> str:
    """Return the dotted name of a source file."""
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(package: Path) -> Iterator[Import]:
    """Yield every import of every module below `package`, wherever in the file it stands."""
    modules = {module_name(path, package): path for path in sources(package)}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        here = name if path.name == "__init__.py" else name.rpartition(".")[0]
        yield from _walk(tree, name, here, modules, typing_only=False, inside_function=False)


def _walk(
    node: ast.AST, importer: str, here: str, modules: dict[str, Path], *, typing_only: bool, inside_function: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        typing = typing_only or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        inside = inside_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for imported in _imported(child, here, modules):
            yield Import(importer, imported, child.lineno, typing, inside)  # type: ignore[attr-defined]
        yield from _walk(child, importer, here, modules, typing_only=typing, inside_function=inside)


def _imported(node: ast.AST, here: str, modules: dict[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = here.split(".")
        above = ".".join(parts[: len(parts) - node.level + 1])
        base = f"{above}.{base}" if base else above
    # `from package import module` imports the module; `from module import name` the module that holds the name
    return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names]
