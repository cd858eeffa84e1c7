"""Which model a plan is of: what its checkpoints fit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any

from ..gates import Combine, Constant, Gate, Leaf, Reveal, ToBit
from ..gates.base import register_fields
from ..plan import Plan, plain
from ..procedure import FINISH, RUN

__all__ = ["model_of"]

COMPARISONS = (Leaf, Combine, ToBit)
"""Left out: how wide they are and what they compare with follows ranges, and so the learning rate and the limits of
training."""


WIDTHS = {"bits", "width"}
"""Follow ranges too."""


def model_of(plan: Plan) -> str:
    """What a plan computes with its states, whatever its learning rate and its limits: a hash of its tensors, and of
    the ops of `run` and `finish` with the shapes of their results."""
    digest = hashlib.sha256(plan.name.encode())
    for tensors in (plan.inputs, plan.params):
        digest.update(json.dumps(plain(tensors)).encode())
    for result in plan.results:
        if result.promise is None:
            digest.update(json.dumps([result.name, result.kind, result.shape, result.scale]).encode())
    for procedure in plan.procedures:
        for gate in procedure.gates if procedure.name in (RUN, FINISH) else ():
            if isinstance(gate, (*COMPARISONS, Reveal)):
                continue
            if isinstance(gate, Constant):
                digest.update(plan.constants[gate.index].tobytes())
            shapes = [plan.registers[r].shape for r in gate.outs]
            digest.update(json.dumps([type(gate).__name__, _attributes(gate), shapes]).encode())
    return digest.hexdigest()


def _attributes(gate: Gate) -> dict[str, Any]:
    """Without registers and places of constants, whose numbers say nothing, and without widths."""
    places = {name for name, _ in register_fields(gate)} | ({"index"} if isinstance(gate, Constant) else set()) | WIDTHS
    return {f.name: plain(getattr(gate, f.name)) for f in fields(gate) if f.name not in places}
