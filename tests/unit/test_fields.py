"""Options dataclasses are read as they are declared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ovconvert import fields
from ovconvert.options import option


@dataclass(frozen=True)
class Options:
    """One field of each kind."""

    size: str = option("tiny", "size", choices=("tiny", "full"), short="s")
    seed: int = option(0, "seed")
    alpha: float | None = option(None, "alpha")
    weights: tuple[float, ...] = option((), "weights")
    names: tuple[str, ...] | None = option(None, "names")
    voice: Path | None = option(None, "voice")
    split: bool = option(True, "split")


FIELDS = {field.name: field for field in fields.read(Options)}


def test_types_are_peeled() -> None:
    assert [(f.base, f.several, f.optional) for f in FIELDS.values()] == [
        (str, False, False),
        (int, False, False),
        (float, False, True),
        (float, True, False),
        (str, True, True),
        (Path, False, True),
        (bool, False, False),
    ]
    assert FIELDS["size"].choices == ("tiny", "full")
    assert FIELDS["size"].flag == "--size"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("size", "full", "full"),
        ("alpha", 1, 1.0),
        ("weights", [0, 0.5], (0.0, 0.5)),
        ("names", ["a"], ("a",)),
        ("voice", "a.wav", Path("a.wav")),
        ("split", False, False),
    ],
)
def test_values_convert(name: str, value: object, expected: object) -> None:
    converted = FIELDS[name].convert(value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", "huge"), ("size", 1), ("seed", 1.5), ("seed", True), ("seed", "1"), ("weights", 0.5), ("split", 1)],
)
def test_values_of_a_wrong_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="is not"):
        FIELDS[name].convert(value)


def test_a_type_that_no_flag_can_have_is_our_bug() -> None:
    @dataclass(frozen=True)
    class Wrong:
        table: dict[str, int] = option(None, "table")

    with pytest.raises(TypeError, match="no flag"):
        fields.read(Wrong)
