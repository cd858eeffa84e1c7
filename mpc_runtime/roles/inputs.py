"""What the user of a session gives: checked against the plan, and encoded, before anything is shared.

One `InputError` lists everything that is wrong. The checks of one tensor are `client.py`'s and those of
`encoding/fixed_point.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..encoding.arrays import as_array, check_keys, shape_problem
from ..errors import InputError
from ..plan import Plan, Tensor
from ..privacy.samplers import bernoulli_logistic
from ..procedure import RUN, SETUP, TRAIN_STEP
from ..transport.messages import NAME
from .client import Prepare, check_tensors, encode_feeds, tensors_of
from .files import match_names

__all__ = ["ByRole", "Given", "answered", "by_name", "check_given", "check_names"]

Array = np.ndarray
ByRole = Mapping[str, Mapping[str, Array]]
"""role -> name -> array."""


class Given:
    """What the users of these roles of a plan give. stacked: the members of an array role pass one stacked array."""

    def __init__(self, plan: Plan, roles: Sequence[str], prepare: Prepare, *, stacked: bool) -> None:
        self.plan = plan
        self.roles = tuple(roles)
        shared = {t.name for t in (*plan.inputs, *plan.params) if t.stacked}
        self.stacked = frozenset(shared if stacked else ())
        self._prepare = prepare

    def owners(self, stage: str = RUN) -> tuple[str, ...]:
        """Those that have data of their own in a procedure."""
        return tuple(role for role in self.roles if self.plan.feeds_of(role, stage))

    def tensors(self, stage: str) -> list[Tensor]:
        """What they give for a procedure."""
        return [t for role in self.roles for t in tensors_of(self.plan, role, stage)]

    def check(
        self, tensors: Sequence[Tensor], given: Mapping[str, Any], what: str, stage: str = RUN
    ) -> dict[str, dict[str, Array]]:
        """As of `check_given`, for what a session is given."""
        many = {RUN: "run_batches", TRAIN_STEP: "fit"}.get(stage, "")
        return check_given(self.plan, self.roles, self.stacked, tensors, given, what, stage, many)

    def encode(self, stage: str, checked: ByRole, params: ByRole) -> dict[str, dict[str, Array]]:
        """role -> feed -> ring elements, for every role of ours that has a part in the stage.

        params: those given before, which expressions of inputs may read. InputError when a promise is broken.
        """
        encoded = {}
        problems: list[str] = []
        for role in self.plan.roles_of(stage):
            if role in self.roles:
                known = {**params[role], **answered(self.plan, role, checked[role])}
                encoded[role], wrong = encode_feeds(self.plan, role, stage, known, self._prepare)
                problems += wrong
        _refuse(problems, "values that the model does not allow")
        return encoded


def check_given(
    plan: Plan,
    roles: Sequence[str],
    stacked: frozenset[str],
    tensors: Sequence[Tensor],
    given: Mapping[str, Any],
    what: str,
    stage: str = RUN,
    many: str = "",
) -> dict[str, dict[str, Array]]:
    """The values of these tensors by role, each of its shape, kind and range; InputError with all that is wrong.

    stacked: as of `Given`; what: "input" or "parameter", for messages; stage: the procedure for which inputs are given;
    many: as of `shape_problem`.
    """
    shapes = {t.name: t.shape for t in tensors}
    members = {name: [t.role for t in tensors if t.name == name] for name in shapes}
    for name in stacked & shapes.keys():
        shapes[name] = (len(members[name]), *shapes[name])
    problems = _name_problems(plan, roles, given, shapes, what, stage)
    values: dict[str, dict[str, Any]] = {role: {} for role in roles}
    for name in shapes:
        if name not in given:
            continue
        if name not in stacked:
            values[members[name][0]][name] = given[name]
            continue
        try:
            stack = as_array(name, given[name])
        except InputError as error:
            problems.append(str(error))
            continue
        if stack.shape != shapes[name]:
            problems.append(shape_problem(name, shapes[name], stack.shape))
            continue
        for role, part in zip(members[name], stack, strict=True):
            values[role][name] = part
    checked = {}
    for role, own in values.items():
        checked[role], wrong = check_tensors(plan, [t for t in tensors if t.role == role and t.name in own], own, many)
        problems += wrong
    _refuse(problems, f"wrong {what}s")
    return checked


def answered(plan: Plan, role: str, checked: Mapping[str, Array]) -> dict[str, Array]:
    """What a role shares of its tensors: of those that are declared so, answers at random in the place of its bits."""
    flipped = {t.name: t.flipped for t in plan.inputs if t.role == role and t.flipped}
    shared = dict(checked)
    for name in flipped.keys() & checked.keys():
        bits = checked[name].astype(np.bool_)
        flips = bernoulli_logistic(_entropy, bits.size, Fraction(flipped[name])).reshape(bits.shape)
        shared[name] = (bits ^ flips).astype(checked[name].dtype)
    return shared


def _entropy(n: int) -> Array:
    """The system's randomness, as words."""
    return np.frombuffer(os.urandom(8 * n), np.uint64)


def check_names(plan: Plan, role: str, names: Iterable[str], stage: str) -> None:
    """InputError for what a role lacks, and what is not its to give: before it connects to anybody."""
    what = "parameter" if stage == SETUP else "input"
    wanted = {t.name: t.shape for t in tensors_of(plan, role, stage)}
    _refuse(_name_problems(plan, [role], names, wanted, what, stage), f"wrong {what}s")


def _name_problems(
    plan: Plan, roles: Sequence[str], names: Iterable[str], wanted: Mapping[str, tuple[int, ...]], what: str, stage: str
) -> list[str]:
    """What is missing, unknown or another role's; and a role that has nothing to do with it at all."""
    who = " and ".join(roles)
    if what == "parameter" and plan.params and not wanted:
        return [f"no parameters of this plan are {who}'s; they are {_listed(plan, (t.role for t in plan.params))}'s"]
    problems = match_names(names, wanted, what, lambda name: _elsewhere(plan, roles, name))
    concerned = plan.roles_of(stage if what == "input" else RUN)
    if what == "input" and not problems and set(roles).isdisjoint(concerned):
        step = "a run" if stage == RUN else "a step"
        return [f"{who} has no part in {step} of this plan, no input and no output, unlike {_listed(plan, concerned)}"]
    return problems


def _elsewhere(plan: Plan, roles: Sequence[str], name: str) -> str:
    """Whose name this is, if these roles do not give it here, as an answer to the role that gave it; "" if nobody's."""
    inputs = [t.role for t in plan.inputs if t.name == name]
    params = [t.role for t in plan.params if t.name == name]
    owners = inputs or params
    if not owners:
        return ""
    kind, how = ("an input", "`run` or `mpcc submit` gives it") if inputs else ("a parameter", "`provide` gives it")
    if inputs and not any(RUN in t.stages for t in plan.inputs if t.name == name):
        kind, how = "an input of training", "`train` and `fit` give it"
    theirs = set(roles).isdisjoint(owners)
    return f"is {kind} of {_listed(plan, owners)}" + (f", not of {' and '.join(roles)}" if theirs else f"; {how}")


def _listed(plan: Plan, roles: Iterable[str]) -> str:
    """Roles for a sentence, the members of an array role under its name."""
    return " and ".join(dict.fromkeys(plan.array_role_of.get(role, role) for role in roles))


def by_name(inputs: object, named: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a call: those of a dict, whose names an option may have taken, and those by keyword."""
    inputs = {} if inputs is None else inputs
    if not isinstance(inputs, Mapping):
        found = type(inputs).__name__
        raise InputError(f"expected inputs by name, as run(x=…) or as a dict, found a {found} without a name")
    check_keys(inputs, "inputs")
    if twice := sorted(inputs.keys() & named.keys()):
        raise InputError(f"{', '.join(twice)}: given twice, in the dict and by keyword")
    return {**inputs, **named}


def check_meeting(meeting: object) -> str | None:
    """The name of a meeting; InputError when it is none. None where runs are paired in their order."""
    if meeting is None or (isinstance(meeting, str) and 0 < len(meeting) <= NAME and meeting.isprintable()):
        return meeting
    raise InputError(
        f"meeting: expected a name of at most {NAME} characters, such as '2026-11', found {meeting!r}; an input that "
        "has the name meeting is given in a dict"
    )


def _refuse(problems: Sequence[str], title: str) -> None:
    if len(problems) == 1:
        raise InputError(problems[0])
    if problems:
        raise InputError(f"{title}:\n" + "\n".join(f"  {problem}" for problem in problems))
