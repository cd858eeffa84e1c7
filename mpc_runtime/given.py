"""What the user of a session gives: checked against the plan, and encoded, before anything is shared.

All that is wrong is said in one `InputError`. The checks of one tensor are `client.py`'s and `fixed_point.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .client import Prepare, check_tensors, encode_feeds, tensors_of
from .errors import InputError
from .plan import Plan, Tensor
from .submissions import roles_of
from .values import match_names

__all__ = ["Given"]

Array = np.ndarray
ByRole = Mapping[str, Mapping[str, Array]]
"""role -> name -> array."""


class Given:
    """What the users of these roles of a plan give. stacked: the members of an array role pass one stacked array."""

    def __init__(self, plan: Plan, roles: Sequence[str], prepare: Prepare, *, stacked: bool) -> None:
        self.plan = plan
        self.roles = tuple(roles)
        members = {t.name for t in (*plan.inputs, *plan.params) if t.member >= 0}
        self.stacked = frozenset(members if stacked else ())
        self._prepare = prepare

    def tensors(self, stage: str) -> list[Tensor]:
        """What they give in a stage: parameters in "setup", inputs in "run"."""
        return [t for role in self.roles for t in tensors_of(self.plan, role, stage)]

    def check(self, tensors: Sequence[Tensor], given: Mapping[str, Any], what: str) -> dict[str, dict[str, Array]]:
        """The values of these tensors by role, each of its shape, kind and range; InputError with all that is wrong.

        what: "input" or "parameter", for messages.
        """
        shapes = {t.name: t.shape for t in tensors}
        members = {name: [t.role for t in tensors if t.name == name] for name in shapes}
        for name in self.stacked & shapes.keys():
            shapes[name] = (len(members[name]), *shapes[name])
        problems = match_names(given, shapes, what)
        values: dict[str, dict[str, Any]] = {role: {} for role in self.roles}
        for name in shapes:
            if name not in given:
                continue
            if name not in self.stacked:
                values[members[name][0]][name] = given[name]
                continue
            stack = np.asarray(given[name])
            if stack.shape != shapes[name]:
                problems.append(f"{name}: expected shape {list(shapes[name])}, found {list(stack.shape)}")
                continue
            for role, part in zip(members[name], stack, strict=True):
                values[role][name] = part
        checked = {}
        for role, own in values.items():
            checked[role], wrong = check_tensors(
                self.plan, [t for t in tensors if t.role == role and t.name in own], own
            )
            problems += wrong
        _refuse(problems, f"wrong {what}s")
        return checked

    def encode(self, stage: str, checked: ByRole, params: ByRole) -> dict[str, dict[str, Array]]:
        """role -> feed -> ring elements, for every role of ours that has a part in the stage.

        params: those given before, which expressions of inputs may read. InputError when a promise is broken.
        """
        encoded = {}
        problems: list[str] = []
        for role in roles_of(self.plan, stage):
            if role in self.roles:
                known = {**params[role], **checked[role]}
                encoded[role], wrong = encode_feeds(self.plan, role, stage, known, self._prepare)
                problems += wrong
        _refuse(problems, "values that the model does not allow")
        return encoded


def _refuse(problems: Sequence[str], title: str) -> None:
    if len(problems) == 1:
        raise InputError(problems[0])
    if problems:
        raise InputError(f"{title}:\n" + "\n".join(f"  {problem}" for problem in problems))
