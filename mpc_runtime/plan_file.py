"""Plans from files and buffers: read by the types of their fields, then verified.

Whatever loads a plan comes through here, so nothing that executes plans ever holds one that was not verified
(`analysis.verify`). The format is `plan.py`'s: the fields of its records in order, each as its annotation says.
"""

from __future__ import annotations

import json
import math
import os
import types
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from .analysis.verify import verify
from .errors import CompileError, Error
from .gates import GATES, Gate
from .plan import APART, FORMAT, HEADER, MAGIC, Origin, Plan

__all__ = ["load", "read"]

Reader = Callable[[Any], Any]

MAX_DIGITS = 1 << 65
"""Whole numbers in a plan are below this: the largest are constants of a word, of either sign."""

MAX_TEXT = 1 << 16
"""Characters of a name, or of the expression that a client prepares."""

ARRAYS = ("<u8", "|u1")
"""How constants are stored: words, and bits as bytes."""


def load(path: str | os.PathLike[str]) -> Plan:
    """The verified plan in a file.

    Raises CompileError when the file is not a plan of this format, is damaged, or may not be executed, naming the rule
    and the op; Error when it cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as e:
        raise Error(f"{path}: cannot be read: {e.strerror}") from None
    return read(data, str(path))


def read(data: bytes | bytearray | memoryview, name: str = "plan") -> Plan:
    """The verified plan in a buffer, of which nothing is kept. Raises CompileError as `load` does."""
    data = memoryview(data)
    if len(data) < HEADER.size or data[:8] != MAGIC:
        found = f"it does not start with {MAGIC.decode()}"
        raise CompileError(f"{name}: not a plan ({found}); make one with `mpcc compile`")
    _, version, length = HEADER.unpack_from(data)
    if version != FORMAT:
        formats = f"plan format {version}, but this version reads format {FORMAT}"
        raise CompileError(f"{name}: {formats}; compile it again")
    try:
        plan = _decoded(data, length)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as e:
        found = "it is nested too deeply" if isinstance(e, RecursionError) else f"{type(e).__name__}: {e}"
        raise CompileError(f"{name}: the plan is damaged ({found}); compile it again") from None
    verify(plan, name)
    return plan


def _decoded(data: memoryview, length: int) -> Plan:
    at = HEADER.size + length
    if at > len(data):
        raise ValueError(f"{length} bytes of head in a file of {len(data)}")
    text = bytes(data[HEADER.size : at])
    head = json.loads(text)
    constants = []
    for dtype, shape in head.pop("constants"):
        if dtype not in ARRAYS:
            raise ValueError(f"a constant of {dtype!r}")
        count = math.prod(_built(tuple[int, ...], shape))
        array = np.frombuffer(data, dtype, count, at) if count else np.empty(0, dtype)
        constants.append(array.reshape(shape).copy())
        at += array.nbytes
    values = {name: _built(hint, head.pop(name)) for name, hint in _hints(Plan).items() if name not in APART}
    if head:
        raise ValueError(f"no field of a plan: {sorted(head)[0]!r}")
    debug = json.loads(bytes(data[at:]))
    origins = _built(tuple[tuple[Origin, ...], ...], debug["origins"])
    plan = Plan(
        **values,
        constants=tuple(constants),
        origins=origins,
        source=_text(debug["source"], 1 << 24),
        filename=_text(debug["filename"], MAX_TEXT),
    )
    if origins and [len(o) for o in origins] != [len(p.ops) for p in plan.procedures]:
        raise ValueError("the origins are not those of the ops")
    if plan.head() != text:
        raise ValueError("the text is not canonical, so that two files would be one plan")
    return plan


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Field -> its resolved annotation, in the order of the fields."""
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _built(hint: Any, value: Any) -> Any:
    """A value of the annotated type from JSON data. Raises ValueError for data of another type."""
    return _reader(hint)(value)


@cache
def _reader(hint: Any) -> Reader:
    """What makes values of an annotated type: found once, since a plan has hundreds of thousands of values."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _tuples(arguments)
    if origin is Literal:
        return partial(_one_of, arguments)
    if origin in (Union, types.UnionType):
        some = _reader(next(a for a in arguments if a is not type(None)))
        return lambda value: None if value is None else some(value)
    if hint is Gate:
        return _gate
    if is_dataclass(hint):
        return lambda value: _record(hint, _list(value))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if hint is float:
        return _float
    if hint is str:
        return lambda value: _text(value, MAX_TEXT)
    return _int if hint is int else partial(_exactly, hint)


def _int(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"expected int, found {_shown(value)}")
    if not -MAX_DIGITS < value < MAX_DIGITS:
        raise ValueError("a whole number beyond 65 bits")
    return value


def _exactly(hint: Any, value: Any) -> Any:
    if type(value) is not hint or hint is not bool:
        raise ValueError(f"expected {getattr(hint, '__name__', hint)}, found {_shown(value)}")
    return value


def _gate(value: Any) -> Any:
    name, *rest = _list(value)
    return _record(GATES[_one_of(tuple(GATES), name)], rest)


@cache
def _readers(kind: Any) -> tuple[Reader, ...]:
    """Of the fields of a dataclass."""
    return tuple(_reader(hint) for hint in _hints(kind).values())


def _record(kind: Any, row: Sequence[Any]) -> Any:
    """A dataclass from its fields in order."""
    readers = _readers(kind)
    if len(row) != len(readers):
        raise ValueError(f"{kind.__name__}: expected {len(readers)} fields, found {len(row)}")
    return kind(*[read(value) for read, value in zip(readers, row, strict=True)])


def _tuples(arguments: tuple[Any, ...]) -> Reader:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        each = _reader(arguments[0])
        return lambda value: tuple([each(part) for part in _list(value)])
    readers = [_reader(hint) for hint in arguments]

    def made(value: Any) -> tuple[Any, ...]:
        if len(_list(value)) != len(readers):
            raise ValueError(f"expected {len(readers)} values, found {len(value)}")
        return tuple([read(part) for read, part in zip(readers, value, strict=True)])

    return made


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list, found {_shown(value)}")
    return value


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"expected one of {', '.join(map(str, choices))}, found {_shown(value)}")
    return value


def _float(value: Any) -> float:
    number = float.fromhex(_text(value, 64))
    if math.isnan(number):
        raise ValueError("a range without a number")
    return number


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"expected a text of at most {most} characters, found {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A value in a message, shortened."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
