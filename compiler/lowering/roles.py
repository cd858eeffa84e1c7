"""Roles: their declaration, and the owners that `from hospital`, `from hospital[2]` and `to client` refer to."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.lowering.context import Context
from compiler.lowering.problems import POISON, Problem
from compiler.lowering.readings import whole_at
from compiler.lowering.scope import Category, RoleGroup, Scope
from dsl import ast
from mpc_runtime.errors import amount

__all__ = ["declare_roles", "is_array", "members", "receivers"]

MACHINES = ("p0", "p1", "dealer")
MAX_MEMBERS = 1000  # each member is an owner with keys and tensors of its own; more are a mistake in the number


def declare_roles(context: Context, statement: ast.Role, scope: Scope) -> None:
    """`role a, hospital[5]`; errors are reported."""
    for ref in statement.roles:
        with context.reporter.catching():
            scope.bind(ref.name, Category.ROLE, _group(context, ref, scope))
            context.declare(ref.name.span, "role", ref.name.id)


def _group(context: Context, ref: ast.Ref, scope: Scope) -> object:
    name = ref.name.id
    if name in MACHINES:
        help = "p0, p1 and the dealer are always there and own nothing; name the owner of the data"
        context.reporter.error(Problem(ref.name.span, f"a role cannot be called `{name}`", help))
        return POISON
    if ref.index is None:
        return RoleGroup(name, None)
    count = whole_at(context, ref.index, scope, "the number of members of a role")
    if count is None:
        return POISON
    if not 1 <= count <= MAX_MEMBERS:
        message = f"a role has 1 to {MAX_MEMBERS} members, found {count}"
        context.reporter.error(Problem(ref.index.span, message, f"write `role {name}[5]` for five of them"))
        return POISON
    return RoleGroup(name, count)


def members(context: Context, ref: ast.Ref, scope: Scope) -> tuple[str, ...]:
    """The owners that a reference names: one, or all members of an array role; none after a reported error.

    Raises Problem for what is not a role, and for an index that does not fit.
    """
    binding = scope.role(ref.name)
    index = None if ref.index is None else whole_at(context, ref.index, scope, "the index of a role")
    group = binding.meaning
    if not isinstance(group, RoleGroup) or (ref.index is not None and index is None):
        return ()
    if index is None:
        return group.members
    assert ref.index is not None
    note = (binding.span, "it was declared here")
    if group.count is None:
        raise Problem(ref.index.span, f"`{group.name}` is one role, without an index", f"write `{group.name}`", note)
    if not 0 <= index < group.count:
        raise Problem(
            ref.index.span,
            f"there is no `{group.name}[{index}]`: `{group.name}` has {amount(group.count, 'member')}",
            f"they are `{group.name}[0]` to `{group.name}[{group.count - 1}]`",
            note,
        )
    return (group.members[index],)


def is_array(ref: ast.Ref, scope: Scope) -> bool:
    """Whether the reference means all members of an array role."""
    binding = scope.find(ref.name.id)
    group = binding.meaning if binding is not None else None
    return ref.index is None and isinstance(group, RoleGroup) and group.count is not None


def receivers(context: Context, refs: Iterable[ast.Ref], scope: Scope) -> tuple[str, ...]:
    """The owners that an output is sent to, each once; errors are reported."""
    found: dict[str, None] = {}
    for ref in refs:
        with context.reporter.catching():
            found |= dict.fromkeys(members(context, ref, scope))
    return tuple(found)
