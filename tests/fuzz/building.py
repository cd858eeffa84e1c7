"""A program while it is being made: its statements, the values that stand so far, and the data of its owners.

Every value is computed as it is made, so a call whose operands have no meaning, or whose result leaves the number
format, is never written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.boxes import Array, Box, Format, Outside, admitted, point, provided

T = TypeVar("T")

ROLES = {"a": 1, "b": 1, "h": 2}
"""Owners, and how many members an array role has."""

FIXED_RANGES = [
    (-4, 4), (0, 1), (-1, 1), (0.5, 8), (-8, -0.5), (-12, 0), (0.01, 1000), (-0.1, 0.3), (100, 101), (0.001, 0.01),
    (0, 300), (-30000, 30000), (0.01, 1000000), (-1000000, 1000000), (1, 1000000000), (-1073741823, 1073741823),
]  # fmt: skip
INT_RANGES = [(-9, 9), (0, 120), (1, 31), (-1000, 1000), (0, 1), (-3, -1), (0, 2**20), (1 - 2**30, 2**30 - 1)]
MAGNITUDES = [1.0, 100.0, 2.0**14, 2.0**28]
"""Of what is not declared."""

LONGEST = 300
"""Characters of an expression that is written out where it is used."""


@dataclass(frozen=True, eq=False)
class Value:
    """text: how a statement refers to it. owners: whose numbers it is made of. constant: known from the text alone."""

    text: str
    box: Box
    owners: frozenset[str] = frozenset()
    constant: bool = False
    given: bool = False

    @property
    def kind(self) -> str:
        return self.box.kind

    @property
    def shape(self) -> tuple[int, ...]:
        return self.box.shape


@dataclass
class Builder:
    draw: Callable[[st.SearchStrategy[Any]], Any]
    f: Format
    sizes: Sequence[int]
    lines: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    used: set[Value] = field(default_factory=set)
    inputs: dict[str, Array] = field(default_factory=dict)
    params: dict[str, Array] = field(default_factory=dict)
    names: int = 0

    # -- choices -----------------------------------------------------------------------------------------------------

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.draw(st.integers(0, len(choices) - 1))] if len(choices) > 1 else choices[0]

    def whole(self, lo: int, hi: int) -> int:
        return int(self.draw(st.integers(lo, hi)))

    def chance(self, one_in: int) -> bool:
        return self.whole(1, one_in) == one_in

    def name(self, letter: str) -> str:
        self.names += 1
        return f"{letter}{self.names}"

    def operand(self, fits: Callable[[Value], bool] = lambda value: True) -> Value | None:
        """One of the last values that fit."""
        found = [value for value in self.values if not value.constant and fits(value)][-6:]
        return self.pick(found[::-1]) if found else None

    def literal(self, whole: bool | None = None) -> Value:
        """A number of the text."""
        numbers = [1, 2, -1, 3, 0, -5, 7, 100, 1.0, 0.5, -0.25, 2.5, 0.1, -1.5, 0.3, 1e-3, 1e-4, 1e-6, 12.75, 1000, 1e5]
        n = self.pick([n for n in numbers if whole is None or isinstance(n, int) is whole])
        text = f"{n!r}" if n >= 0 else f"(-{-n!r})"
        return Value(text, point("int" if isinstance(n, int) else "fixed", n), constant=True)

    # -- statements --------------------------------------------------------------------------------------------------

    def make(self, form: str, meaning: Callable[..., Box], *args: Value, **options: Any) -> Value | None:
        """The value of a call: `form` has a place for each operand and each option. None where it has no meaning."""
        try:
            box = admitted(self.f, meaning(self.f, *(arg.box for arg in args), **options))
        except Outside:
            return None
        text = form.format(*(arg.text for arg in args), **{key: shown(option) for key, option in options.items()})
        return self.bind(text, box, args)

    def bind(self, text: str, box: Box, args: Sequence[Value]) -> Value:
        """A name for the expression, with or without a promise, or the expression itself in brackets."""
        owners = frozenset().union(*(arg.owners for arg in args))
        self.used.update(args)
        if len(text) < LONGEST and self.chance(3):
            value = Value(f"({text})", box, owners)
        else:
            name = self.name("v")
            promise = self.promise(box) if self.chance(5) else ""
            self.lines.append(f"{name} = {text}{promise}")
            value = Value(name, box, owners)
        self.values.append(value)
        return value

    def promise(self, box: Box) -> str:
        if box.kind == "bit":
            return ""
        room = self.pick([0, 0, 1, 50])
        lo, hi = np.floor(box.lo.min()) - room, np.ceil(box.hi.max()) + room
        return f" in [{lo:.0f}, {hi:.0f}]" if max(-lo, hi) < min(self.f.limit, 2.0**30) else ""

    def sized(self, shape: Sequence[int]) -> str:
        return "[" + ", ".join("batch" if size == self.sizes[0] else str(size) for size in shape) + "]"

    def owner(self) -> str:
        taken = {value.text for value in self.values}
        return self.pick([["a", "b"][len(taken) % 2], "b", "a", "h[0]", "h[1]"])

    def input(self, kind: str, shape: tuple[int, ...], allowed: tuple[float, float] | None = None) -> Value:
        """An input, or a parameter, of one owner or of all members of an array role."""
        is_param = self.chance(5)
        role = "h" if self.chance(10) else self.owner()
        ranges = [r for r in (FIXED_RANGES if kind == "fixed" else INT_RANGES) if max(map(abs, r)) < self.f.limit]
        declared = allowed or (None if self.chance(4) else self.pick(ranges))
        magnitude = min(self.pick(MAGNITUDES), self.f.limit / 4) if declared is None else 0.0
        name = self.name("p" if is_param else "x")
        values = self.data(kind, (ROLES["h"], *shape) if role == "h" else shape, declared or (-magnitude, magnitude))
        contract = f" in [{shown(declared[0])}, {shown(declared[1])}]" if declared and kind != "bit" else ""
        public = " public" if self.chance(8) else ""
        word = "param" if is_param else "input"
        typed = self.sized(shape) if kind == "fixed" else f"{kind}{self.sized(shape)}"
        self.lines.append(f"{word} {name} : {typed} from {role}{public}{contract}")
        (self.params if is_param else self.inputs)[name] = values
        owners = frozenset({"h[0]", "h[1]"} if role == "h" else {role})
        value = Value(name, provided(self.f, kind, values), owners, given=True)
        self.values.append(value)
        return value

    def data(self, kind: str, shape: tuple[int, ...], allowed: tuple[float, float]) -> Array:
        """Numbers of an owner: in a row of zeros, ends, steps and others, drawn by one seed."""
        seed = self.whole(0, 200)
        lo, hi = (0, 1) if kind == "bit" else allowed
        near = float(np.clip(0.0, lo, hi))
        if not seed:
            return np.full(shape, near) if kind == "fixed" else np.full(shape, near).astype(np.int64)
        random = np.random.default_rng(seed)
        step = self.f.step if kind == "fixed" else 1.0
        anywhere = random.uniform(lo, hi, shape)
        tiny = np.exp(random.uniform(np.log(step), np.log(max(abs(lo), abs(hi), 1.0)), shape)) * random.choice([-1, 1])
        forms = [
            anywhere,
            np.round(anywhere / step) * step,
            random.choice([lo, hi, near, near + step, hi - step, lo + step, 1.0], shape),
            tiny,
        ]
        values = np.clip(np.choose(random.integers(0, len(forms), shape), forms), lo, hi)
        return np.asarray(values) if kind == "fixed" else np.asarray(np.rint(values)).astype(np.int64)


def shown(option: Any) -> str:
    """An option as the language writes it."""
    if isinstance(option, bool):
        return str(option).lower()
    if isinstance(option, list | tuple):
        return "[" + ", ".join(map(shown, option)) + "]"
    return repr(option)
