"""How functions and layers of the language take their arguments: binding, defaults and what must be known at compile
time. Written once for both; the front end only evaluates the argument expressions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any

from compiler.graph import OpError, Value, constant
from compiler.ops.rules import typed


class Takes(Enum):
    """What a parameter accepts. All but values are known at compile time and reach the builder as Python objects."""

    VALUE = "a value"
    VALUES = "values"  # any number of positional ones, behind those that stand before it in the signature
    NUMBER = "a number"
    WHOLE = "a whole number"
    FLAG = "true or false"
    WHOLES = "a whole number or a list of them"  # -> tuple[int, ...]
    PAIR = "a whole number or a pair of them"  # -> (vertical, horizontal)
    LIST = "a list of whole numbers"  # -> tuple[int, ...]
    PAIRS = "a list of pairs of whole numbers"  # -> tuple[tuple[int, int], ...]
    PADDING = 'a whole number, a pair of them or "same"'  # -> (vertical, horizontal) or "same"
    SIDES = 'a whole number or "same"'
    BORDER = '"constant", "reflect" or "edge"'
    RESIZING = '"nearest" or "bilinear"'
    EQUATION = 'text such as "ij,jk->ik"'


WORDS: dict[Takes, tuple[str, ...]] = {
    Takes.PADDING: ("same",),
    Takes.SIDES: ("same",),
    Takes.BORDER: ("constant", "reflect", "edge"),
    Takes.RESIZING: ("nearest", "bilinear"),
}
"""The options of parameters that take text."""


class Missing(Enum):
    """No default: the argument must be given."""

    MISSING = "missing"


MISSING = Missing.MISSING

MAX_WHOLE = 2**40  # of sizes, axes and widths: beyond any tensor, and far below what NumPy's int64 holds
MAX_LISTED = 1000  # entries of a list of sizes, axes or widths; a tensor has far fewer axes
MAX_SHOWN = 60  # characters of an argument in a message


@dataclass(frozen=True)
class Parameter:
    """`default` is what the builder gets; `shown` how the signature prints it, when that differs.

    advice: what helps who passes a value that is not known at compile time.
    """

    name: str
    takes: Takes = Takes.VALUE
    default: Any = MISSING
    shown: str | None = None
    advice: str = "use a number, a const, a dim or a loop index"

    def __str__(self) -> str:
        if self.takes is Takes.VALUES:
            return self.shown or "a, b, …"
        if self.default is MISSING:
            return self.name
        default = self.default
        shown = self.shown or (str(default).lower() if isinstance(default, bool) else f"{default}")
        return f"{self.name}={shown}"


def signature(name: str, parameters: Sequence[Parameter]) -> str:
    """`softmax(x, axis=-1)`, for messages."""
    return f"{name}({', '.join(map(str, parameters))})"


def form_of(name: str, parameters: Sequence[Parameter]) -> str:
    """What to do about arguments of which no more can be said."""
    return f"its form is `{signature(name, parameters)}`"


def bind(
    name: str, parameters: Sequence[Parameter], positional: Sequence[Any], named: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as the builder takes them: (variadic values, the others by name).

    An argument is a Value, a Python number (a Fraction too), bool or string, or a (nested) list of these. Raises
    OpError whose `arg` is the position or the name of the argument to blame.
    """
    usage = signature(name, parameters)
    slots, several = places(parameters)
    if several is None and len(positional) > len(slots):
        count = f"at most {len(slots)} argument{'s' * (len(slots) != 1)}"
        raise OpError(f"{name} expects {count}, found {len(positional)}", f"its form is `{usage}`", len(slots))
    by_name = {parameter.name: parameter for parameter in parameters if parameter is not several}
    found: dict[str, Any] = {}
    for position, (parameter, argument) in enumerate(zip(slots, positional, strict=False)):
        found[parameter.name] = convert(name, parameter, argument, position, usage)
    for key, argument in named.items():
        if key not in by_name:
            close = difflib.get_close_matches(key, by_name, 1)
            hint = f"did you mean `{close[0]}`? " if close else ""
            raise OpError(f"{name} has no argument `{key}`", f"{hint}its form is `{usage}`", key)
        if key in found:
            raise OpError(f"{name} gets its argument `{key}` twice", f"its form is `{usage}`", key)
        found[key] = convert(name, by_name[key], argument, key, usage)
    for key, parameter in by_name.items():
        if key in found:
            continue
        if parameter.default is MISSING:
            raise OpError(f"{name} is missing its argument `{key}`", f"its form is `{usage}`")
        found[key] = parameter.default
    if several is None:
        return [], found
    rest = list(enumerate(positional))[len(slots) :]
    return [convert(name, several, argument, at) for at, argument in rest], found


def places(parameters: Sequence[Parameter]) -> tuple[Sequence[Parameter], Parameter | None]:
    """The parameters that positional arguments go to, one after another, and the one that takes all behind these."""
    at = next((at for at, parameter in enumerate(parameters) if parameter.takes is Takes.VALUES), None)
    return (parameters, None) if at is None else (parameters[:at], parameters[at])


def convert(name: str, parameter: Parameter, argument: Any, where: int | str, usage: str | None = None) -> Any:
    """One argument as its parameter takes it."""
    if isinstance(argument, str) and parameter.takes in (Takes.VALUE, Takes.VALUES):
        help = 'the only text is an option: `padding="same"`'
        raise OpError(f"`{parameter.name}` of {name} expects a value, found {_shown(argument)}", help, where)
    if parameter.takes in (Takes.VALUE, Takes.VALUES):
        return argument if isinstance(argument, Value) else constant(_plain(name, parameter, argument, where))
    entries = argument.size if isinstance(argument, Value) else len(argument) if isinstance(argument, tuple) else 1
    if entries > MAX_LISTED:
        message = f"`{parameter.name}` of {name} expects {parameter.takes.value}, found a list of {entries}"
        raise OpError(message, usage and f"its form is `{usage}`", where)
    plain = _plain(name, parameter, argument, where)
    found = _accepted(parameter.takes, plain)
    if found is not MISSING and parameter.takes is not Takes.NUMBER and _largest(found) > MAX_WHOLE:
        raise OpError(f"`{parameter.name}` of {name} is too large, found {_shown(plain)}", "use smaller sizes", where)
    if found is MISSING:
        message = f"`{parameter.name}` of {name} expects {parameter.takes.value}, found {_shown(plain)}"
        raise OpError(message, usage and f"its form is `{usage}`", where)
    return found


def _accepted(takes: Takes, plain: Any) -> Any:
    """`plain` in the builder's form, or MISSING when it is something else."""
    whole = type(plain) is int
    wholes = isinstance(plain, list) and all(type(item) is int for item in plain)
    pairs = isinstance(plain, list) and all(
        isinstance(item, list) and len(item) == 2 and all(type(end) is int for end in item) for item in plain
    )
    accepted: dict[Takes, tuple[bool, Any]] = {
        Takes.NUMBER: (type(plain) in (int, float), plain),
        Takes.WHOLE: (whole, plain),
        Takes.SIDES: (whole, plain),
        Takes.FLAG: (type(plain) is bool, plain),
        Takes.WHOLES: (whole or wholes, (plain,) if whole else tuple(plain) if wholes else ()),
        Takes.LIST: (wholes, tuple(plain) if wholes else ()),
        Takes.PAIRS: (pairs, tuple(tuple(item) for item in plain) if pairs else ()),
    }
    if isinstance(plain, str) and plain in WORDS.get(takes, ()):
        return plain
    if takes in (Takes.BORDER, Takes.RESIZING, Takes.EQUATION):
        return plain if takes is Takes.EQUATION and isinstance(plain, str) else MISSING
    if takes in (Takes.PAIR, Takes.PADDING):
        if whole:
            return plain, plain
        return tuple(plain) if wholes and len(plain) == 2 else MISSING
    fits, value = accepted[takes]
    return value if fits else MISSING


def _plain(name: str, parameter: Parameter, argument: Any, where: int | str) -> Any:
    """Python numbers and lists from what the front end evaluated."""
    if isinstance(argument, Value):
        if not argument.is_constant:
            raise OpError(
                f"`{parameter.name}` of {name} must be known at compile time,"
                f" found a {argument.visibility.name.lower()} value {typed(argument)}",
                parameter.advice,
                where,
            )
        return argument.array.tolist()
    if isinstance(argument, list | tuple):
        return [_plain(name, parameter, item, where) for item in argument]
    return float(argument) if isinstance(argument, Fraction) else argument


def _largest(found: Any) -> int:
    """The largest magnitude of the whole numbers of an accepted argument."""
    if isinstance(found, tuple):
        return max(map(_largest, found), default=0)
    return abs(found) if isinstance(found, int) else 0


def _shown(plain: Any) -> str:
    if isinstance(plain, str):
        return f'"{plain}"'
    if isinstance(plain, list) and len(plain) > MAX_SHOWN:
        return f"a list of {len(plain)}"
    text = str(plain).lower() if isinstance(plain, bool) else str(plain)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 2] + " …"
