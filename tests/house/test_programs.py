"""A program that speaks reads exactly the fields of a request that it says it takes."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from imports import PACKAGE

from ovconvert.runtime import find_program
from ovconvert.runtime.request import Request
from ovconvert.runtime.speaking import Speaker

PROGRAMS = PACKAGE / "runtime" / "programs"
SPEAKERS = [
    path
    for path in sorted(PROGRAMS.iterdir())
    if (path / "__init__.py").is_file() and issubclass(find_program(path.name), Speaker)
]
FIELDS = {field.name for field in fields(Request)}
ASKED = {"request", "asked", "_request", "resolved"}  # what programs call a request
OF_PROFILES = {"profile"}  # read where a request is resolved


def read(source: str) -> set[str]:
    """Return the fields that are read of a request: as attributes, or by names in tuples that `getattr` goes through."""
    tree = ast.parse(source)
    owners = {
        (node.value.id if isinstance(node.value, ast.Name) else node.value.attr, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute)
    }
    return {name for owner, name in owners if owner in ASKED} & FIELDS


def taken_and_read(folder: Path) -> tuple[set[str], set[str]]:
    takes = find_program(folder.name).TAKES
    free = {name for name, allowed in takes.items() if not allowed}
    sources = sorted(folder.rglob("*.py"))
    assert len(sources) > 3
    return free - OF_PROFILES, set().union(*(read(path.read_text(encoding="utf-8")) for path in sources))


@pytest.mark.parametrize("folder", SPEAKERS, ids=lambda folder: folder.name)
def test_a_program_takes_what_it_reads_and_reads_what_it_takes(folder: Path) -> None:
    taken, found = taken_and_read(folder)
    assert taken - found == set(), "taken, and read nowhere: ignored without a word"
    assert found - taken == set(), "read, and refused before"


def test_the_reading_finds_fields_of_requests_alone() -> None:
    assert read("a = request.steps; b = self._request.sway; c = voice.speed; d = asked.other") == {"steps", "sway"}
    assert len(SPEAKERS) >= 3
