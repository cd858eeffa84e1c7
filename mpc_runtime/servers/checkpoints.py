"""Checkpoints of training at one party: what it holds of the states after a step, in files that a later session reads.

A file for each checkpoint, of which the last KEPT of a name stay:

    length (u32) | JSON: of what model, step and data it is, and what follows | words (u64, little-endian) | SHA-256

What a file holds is the party's share, which says nothing without the other party's. A checkpoint is good for every
plan of the same model whose states have the same scales and units: the learning rate may be another one. A file is
complete or not there at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import MaterialError
from ..plan import Plan, State
from ..procedure import BROKEN, UNCHECKED
from .shelf import write_durably

__all__ = ["Checkpoint", "Checkpoints", "StateKept"]

Array = np.ndarray
KEPT = 2  # of a name: while one is written, or is found to be damaged, there is the one before it
FORMAT, FORMATS = 2, (1, 2)  # the first has what checks have found too
HEAD_BYTES = 1 << 24
_LENGTH = struct.Struct("<I")
SUFFIX = ".checkpoint"
OF_CHECKS = (BROKEN, UNCHECKED)  # states that begin anew: nothing is written where a check has found something


@dataclass(frozen=True)
class StateKept:
    """A state in a checkpoint: its register's type when it was written, and `plan.State.unit`."""

    name: str
    shape: tuple[int, ...]
    bits: int
    scale: int
    unit: float


@dataclass(frozen=True)
class Checkpoint:
    """step: how many steps had been made; start: of them before the call of `fit`; seed: which decides its batches;
    data: by role, what its client calls the rows."""

    model: str
    step: int
    start: int
    seed: int
    data: Mapping[str, str]
    states: tuple[StateKept, ...] = ()


class Checkpoints:
    """Of one plan at one party, in a folder. Names are the owners' of the data."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._folder = folder
        self._plan = plan

    def known(self, name: str) -> list[Checkpoint]:
        """Those of a name that fit this plan, by their steps. MaterialError when they are another model's."""
        found = [head for path in self._files(name) if (head := self._head(path)) is not None]
        if others := [head for head in found if head.model != self._plan.model]:
            message = f"the checkpoint {name!r} at step {others[0].step} is of another model than {self._plan.name}"
            raise MaterialError(f"{message}; give it another name")
        return sorted(found, key=lambda head: head.step)

    def write(self, name: str, checkpoint: Checkpoint, states: Mapping[int, Array]) -> None:
        """states: by register. MaterialError when it cannot be written."""
        kept = tuple(self._kept())
        head = json.dumps(
            {"format": FORMAT, **asdict(replace(checkpoint, model=self._plan.model, states=kept))}
        ).encode()
        words = [np.ascontiguousarray(states[each.register], "<u8").tobytes() for each in self._lasting()]
        text = b"".join((_LENGTH.pack(len(head)), head, *words))
        path = self._place(name) / f"{checkpoint.step:015d}{SUFFIX}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(path, lambda file: file.write(text + hashlib.sha256(text).digest()))
            for old in [other for other in self._files(name) if other > path] + self._files(name, path)[:-KEPT]:
                old.unlink()
        except OSError as error:
            raise MaterialError(f"the checkpoint {name!r} cannot be written: {error.strerror}") from None

    def clear(self, name: str) -> None:
        """Forgets those of a name. MaterialError when they are another model's, or cannot be removed."""
        self.known(name)
        try:
            for path in self._files(name):
                path.unlink()
        except OSError as error:
            raise MaterialError(f"the checkpoint {name!r} cannot be replaced: {error.strerror}") from None

    def scale(self, checkpoint: Checkpoint) -> float:
        """By what momentums are multiplied where a plan goes on from one of another rate."""
        units = (
            (there.unit, here.unit) for there, here in zip(_lasting(checkpoint.states), self._kept(), strict=False)
        )
        return next((here / there for there, here in units if here != there), 1.0)

    def read(self, name: str, step: int, *, scaled: bool = False) -> dict[int, Array]:
        """The states after this step, by register. scaled: whether momentums of another rate are multiplied by `scale`
        next. MaterialError when there are none, or they do not fit the plan."""
        head = next((each for each in self.known(name) if each.step == step), None)
        if head is None:
            raise MaterialError(f"there is no checkpoint {name!r} at step {step}")
        for there, here in zip(_lasting(head.states), self._kept(), strict=True):
            if replace(there, bits=here.bits, unit=here.unit) != here:
                raise MaterialError(f"the checkpoint {name!r} holds `{there.name}` in another format; train anew")
            if there.bits < here.bits:
                held = f"`{there.name}` in {there.bits} bits, and this plan needs {here.bits}"
                message = f"the checkpoint {name!r} holds {held}"
                raise MaterialError(f"{message}; go on at the rate and under the limits of before, or a smaller rate")
            if there.unit != here.unit and not scaled:
                message = f"the checkpoint {name!r} holds `{there.name}` at another learning rate"
                raise MaterialError(f"{message}, and nobody has said by how much it changes")
        text = (self._place(name) / f"{step:015d}{SUFFIX}").read_bytes()
        at = _LENGTH.size + _LENGTH.unpack_from(text)[0]
        words = {}
        for there in head.states:
            count = math.prod(there.shape)
            words[there.name] = np.frombuffer(text, "<u8", count, at).astype(np.uint64).reshape(there.shape)
            at += 8 * count
        anew = [state.register for state in self._plan.states if state.name in OF_CHECKS]
        zeros = {register: np.zeros(self._plan.registers[register].shape, np.uint64) for register in anew}
        return zeros | {state.register: words[state.name] for state in self._lasting()}

    def _lasting(self) -> list[State]:
        return [state for state in self._plan.states if state.name not in OF_CHECKS]

    def _kept(self) -> Iterator[StateKept]:
        for state in self._lasting():
            register = self._plan.registers[state.register]
            yield StateKept(state.name, register.shape, register.bits, register.scale, state.unit)

    def _place(self, name: str) -> Path:
        return self._folder / "checkpoints" / hashlib.sha256(name.encode()).hexdigest()[:32]

    def _files(self, name: str, last: Path | None = None) -> list[Path]:
        """In the order of their steps, up to this one."""
        found = sorted(self._place(name).glob(f"*{SUFFIX}"))
        return [path for path in found if last is None or path <= last]

    def _head(self, path: Path) -> Checkpoint | None:
        """What a file says of itself; None where it is damaged."""
        with suppress(OSError, ValueError, KeyError, TypeError, struct.error):
            text = path.read_bytes()
            if hashlib.sha256(text[:-32]).digest() != text[-32:]:
                return None
            length = _LENGTH.unpack_from(text)[0]
            said = json.loads(text[_LENGTH.size : _LENGTH.size + min(length, HEAD_BYTES)])
            if said.pop("format") not in FORMATS:
                return None
            states = tuple(StateKept(**{**each, "shape": tuple(each["shape"])}) for each in said.pop("states"))
            return Checkpoint(**said, states=states)
        return None


def _lasting(states: Sequence[StateKept]) -> list[StateKept]:
    return [state for state in states if state.name not in OF_CHECKS]
