"""The entries of a TOML file with their lines, read one by one and checked: what is wrong is collected, and said at
once.

What the entries mean is `cluster.py`'s. `tomllib` tells no lines, so they are looked for here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..transport.address import check_address
from ..transport.identity import check_public

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

__all__ = ["Entries", "Where"]

Where = tuple[str | int, ...]
"""Where an entry is: names of tables, and positions in lists of tables."""

_KEY = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADING = re.compile(rf"\s*(\[\[?)\s*({_KEYS})\s*\]")
_ENTRY = re.compile(rf"\s*({_KEYS})\s*=")


class Entries:
    """Of a file. A method that reads an entry returns a value of the right type in any case; `finish` raises what was
    wrong."""

    def __init__(self, path: Path, missing: str = "") -> None:
        """InputError when there is no TOML. missing: what to do where there is no file."""
        self.path = path
        try:
            self._text = path.read_text(encoding="utf-8")
            self.data: Mapping[str, Any] = tomllib.loads(self._text)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}{missing}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {error}") from None
        self._lines = lines_of(self._text)
        self._problems: list[str] = []

    def origin(self, *where: str | int) -> str:
        """The place of an entry, or of the table that should have it: "cluster.toml:4"."""
        while where and where not in self._lines:
            where = where[:-1]
        return f"{self.path}:{self._lines.get(where, 1)}"

    def origin_of_text(self, text: str, *where: str | int) -> str:
        """The place of a text in an entry, such as an element of a list."""
        first = int(self.origin(*where).rpartition(":")[2])
        for number, line in enumerate(self._text.splitlines()[first - 1 :], first):
            if f'"{text}"' in line or f"'{text}'" in line:
                return f"{self.path}:{number}"
        return self.origin(*where)

    def wrong(self, origin: str, problem: str) -> None:
        self._problems.append(f"{origin}: {problem}")

    def finish(self) -> None:
        """InputError with all that was wrong."""
        if self._problems:
            raise InputError("\n".join(dict.fromkeys(self._problems)))

    # -- reading --------------------------------------------------------------------------------------------------

    def expect_known(self, table: Mapping[str, Any], known: Sequence[str], *where: str | int) -> None:
        for name in sorted(table.keys() - set(known)):
            title = f"[{'.'.join(map(str, where))}] has" if where else "the file has"
            self.wrong(self.origin(*where, name), f"{title} {name!r}; expected {', '.join(known)}")

    def table(self, name: str) -> Mapping[str, Any]:
        table = self.data.get(name)
        if isinstance(table, dict):
            return table
        self.wrong(self.origin(name), f"expected a table [{name}]")
        return {}

    def text(self, table: Mapping[str, Any], *where: str | int, hint: str = "") -> str:
        """An entry of the table; where: its place, its own name last."""
        value = table.get(str(where[-1]))
        if isinstance(value, str) and value:
            return value
        self.wrong(self.origin(*where), f'[{".".join(map(str, where[:-1]))}]: expected {where[-1]} = "…"{hint}')
        return ""

    def address(self, table: Mapping[str, Any], *where: str | int, hint: str = "") -> str:
        text = self.text(table, *where, hint=hint)
        try:
            return check_address(text, self.origin(*where)) if text else ""
        except InputError as error:
            self._problems.append(str(error))
            return ""

    def public_key(self, key: object, origin: str, what: str) -> str:
        try:
            return check_public(key if isinstance(key, str) else "")
        except InputError as error:
            self.wrong(origin, f"{what}: {error}, found {key!r}")
            return ""

    def count(self, table: Mapping[str, Any], *where: str | int) -> int | None:
        """A whole number above 0; None where there is no such entry."""
        value = table.get(str(where[-1]))
        if value is None or (type(value) is int and value > 0):
            return value
        self.wrong(self.origin(*where), f"{where[-1]}: expected a whole number above 0, found {value!r}")
        return None


def lines_of(text: str) -> dict[Where, int]:
    """The lines of all headings and entries of a file that is TOML."""
    found: dict[Where, int] = {}
    counts: dict[Where, int] = {}
    table: Where = ()
    for number, line in enumerate(text.splitlines(), 1):
        if heading := _HEADING.match(line):
            table = _names(heading[2])
            if heading[1] == "[[":
                found.setdefault(table, number)
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found[table] = number
        elif entry := _ENTRY.match(line):
            found.setdefault((*table, *_names(entry[1])), number)
    return found


def _names(keys: str) -> Where:
    return tuple(name.strip("\"'") for name in re.findall(_KEY, keys))
