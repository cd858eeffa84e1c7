"""How far the training of a plan is at one party: what a step has to agree with, and the checkpoints around it.

A step says which one it is. One that is not the next is refused: what was trained is gone with a server, or somebody
has begun anew, and going on would train other weights without a word. No sockets here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MaterialError
from ..plan import Plan
from ..procedure import CHECK, EVALUATE, METRICS, RESCALE, TRAIN_STEP
from ..transport.messages import Message
from .checkpoints import Checkpoint, Checkpoints

__all__ = ["NO_FOLDER", "Trained", "fresh_shares"]

OF_A_STEP = (TRAIN_STEP, EVALUATE, METRICS, CHECK, RESCALE)

Array = np.ndarray
Said = Mapping[str, Any]
"""What a submission says of its step, as in messages."""

NO_FOLDER = (
    "p{} keeps no checkpoints, as it has no folder for them: name one, by `launch(program, data_dir=…)` or "
    "`mpcc party … --data DIR`"
)


class Trained:
    """Of one plan at party `number`. folder: of the checkpoints, if it keeps any."""

    def __init__(self, plan: Plan, number: int, folder: Path | None) -> None:
        self.step = 0
        """How many steps were made with the parameters that stand."""
        self._number = number
        self._privacy = plan.privacy
        self._deciders = _deciders(plan)
        self._checked: int | None = None  # behind which step all roles were told what checks have found
        self._told: int | None = None  # behind which step the metrics of an epoch were told last
        self._decided: Said | None = None
        self._checkpoints = Checkpoints(plan, folder) if folder is not None and plan.trains else None

    def begin(self, step: int = 0) -> None:
        """Training begins, or goes on behind this step."""
        self.step, self._checked, self._told, self._decided = step, None, None, None

    def problem(self, stage: str, said: Said | None) -> str:
        """Why this party cannot take a submission to a procedure of which that is said; empty when it can."""
        if (stage in OF_A_STEP) != (said is not None):
            return "what belongs to a step of training, and nothing else, says which one it is"
        if said is None:
            return ""
        draws = stage == TRAIN_STEP and self._privacy is not None
        least = self._privacy.batch if draws and self._privacy is not None else 0
        if ("rows" in said) != draws or said.get("rows", 0) < least:
            return f"a step of private training, and no other, says from how many rows it draws: at least {least}"
        if said.get("checkpoint") is not None and self._checkpoints is None:
            return NO_FOLDER.format(self._number)
        return ""

    def unfit(self, stage: str, said: Sequence[Said]) -> str:
        """Why the submissions of all roles are not those of what is next; empty when they are."""
        if not said:
            return ""
        if different := _different([_common(each) for each in said]):
            return different
        kept, step = said[0].get("checkpoint"), said[0]["step"]
        if kept is not None and kept["resume"]:
            return self._missing(stage, kept["name"], step)
        if stage == METRICS and (step == self._told or not _ends_epoch(said[0])):
            return "the metrics of an epoch are told once, behind its last step"
        if kept is not None and kept["write"] and step != self._checked:
            return "a checkpoint is written once its roles were told that all checks were kept"
        if step != self.step:
            message = f"training is at step {self.step} here, not at {step}: what was trained is gone, or was replaced"
            return f"{message}; go on from a checkpoint (fit(…, checkpoint=…, resume=True)), or provide anew"
        return ""

    def _missing(self, stage: str, name: str, step: int) -> str:
        assert self._checkpoints is not None, "`problem` comes first"
        try:
            self._checkpoints.read(name, step, scaled=stage == RESCALE)
        except MaterialError as error:
            return str(error)
        return ""

    def tell(self, asked: Message, announced: Said | None, *, begins: bool = False) -> dict[str, Any] | str:
        """What a role is told, as in messages: the step, the checkpoints of the name that it has asked for, what others
        have announced, and what was decided; or why it cannot be told. A role that may decide has perhaps done so.
        begins: parameters wait with which training will have begun anew before whatever the role does next."""
        role, name, decided = asked.sender, asked.body.get("name"), asked.body.get("decided")
        if decided is not None:
            if role not in self._deciders:
                return f"{role} is told no metric by which it could end training early"
            self._decided = decided
        if name is not None and self._checkpoints is None:
            return NO_FOLDER.format(self._number)
        try:
            kept = self._checkpoints
            known = [(c, kept.scale(c)) for c in kept.known(name)] if name is not None and kept is not None else []
        except MaterialError as error:
            return str(error)
        said = [
            {"step": c.step, "start": c.start, "seed": c.seed, "data": c.data.get(role, ""), "scale": scale}
            for c, scale in known
        ]
        step, decision = (0, None) if begins else (self.step, self._decided)
        return {"step": step, "checkpoints": said, "fit": announced, "decided": decision}

    def states(self, stage: str, said: Said, fresh: Callable[[int], bytes]) -> dict[int, Array]:
        """What takes the place of the states before this execution, by register: those of the checkpoint from which it
        goes on, shared anew. fresh: so many bytes that both parties have in common and have not used."""
        kept = said.get("checkpoint")
        if kept is None or self._checkpoints is None:
            return {}
        if kept["clear"]:
            self._checkpoints.clear(kept["name"])
        if not kept["resume"]:
            return {}
        self.begin(said["step"])
        found = self._checkpoints.read(kept["name"], said["step"], scaled=stage == RESCALE)
        return fresh_shares(found, self._number, fresh)

    def keep(self, said: Mapping[str, Said], states: Callable[[], Mapping[int, Array]]) -> None:
        """Writes a checkpoint of what was left before this execution, where all roles say that they were told that its
        checks were kept. said: by role; states: that, by register. MaterialError when it cannot be written."""
        kept = next(iter(said.values())).get("checkpoint")
        if kept is None or not kept["write"] or self._checkpoints is None:
            return
        data = {role: each["checkpoint"]["data"] for role, each in said.items()}
        self._checkpoints.write(kept["name"], Checkpoint("", self.step, kept["start"], kept["seed"], data), states())

    def made(self, stage: str) -> None:
        """A step, or what belongs to one, is complete."""
        if stage == METRICS:
            self._told = self.step
        if stage == CHECK:
            self._checked = self.step
        self.step += stage == TRAIN_STEP


def _deciders(plan: Plan) -> frozenset[str]:
    """The roles that may end training early: of each metric the first that is told it."""
    return frozenset(r.roles[0] for r in plan.results if r.name in {metric.result for metric in plan.metrics})


def _ends_epoch(said: Said) -> bool:
    """Whether a step is the last one of an epoch, as a call of `fit` says."""
    fit = said.get("fit")
    return fit is not None and said["step"] > fit["start"] and (said["step"] - fit["start"]) % fit["steps"] == 0


WORDS = {
    "rows": "the number of rows",
    "steps": "the number of batches",
    "start": "the steps made before",
    "validation": "the rows of validation",
}
"""What roles are told that they do not agree on, where it is not called like its option."""


def _different(said: Sequence[Said]) -> str:
    """In what roles differ that have to say the same; empty where they do not."""
    steps = {each["step"] for each in said}
    if len(steps) > 1:
        return f"the roles are at different steps: {' and '.join(map(str, sorted(steps)))}"
    fits = [each.get("fit") or {} for each in said]
    known = dict.fromkeys(name for fit in fits for name in fit)
    names = [name for name in known if any(fit.get(name) != fits[0].get(name) for fit in fits)]
    if names == ["ids"]:
        return "the roles do not bring the same rows in the same order, as the ids say, or not under the same ids_key"
    if names:
        name = names[0]
        found = " and ".join(dict.fromkeys(str(fit.get(name, "none")) for fit in fits))
        return f"the roles do not agree on {WORDS.get(name, name)}: {found}"
    if any(each != said[0] for each in said):
        return "the roles do not agree on checkpoint, check_every and resume"
    return ""


def _common(said: Said) -> dict[str, Any]:
    """What all roles have to say alike: all but what each calls its own data."""
    kept = said.get("checkpoint")
    return {**said, "checkpoint": {**kept, "data": ""} if kept is not None else None}


def fresh_shares(states: Mapping[int, Array], number: int, fresh: Callable[[int], bytes]) -> dict[int, Array]:
    """Shares of the same values that have nothing to do with those in the files: p0 adds what p1 takes away."""
    words = np.frombuffer(fresh(8 * sum(array.size for array in states.values())), "<u8").astype(np.uint64)
    change_of = np.add if number == 0 else np.subtract
    found, at = {}, 0
    for register, array in states.items():
        change = words[at : at + array.size].reshape(array.shape)
        at += array.size
        found[register] = change_of(array, change, out=np.empty_like(array))  # a scalar stays an array
    return found
