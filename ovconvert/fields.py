"""Reads an `Options` dataclass: what each field is called, what it accepts, and whether a given value is acceptable."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASES = (bool, int, float, str, Path)
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


@dataclass(frozen=True)
class OptionField:
    """One option: its base type, whether it holds several values (a tuple), and whether it may be left out (None)."""

    name: str
    base: type
    several: bool
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...]
    short: str

    @property
    def flag(self) -> str:
        """Return the long flag of the option."""
        return "--" + self.name.replace("_", "-")

    def accepts(self) -> str:
        """Return in words what the option accepts."""
        what = "one of " + ", ".join(self.choices) if self.choices else WORDS[self.base]
        return f"a list, each {what}" if self.several else what

    def convert(self, value: Any) -> Any:
        """Return `value`, as read from TOML, as the option's type. Raises ValueError that says what is accepted."""
        if self.several:
            if not isinstance(value, list | tuple):
                raise ValueError(f"{value!r} is not {self.accepts()}")
            return tuple(self._convert_one(item) for item in value)
        return self._convert_one(value)

    def _convert_one(self, value: Any) -> Any:
        given = str if self.base is Path else self.base
        fits = isinstance(value, given) and (given is bool or not isinstance(value, bool))
        if self.base is float and isinstance(value, int) and not isinstance(value, bool):
            fits = True
        if not fits or (self.choices and value not in self.choices):
            raise ValueError(f"{value!r} is not {self.accepts()}")
        return self.base(value)


def read(options: type) -> tuple[OptionField, ...]:
    """Return the fields of an `Options` dataclass in their order. Raises TypeError for a type that no flag can have."""
    hints = typing.get_type_hints(options)
    return tuple(_read_field(options, field, hints[field.name]) for field in dataclasses.fields(options))


def _read_field(options: type, field: dataclasses.Field[Any], hint: Any) -> OptionField:
    base, several, optional = _peel(hint)
    if base not in BASES:
        raise TypeError(f"{options.__module__}.{options.__qualname__}.{field.name}: no flag for type {hint}")
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if default is dataclasses.MISSING:
        raise TypeError(f"{options.__module__}.{options.__qualname__}.{field.name} has no default")
    meta = field.metadata
    return OptionField(field.name, base, several, optional, default, meta["help"], tuple(meta["choices"]), meta["short"])


def _peel(hint: Any) -> tuple[Any, bool, bool]:
    """Return (base type, is a tuple, may be None) of a type hint."""
    optional = several = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = len(rest) < len(typing.get_args(hint))
        hint = rest[0] if len(rest) == 1 else None
    if typing.get_origin(hint) is tuple:
        several = True
        parts = set(typing.get_args(hint)) - {Ellipsis}
        hint = parts.pop() if len(parts) == 1 else None
    return hint, several, optional
