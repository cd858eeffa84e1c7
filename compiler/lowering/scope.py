"""Names: what each stands for, what may be bound again, and what an unknown one was probably meant to be.

Roles, dims, consts, inputs, params, layers, defs and values share one namespace, in which each stands above its use and
only a value is bound again, by another value. A `def` has a scope of its own in which it sees the file's consts, dims
and earlier defs; its parameters are values. Built-in functions have a namespace of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from compiler.lowering.foreign import foreign_help
from compiler.lowering.problems import POISON, Note, Problem
from compiler.ops import FUNCTIONS, Function
from dsl import ast
from dsl.ast import Span
from dsl.errors import Unread, did_you_mean

__all__ = ["Binding", "Category", "RoleGroup", "Scope"]


class Category(Enum):
    """What a name was declared as; the value is the word for messages, with its article."""

    ROLE = "a role"
    DIM = "a dim"
    CONST = "a const"
    INPUT = "an input"
    PARAM = "a param"
    LAYER = "a layer"
    DEF = "a def"
    VALUE = "a value"
    INDEX = "a loop index"


SEEN_BY_DEFS = frozenset({Category.CONST, Category.DIM, Category.DEF})
OPERANDS = frozenset(Category) - {Category.ROLE, Category.DEF}
MOST_SHOWN = 6  # of the names that are known, where none of them is close


@dataclass(frozen=True)
class RoleGroup:
    """`role client` (no count) or `role hospital[5]`."""

    name: str
    count: int | None

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the owners: `client`, or `hospital[0]`, `hospital[1]`, …"""
        return (self.name,) if self.count is None else tuple(f"{self.name}[{i}]" for i in range(self.count))


@dataclass(frozen=True)
class Binding:
    """A name and what it stands for: a public number, a tensor, a layer, a role or a definition."""

    name: str
    category: Category
    meaning: object
    span: Span


# What a statement that cannot be read may have bound.
UNREADABLE = Binding("", Category.VALUE, POISON, Span(0, 0, 1, 1, 1, 1))


@dataclass
class Scope:
    """The names of one file or of one use of a `def`.

    `outer` is what a def sees of the file. `later` is where names of the file are declared first, for a message about a
    use above the declaration; `hidden` is the names that exist in the file but are not seen here. `used` collects the
    places of the declarations that something refers to, and is common to all scopes of a file.
    """

    outer: Mapping[str, Binding] = field(default_factory=dict)
    later: Mapping[str, Span] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    used: set[Span] = field(default_factory=set)
    names: dict[str, Binding] = field(default_factory=dict)
    itself: str = ""  # of a def: its own name
    functions: Mapping[str, Function] = field(default_factory=lambda: FUNCTIONS)  # what can be called without a `def`
    unread: Unread | None = None  # of statements that cannot be read: what they may have bound stands for POISON

    def bind(self, name: ast.Name, category: Category, meaning: object) -> Binding:
        """Declare `name`. Raises Problem when it is taken by something that cannot be bound again."""
        if self.unread is not None and name.id in self.unread.bound:
            return Binding(name.id, category, POISON, name.span)
        before = self.names.get(name.id)
        if before is not None and not (before.category is Category.VALUE and category is Category.VALUE):
            if category is Category.VALUE and before.category in (Category.INPUT, Category.PARAM):
                self.names[name.id] = Binding(name.id, category, meaning, name.span)  # one message, and no followers
            raise Problem(
                name.span,
                f"`{name.id}` is already {before.category.value}",
                "choose another name: only a value can be bound again, by another value",
                (before.span, "it was declared here"),
            )
        binding = Binding(name.id, category, meaning, name.span)
        self.names[name.id] = binding
        return binding

    def unbind(self, name: ast.Name) -> None:
        """Forget a loop's index behind its loop."""
        self.names.pop(name.id, None)

    def find(self, name: str) -> Binding | None:
        """What the name stands for here, without taking it for used; None for one that nothing can have bound."""
        if self.unread is not None and name in self.unread.bound:
            return UNREADABLE
        found = self.names.get(name) or self.outer.get(name)
        if found is None and self.unread is not None and self.unread.may_bind(name):
            return UNREADABLE
        return found

    def lookup(self, name: ast.Name, *, functions: Collection[str] = ()) -> Binding:
        """What the name stands for here. Raises Problem for an unknown one, with the closest known one.

        `functions` are the built-in names that could have been meant in this place.
        """
        binding = self.find(name.id)
        if binding is None:
            raise self.unknown(name, functions=functions)
        self.used.add(binding.span)
        return binding

    def role(self, name: ast.Name) -> Binding:
        """The role of that name. Raises Problem for anything else."""
        binding = self.find(name.id)
        roles = [each.name for each in self.names.values() if each.category is Category.ROLE]
        if binding is None:
            help = did_you_mean(name.id, roles) or (
                f"declare it above: `role {name.id}`; the roles so far are {listing(roles)}"
                if roles
                else f"declare it above: `role {name.id}`"
            )
            if name.id in ("p0", "p1", "dealer"):
                help = "the compute parties and the dealer own nothing and learn nothing; name a role"
            raise Problem(name.span, f"no role `{name.id}` is declared", help, *self._declared_below(name.id))
        if binding.category is not Category.ROLE and binding.meaning is not POISON:
            raise Problem(
                name.span,
                f"expected a role, found `{name.id}`, which is {binding.category.value}",
                f"the roles are {listing(roles)}" if roles else "declare one above: `role client`",
                (binding.span, "it was declared here"),
            )
        self.used.add(binding.span)
        return binding

    def seen_by_def(self) -> dict[str, Binding]:
        """What a `def` at this place sees of the file."""
        return {name: each for name, each in self.names.items() if each.category in SEEN_BY_DEFS}

    def unknown(self, name: ast.Name, *, functions: Collection[str] = ()) -> Problem:
        """The error for a name that is not known here."""
        message = f"unknown name `{name.id}`"
        if name.id == self.itself:
            repeat = "it is expanded where it is used; a loop, `for i in 0..4 { … }`, repeats"
            return Problem(name.span, f"the def `{name.id}` cannot use itself", repeat)
        if name.id in self.hidden:
            return Problem(
                name.span,
                f"{message} in a def",
                f"a def sees its parameters, and the consts, dims and defs above it; pass `{name.id}` to it",
                *self._declared_below(name.id),
            )
        if self.later.get(name.id, name.span).start > name.span.start:
            return Problem(
                name.span,
                f"{message}: it is declared below",
                "move the declaration above its use",
                *self._declared_below(name.id),
            )
        bound = [*self.outer.values(), *self.names.values()]
        fitting = OPERANDS | {Category.DEF} if functions else OPERANDS
        known = [*(each.name for each in bound if each.category in fitting), *functions]
        help = None if name.id in known else foreign_help(name.id, known)
        known_here = [each.name for each in bound if each.category in fitting]
        return Problem(name.span, message, help or did_you_mean(name.id, known) or _known(known_here))

    def _declared_below(self, name: str) -> tuple[Note, ...]:
        return ((self.later[name], "it is declared here"),) if name in self.later else ()


def _known(names: Sequence[str]) -> str:
    """What to do about a name like none of these."""
    if not names:
        return "declare it above"
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    shown = ", ".join(f"`{each}`" for each in names[:MOST_SHOWN]) if more else listing(names)
    return f"declare it above; the names so far are {shown}{more}"


def listing(names: Iterable[str]) -> str:
    """`a`, `b` and `c`, for a message."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
