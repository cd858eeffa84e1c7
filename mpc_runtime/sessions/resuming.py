"""What the steps of a training say of themselves and of checkpoints, and where one goes on that was broken off.

A step says its number, so that none is made on other weights than those of the step before. The parties write a
checkpoint where all roles ask for it, and both have to have one to go on from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, amount
from ..transport.messages import NAME, Message

__all__ = ["CHECK_EVERY", "Marks", "Options", "Point", "check_options", "check_patience", "resumed"]

CHECK_EVERY = 50
"""Steps between checkpoints, where nobody says otherwise: what a crash costs at most."""


@dataclass(frozen=True)
class Options:
    """Of a call of `fit`."""

    epochs: int = 1
    seed: int | None = None
    meeting: str | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)
    checkpoint: str | None = None
    check_every: int = CHECK_EVERY
    resume: bool = False
    validation: Mapping[str, Any] | None = None
    patience: int | None = None
    ids: Any = None
    ids_key: str | None = None


def check_options(options: Options) -> Options:
    """InputError for what is said of checkpoints and makes no sense."""
    name, every = options.checkpoint, options.check_every
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= NAME and name.isprintable()):
        raise InputError(f"checkpoint: expected a name of at most {NAME} characters, such as 'a', found {name!r}")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InputError(f"check_every: expected a whole number from 1, found {every!r}")
    if options.resume and name is None:
        raise InputError("resume: say from which checkpoint: fit(…, checkpoint='a', resume=True)")
    if options.patience is not None:
        check_patience(options.patience)
    return options


def check_patience(patience: object) -> int:
    """InputError unless it counts epochs."""
    if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
        raise InputError(f"patience: expected a whole number of epochs from 1, found {patience!r}")
    return patience


@dataclass(frozen=True)
class Point:
    """A checkpoint that both parties have. made: how many steps of its call were made; start: and how many before
    that call; data: by role of ours, what its client called the rows; scale: by what momentums are multiplied, as they
    are held for another learning rate."""

    made: int
    start: int
    seed: int
    data: Mapping[str, str]
    scale: float

    def check(self, options: Options, seed: int, data: Mapping[str, str], total: int) -> None:
        """InputError where a call cannot go on from here."""
        name = f"the checkpoint {options.checkpoint!r}"
        if seed != self.seed:
            raise InputError(f"seed: {name} is of a training with the seed {self.seed}, found {seed}")
        for role, known in self.data.items():
            if data[role] != known:
                raise InputError(f"{name} is of other rows of {role}: give the same in the same order, or another name")
        if self.made > total:
            raise InputError(
                f"{name} is after {amount(self.made, 'step')}, and this call is for {total}; ask for more epochs"
            )


def resumed(options: Options, told: Mapping[str, Sequence[Message]]) -> Point | None:
    """The last checkpoint that both parties have, where a call is to go on and there is one."""
    if not options.resume:
        return None
    known = {role: [{c["step"]: c for c in m.body["checkpoints"]} for m in each] for role, each in told.items()}
    common = set.intersection(*(set(steps) for parties in known.values() for steps in parties))
    if not common:
        return None
    step = max(common)
    for first, second in known.values():
        if first[step] != second[step]:
            raise InputError(f"the parties have different checkpoints {options.checkpoint!r} at step {step}")
    one = next(iter(known.values()))[0][step]
    data = {role: parties[0][step]["data"] for role, parties in known.items()}
    return Point(step - one["start"], one["start"], one["seed"], data, one["scale"])


class Marks:
    """What each step of a call says. told: by role, how far both parties are; rows, ids: as in messages; steps: of an
    epoch; validation: how many rows of validation there are."""

    def __init__(
        self,
        options: Options,
        seed: int,
        data: Mapping[str, str],
        point: Point | None,
        told: Mapping[str, Sequence[Message]],
        rows: int,
        ids: str,
        steps: int,
        validation: int,
    ) -> None:
        self.first = point.made if point is not None else 0
        """How many steps of the call were made already."""
        self.start = point.start if point is not None else next(iter(told.values()))[0].body["step"]
        """How many were made before the call."""
        self._options, self._seed, self._data, self._total = options, seed, data, steps * options.epochs
        self._resumed = point is not None
        self.scale = point.scale if point is not None else 1.0
        """By what momentums are multiplied first."""
        self._roles = tuple(told)
        self._fit = {
            "epochs": options.epochs,
            "rows": rows,
            "steps": steps,
            "start": self.start,
            "seed": seed,
            "validation": validation,
            "patience": options.patience or 0,
            **({"ids": ids} if ids else {}),
        }

    def behind(self, number: int, **more: int) -> dict[str, dict[str, Any]]:
        """Of what belongs to the call's step of this number, and is done when it is made, by role."""
        said = {"step": self.start + number, "fit": self._fit, **more}
        return dict.fromkeys(self._roles, said)

    def is_checked(self, made: int) -> bool:
        """Whether the next step writes a checkpoint of so many steps of the call, once their checks are known."""
        return self.is_kept(made) and made < self._total and made % self._options.check_every == 0

    def is_kept(self, made: int) -> bool:
        """Whether there is something to write behind so many steps of the call, if they are the last ones."""
        return self._options.checkpoint is not None and self.first < made

    def last(self, made: int) -> dict[str, dict[str, Any]]:
        """Of what writes a checkpoint behind the call's last step, by role."""
        return self._of(made, resume=False, write=True)

    def of(self, number: int) -> dict[str, dict[str, Any]]:
        """Of the call's step of this number, from 0, by role."""
        return self._of(number, resume=number == self.first and self._resumed and self.scale == 1)

    def resuming(self) -> dict[str, dict[str, Any]]:
        """Of what goes on from the checkpoint before the first step, or where there is none to make: it multiplies
        momentums, or checks what there is."""
        return self._of(self.first, resume=True)

    def _of(self, number: int, *, resume: bool, write: bool = False) -> dict[str, dict[str, Any]]:
        said: dict[str, Any] = {"step": self.start + number, "fit": self._fit}
        if self._options.checkpoint is None:
            return dict.fromkeys(self._roles, said)
        kept = {
            "name": self._options.checkpoint,
            "start": self.start,
            "seed": self._seed,
            "clear": number == 0 and not self._resumed,
            "resume": resume,
            "write": write or self.is_checked(number),
        }
        return {role: {**said, "checkpoint": {**kept, "data": self._data[role]}} for role in self._roles}
