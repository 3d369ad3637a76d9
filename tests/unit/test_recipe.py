"""Recipes are read whole, and everything wrong with one is told at once."""

from __future__ import annotations

from pathlib import Path

import fakes
import pytest

from ovconvert import recipe
from ovconvert.errors import UsageError

GOOD = """
name = "garden"
[[step]]
verb = "seedling"
kind = "elm"
[[step]]
verb = "grow"
water = 2
parts = ["a", "b"]
soil = "@seedling/seed.txt"
[[step]]
verb = "weigh"
"""


@pytest.fixture(autouse=True)
def garden(monkeypatch: pytest.MonkeyPatch) -> fakes.Garden:
    return fakes.install(monkeypatch)


def test_a_recipe_becomes_typed_steps(tmp_path: Path) -> None:
    read = recipe.parse(GOOD, tmp_path)
    assert [(step.name, step.source) for step in read.steps] == [
        ("seedling", None),
        ("grow", "@seedling"),
        ("weigh", "@grow"),
    ]
    assert read.steps[1].options == fakes.GrowOptions(water=2.0, parts=("a", "b"), soil=Path("@seedling/seed.txt"))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = """
    nam = "x"
    [[step]]
    verb = "gorw"
    [[step]]
    verb = "weigh"
    flor = 1
    floor = "high"
    [[step]]
    verb = "seedling"
    kind = "ash"
    source = "x"
    [[step]]
    verb = "grow"
    soil = "nowhere.txt"
    water = true
    [[step]]
    verb = "seedling"
    """
    with pytest.raises(UsageError) as caught:
        recipe.parse(text, tmp_path)
    message = str(caught.value)
    for part in (
        "unknown recipe 'nam'; did you mean 'name'?",
        "a recipe needs a name",
        "step 1: unknown verb 'gorw'; did you mean 'grow'?",
        "step 2 (weigh): missing source",
        "unknown key 'flor'; did you mean 'floor'?",
        "floor = 'high' is not a number",
        "kind = 'ash' is not one of oak, elm",
        "seedling reads nothing, but source = 'x'",
        "soil = 'nowhere.txt': no such file",
        "water = True is not a number",
        "step 5 (seedling): there is an earlier step of that name",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no steps"),
        ("name = ", "is not TOML"),
        ('name = "x"\nstep = 3', "no steps"),
        ('name = "x"\n[[step]]\nkind = "elm"', "no verb; have: seedling, grow, weigh"),
        ('name = "x"\n[[step]]\nverb = "grow"\nsource = "gone"', "no such file or directory"),
        ('name = "x"\n[[step]]\nverb = "grow"\nsource = "@gone"', "no earlier step 'gone'"),
        ('name = "x"\n[[step]]\nverb = "seedling"\n[[step]]\nverb = "weigh"\nsource = "@seedling"', "reads a package"),
        ('name = "x"\n[[step]]\nverb = "seedling"\nforce = true', "unknown key 'force'"),
        ('name = "../x"\n[[step]]\nverb = "seedling"', "a recipe needs a name"),
    ],
)
def test_each_fault_is_told(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        recipe.parse(text, tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        recipe.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(UsageError, match="cannot be read"):
        recipe.load(tmp_path / "latin.toml")
