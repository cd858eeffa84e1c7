"""What a value in a control message may be: kinds of values, each of which says why something is none.

Which fields a message has is `messages.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

__all__ = [
    "NAME",
    "Digits",
    "Field",
    "Flag",
    "Listed",
    "Mapped",
    "Maybe",
    "Real",
    "Seconds",
    "Shape",
    "Text",
    "Whole",
]

NAME = 256  # characters of a role, a stage, a result; the language's own limit is lower
COUNT = 1 << 48  # bytes and indices: what no session reaches
MANY = 1 << 12  # roles or results of a plan


class Field(Protocol):
    """What a value may be."""

    def problem(self, value: object) -> str:
        """Why this value is none; empty when it is one."""


@dataclass(frozen=True)
class Text:
    most: int

    def problem(self, value: object) -> str:
        if isinstance(value, str) and len(value) <= self.most:
            return ""
        return f"expected a text of at most {self.most} characters"


@dataclass(frozen=True)
class Digits:
    """Hexadecimal digits, this many."""

    count: int

    def problem(self, value: object) -> str:
        if isinstance(value, str) and len(value) == self.count and not set(value) - set("0123456789abcdef"):
            return ""
        return f"expected {self.count} hexadecimal digits"


@dataclass(frozen=True)
class Whole:
    least: int = 0
    most: int = COUNT

    def problem(self, value: object) -> str:
        if type(value) is int and self.least <= value <= self.most:
            return ""
        return f"expected a whole number, {self.least} to {self.most}"


@dataclass(frozen=True)
class Seconds:
    """A number of seconds that have passed."""

    def problem(self, value: object) -> str:
        if type(value) in (int, float) and 0 <= value < COUNT:  # type: ignore[operator]
            return ""
        return "expected a number of seconds"


@dataclass(frozen=True)
class Real:
    """A finite number, not below 0."""

    def problem(self, value: object) -> str:
        if type(value) in (int, float) and 0 <= value < float("inf"):  # type: ignore[operator]
            return ""
        return "expected a number of at least 0"


@dataclass(frozen=True)
class Flag:
    def problem(self, value: object) -> str:
        return "" if isinstance(value, bool) else "expected true or false"


@dataclass(frozen=True)
class Maybe:
    """One of these or nothing (null)."""

    of: Field

    def problem(self, value: object) -> str:
        return "" if value is None else self.of.problem(value)


@dataclass(frozen=True)
class Listed:
    of: Field
    most: int = MANY

    def problem(self, value: object) -> str:
        if not isinstance(value, list) or len(value) > self.most:
            return f"expected a list of at most {self.most}"
        return next((found for each in value if (found := self.of.problem(each))), "")


@dataclass(frozen=True)
class Mapped:
    """An object whose names are not fixed."""

    keys: Field
    values: Field
    most: int = MANY

    def problem(self, value: object) -> str:
        if not isinstance(value, dict) or len(value) > self.most:
            return f"expected an object of at most {self.most} entries"
        return next((found for k, v in value.items() if (found := self.keys.problem(k) or self.values.problem(v))), "")


@dataclass(frozen=True)
class Shape:
    """An object with these fields, all of them but the optional ones; others only if it is `open`."""

    fields: Mapping[str, Field]
    open: bool = False
    optional: Mapping[str, Field] = field(default_factory=dict)

    def problem(self, value: object) -> str:
        if not isinstance(value, dict):
            return "expected an object"
        if not self.fields.keys() <= value.keys():
            return f"{min(self.fields.keys() - value.keys())} is missing"
        known = self._known
        if not self.open and not value.keys() <= known.keys():
            return f"{min(value.keys() - known.keys())[:NAME]!r} is not known"
        for name, each in value.items():
            if name in known and (found := known[name].problem(each)):
                return f"{name}: {found}"
        return ""

    @cached_property
    def _known(self) -> Mapping[str, Field]:
        return {**self.fields, **self.optional}
