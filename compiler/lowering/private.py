"""Private release: the noise of an output, answers at random in the place of bits, budgets, and private training."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from compiler.graph import Clipping, Input, Kind, Release, Value
from compiler.lowering.context import Context
from compiler.lowering.numbers import real
from compiler.lowering.problems import POISON, Problem
from compiler.lowering.readings import described
from compiler.lowering.scope import Category, Scope
from dsl import ast
from dsl.errors import did_you_mean
from mpc_runtime.errors import number
from mpc_runtime.plan import Budget
from mpc_runtime.privacy.noise import MAX_EPSILON, Law, gaussian_epsilon, hides_nothing

__all__ = ["budgets", "clipping", "expect_noisy", "flipped", "release"]


@dataclass(frozen=True)
class _Part:
    """An argument: the numbers that it may be, in words and as (above, most], and whether it may be left out."""

    words: str
    above: float
    most: float
    optional: bool = False


EPSILON = _Part(f"a number above 0, at most {MAX_EPSILON:g}", 0.0, MAX_EPSILON)
DELTA = _Part("a number between 0 and 1", 0.0, 1 - 2.0**-53)
SENSITIVITY = _Part("a number above 0", 0.0, math.inf, optional=True)
LAWS: dict[Law, dict[str, _Part]] = {
    "laplace": {"epsilon": EPSILON, "sensitivity": SENSITIVITY},
    "gaussian": {"epsilon": EPSILON, "delta": DELTA, "sensitivity": SENSITIVITY},
}
CLIPPING = {
    "clip": _Part("a number above 0, at most 1024", 0.0, 1024.0),
    "noise": _Part("a number above 0, at most 64", 0.0, 64.0),
    "delta": DELTA,
}
LIMIT = {"epsilon": EPSILON, "delta": replace(DELTA, optional=True)}
FORMS = {
    "laplace": "laplace(epsilon=0.5, sensitivity=0.1)",
    "gaussian": "gaussian(epsilon=1, delta=1e-5, sensitivity=1)",
    "randomized_response": "randomized_response(epsilon=1)",
    "dp": "dp(epsilon=3, delta=1e-5)",
}
CLIPPED = "dp(clip=1.0, noise=1.1, delta=1e-5)"


def release(context: Context, statement: ast.Output, scope: Scope) -> Release | None:
    """The noise of an output; None without one. Raises Problem for one that is none."""
    noise = statement.noise
    if noise is None:
        return None
    call = _called(noise, LAWS, "the noise of an output")
    (law,) = (law for law in LAWS if isinstance(call.function, ast.Name) and call.function.id == law)
    given = _numbers(context, call, LAWS[law], scope)
    made_by: Literal["dealer", "parties"] = "parties" if statement.parties else "dealer"
    epsilon, delta = given.get("epsilon", 1.0), given.get("delta", 0.0)
    return Release(law, epsilon, delta, given.get("sensitivity"), made_by, noise.span)


def expect_noisy(value: Value, noise: Release) -> None:
    """Raises Problem where noise would not hide anything, or could not."""
    assert noise.span is not None
    if value.is_constant:
        raise Problem(noise.span, "this output depends on no input, so noise would hide nothing", "remove the noise")
    if value.kind is Kind.BIT:
        help = "`sum` counts bits; a bit can be answered at random at its owner, `with randomized_response(epsilon=…)`"
        raise Problem(noise.span, f"noise is added to numbers, found {described(value)}", help)


def flipped(context: Context, statement: ast.Input, scope: Scope) -> float:
    """The epsilon at which the owner's client answers at random; 0 where it does not. Raises Problem."""
    noise = statement.noise
    if noise is None:
        return 0.0
    call = _called(noise, ("randomized_response",), "what an input is given with")
    if statement.type.kind != "bit":
        help = "declare it as `bit[…]`; numbers get their noise when they are released: `output … with laplace(…)`"
        raise Problem(noise.span, f"`randomized_response` is for bits, and `{statement.name.id}` has none", help)
    return _numbers(context, call, {"epsilon": EPSILON}, scope).get("epsilon", 0.0)


def budgets(
    context: Context, statement: ast.Budget, scope: Scope, inputs: list[Value], before: Mapping[str, ast.Span]
) -> list[Budget]:
    """What may be learnt of an input: of each owner's part, where several provide it. before: inputs with a budget."""
    name = statement.name
    binding = scope.lookup(name)
    if binding.meaning is POISON:
        return []
    if binding.category is not Category.INPUT:
        message = f"a budget is of an input, found `{name.id}`, which is {binding.category.value}"
        raise Problem(name.span, message, None, (binding.span, "it was declared here"))
    if name.id in before:
        raise Problem(name.span, f"`{name.id}` has a budget already", "remove one", (before[name.id], "the first one"))
    leaves = [leaf.op for leaf in inputs if isinstance(leaf.op, Input) and leaf.op.key == name.id]
    if any(leaf.public for leaf in leaves):
        help = "remove `public`: both compute parties would see it without noise"
        raise Problem(name.span, f"`{name.id}` is public, so a budget would limit nothing", help)
    given = _numbers(context, _called(statement.value, ("dp",), "a budget"), LIMIT, scope)
    return [Budget(name.id, leaf.role, given.get("epsilon", 1.0), given.get("delta", 0.0)) for leaf in leaves]


def clipping(context: Context, statement: ast.Value, scope: Scope) -> Clipping | None:
    """What hides single rows in training; None where an argument is not known, which is reported. Raises Problem."""
    expression = statement.value
    called = expression.function if isinstance(expression, ast.Call) else None
    if not (isinstance(expression, ast.Call) and isinstance(called, ast.Name) and called.id == "dp"):
        raise Problem(expression.span, "the privacy of training is differential", f"write `privacy = {CLIPPED}`")
    given = _numbers(context, expression, CLIPPING, scope, CLIPPED)
    if given.keys() < CLIPPING.keys():
        return None
    noise, delta = given["noise"], given["delta"]
    if hides_nothing(delta, noise):
        place = next(each.value.span for each in expression.arguments if each.name and each.name.id == "noise")
        cost = f"epsilon {number(round(gaussian_epsilon(delta, noise)))} at delta {number(delta)}"
        message = (
            f"noise of {number(noise)} hides nothing: one step costs {cost}, and at most {MAX_EPSILON:g} is privacy"
        )
        raise Problem(place, message, "1 is usual; less than 0.5 is little")
    return Clipping(given["clip"], given["noise"], given["delta"], span=statement.name.span)


def _called(noise: ast.Expression, names: Collection[str], what: str) -> ast.Call:
    """The call of one of these. Raises Problem for anything else."""
    forms = " or ".join(f"`{FORMS[name]}`" for name in names)
    if not isinstance(noise, ast.Call):
        raise Problem(noise.span, f"{what} is {forms}, found something else", f"write {forms}")
    if not (isinstance(noise.function, ast.Name) and noise.function.id in names):
        word = noise.function.id if isinstance(noise.function, ast.Name) else ""
        raise Problem(
            noise.function.span,
            f"{what} is {forms}, found `{word or '…'}`",
            did_you_mean(word, names) or f"write {forms}",
        )
    return noise


def _numbers(
    context: Context, call: ast.Call, parts: Mapping[str, _Part], scope: Scope, form: str = ""
) -> dict[str, float]:
    """The arguments, by name, each a public number in its range. Raises Problem."""
    assert isinstance(call.function, ast.Name)
    form = f"write `{form or FORMS[call.function.id]}`"
    given: dict[str, float] = {}
    for argument in call.arguments:
        if argument.name is None:
            raise Problem(argument.span, f"`{call.function.id}` takes its arguments by name", form)
        name = argument.name.id
        if name not in parts:
            help = did_you_mean(name, parts) or form
            raise Problem(argument.name.span, f"`{call.function.id}` has no argument `{name}`", help)
        found = context.evaluate(argument.value, scope)
        if found is POISON:
            continue
        value = None if isinstance(found, bool) else real(found)
        if value is None or not parts[name].above < value <= parts[name].most or not math.isfinite(value):
            raise Problem(argument.value.span, f"`{name}` expects {parts[name].words}, found {described(found)}", form)
        given[name] = value
    written = {argument.name.id for argument in call.arguments if argument.name is not None}
    missing = [name for name, part in parts.items() if not part.optional and name not in written]
    if missing:
        raise Problem(call.span, f"`{call.function.id}` needs {' and '.join(f'`{name}`' for name in missing)}", form)
    return given
