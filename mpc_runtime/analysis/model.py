"""Which model a plan is of: what its checkpoints fit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from ..gates import Constant, Gate
from ..gates.base import register_fields
from ..plan import Plan, plain
from ..procedure import FINISH, RUN

__all__ = ["model_of"]


def model_of(plan: Plan) -> str:
    """What a plan computes with its states, whatever its learning rate: a hash of its tensors and of `run` and
    `finish`."""
    digest = hashlib.sha256(plan.name.encode())
    for tensors in (plan.inputs, plan.params, plan.results):
        digest.update(json.dumps(plain(tensors)).encode())
    places: dict[int, int] = {}
    for procedure in plan.procedures:
        for gate in procedure.gates if procedure.name in (RUN, FINISH) else ():
            changes: dict[str, Any] = {}
            for name, annotation in register_fields(gate):
                held = getattr(gate, name)
                several = annotation not in ("In", "Out")
                numbers = [places.setdefault(r, len(places)) for r in (held if several else (held,))]
                changes[name] = tuple(numbers) if several else numbers[0]
            moved: Gate = replace(gate, **changes)
            types = [plain(plan.registers[r]) for r in gate.outs]
            if isinstance(moved, Constant):
                digest.update(plan.constants[moved.index].tobytes())
                moved = replace(moved, index=0)
            digest.update(json.dumps([plain(moved), types]).encode())
    return digest.hexdigest()
