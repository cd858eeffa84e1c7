"""Training over many batches: each is computed while the next is encoded, shared and sent.

Behind the last step of an epoch come the batches of validation rows, and what tells the metrics; who is told the one
that is watched decides whether training ends there, and roles on other machines wait for that word.

Which rows a batch has is decided by `roles/epochs.py`, what is said of checkpoints by `resuming.py`, what is kept of
all by `history.py`, and who may do what when by the session.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import Error, InputError, PeerError, RangeError
from ..execution.stats import Stats
from ..plan import Metric, Plan, Tensor
from ..procedure import CHECK, CLOCK, EVALUATE, METRICS, RESCALE, SCALE, TRAIN_STEP
from ..roles.batches import BATCH, Batches
from ..roles.coins import coins
from ..roles.draws import Draws
from ..roles.epochs import Epochs, Followed, as_validation, check_epochs, check_seed, expect_validation, fresh_seed
from ..roles.epochs import counted as rows_counted
from ..roles.ids import check_ids
from ..roles.inputs import ByRole
from ..transport.messages import Message
from .deployed import Deployment, Submitted
from .drawing import Drawn, expect_drawn
from .history import Epoch, History, called, is_worn_out, watched_by
from .resuming import Marks, Options, resumed

__all__ = ["WEIGHTS", "Fitting", "clock_of", "counted", "expect_training", "listens", "own_tensors"]

Array = np.ndarray
WEIGHTS = "weights."
"""Before the keys of parameters, in the names of what `finish` releases."""

STEPS_AHEAD = 2  # one is computed while the next is encoded, shared and sent
POLL_SECONDS = 0.1  # between questions for what others have announced or decided


def expect_training(plan: Plan) -> None:
    """InputError for a model without a `train` block."""
    if not plan.trains:
        raise InputError(f"the model {plan.name} has no `train` block, so it cannot be trained")


@contextmanager
def counted(step: int) -> Iterator[None]:
    """Adds to a RangeError the step, counted from 1, that was made last: its signals are told by what comes next."""
    try:
        yield
    except RangeError as error:
        raise error.between(max(step - 1, min(step, 1)), step) from None


def clock_of(plan: Plan, roles: Sequence[str], stage: str, **now: int) -> dict[str, int]:
    """What these roles give a procedure of training beside what their users do, where the plan asks for it: `epoch`,
    `step`, `carry`, `rows`."""
    asked = {t.name for t in plan.inputs if t.role in roles and stage in t.stages}
    return {CLOCK + name: number for name, number in now.items() if CLOCK + name in asked}


def _owners(plan: Plan) -> list[str]:
    """The roles that bring rows."""
    return [role for role in plan.roles_of(TRAIN_STEP) if plan.feeds_of(role, TRAIN_STEP)]


class Fitting:
    """The steps of one call. params: those from which it started, of this edition; told: by role of ours, how far both
    parties are with the training, and their checkpoints; announced: what other roles have said of the call, where ours
    have to ask."""

    def __init__(
        self,
        deployment: Deployment,
        inputs: Mapping[str, Any],
        options: Options,
        params: ByRole,
        edition: int,
        told: Mapping[str, Sequence[Message]],
        announced: Mapping[str, Any] | None = None,
    ) -> None:
        self.deployment = deployment
        self.stats = Stats()
        """Of the steps that are done."""
        plan, given = deployment.plan, deployment.given
        point = resumed(options, told)
        tensors = own_tensors(plan, given.roles, TRAIN_STEP)
        self.epochs: Epochs | Followed | Draws
        if plan.privacy is not None:
            expect_drawn(plan, given.roles, options.seed)
        seed = self._seed = self._agreed_seed(options, point.seed if point is not None else None, announced)
        drawn = None
        if plan.privacy is not None:
            self.epochs = draws = Draws(plan, tensors, inputs, given.stacked, options.epochs)
            drawn = Drawn(plan.privacy, draws)
            checked = given.check(draws.batches.tensors(tensors), inputs, "input", TRAIN_STEP)
        elif announced is not None and not tensors:
            self.epochs = Followed(announced["steps"], _agreed(check_epochs(options.epochs), announced["epochs"]))
            checked = given.check([], inputs, "input", TRAIN_STEP)
        else:
            self.epochs = Epochs(plan, tensors, inputs, given.stacked, options.epochs, seed)
            checked = given.check(self.epochs.batches.tensors(tensors), inputs, "input", TRAIN_STEP)
        data = {}
        if options.checkpoint is not None:
            data = {role: deployment.name_of(role, checked[role]) for role in told}
        if point is not None:
            point.check(options, seed, data, self.total)
        self._validation = Validation(deployment, options.validation, announced)
        rows, ids = self._same_rows(options, announced)
        self._marks = Marks(options, seed, data, point, told, rows, ids, self.epochs.steps, self._validation.rows)
        self.history = History(None if drawn else seed, self._marks.first, drawn=drawn)
        self._params, self._edition, self._options = params, edition, options
        self._watched = self._watch(options)
        self._measures = bool(self._told_to_us or self._validation.batches or self._watched)
        self._coming = self.epochs.after(self._marks.first)
        self._submitted = self._marks.first
        self._waiting: deque[Submitted] = deque()
        self._told: list[dict[str, Array]] = []
        self._began = time.perf_counter()
        self._units = self._run()

    def _agreed_seed(self, options: Options, known: int | None, announced: Mapping[str, Any] | None) -> int:
        plan, ours = self.deployment.plan, set(self.deployment.given.roles)
        seed = known if options.seed is None else options.seed
        if seed is None and announced is not None:
            seed = announced["seed"]
        owners = _owners(plan)
        if seed is None and not set(owners) <= ours:
            raise InputError(f"seed: {' and '.join(owners)} give rows of the same batches, so they have to agree on it")
        return fresh_seed() if seed is None else check_seed(seed)

    def _same_rows(self, options: Options, announced: Mapping[str, Any] | None) -> tuple[int, str]:
        """How many rows there are, and a hash of their ids, which other roles have to say alike: (0, "") where the
        roles are members of one, each with rows of its own."""
        plan, ours = self.deployment.plan, set(self.deployment.given.roles)
        owners = _owners(plan)
        if isinstance(self.epochs, Followed):
            if options.ids is not None:
                raise InputError("ids: this role brings no rows")
            assert announced is not None, "whoever follows has heard of the training"
            return announced["rows"], announced.get("ids", "")
        if any(set(owners) <= set(role.members) for role in plan.array_roles):
            if options.ids is not None:
                raise InputError(f"ids: {' and '.join(owners)} each bring other rows, so there is nothing to compare")
            return 0, ""
        rows, own = self.epochs.batches.rows, [role for role in owners if role in ours]
        return rows, check_ids(options.ids, options.ids_key, own, rows, set(owners) <= ours)

    def _watch(self, options: Options) -> Metric | None:
        """The metric by which training may end early. InputError for one whose sum has no room."""
        plan, rows = self.deployment.plan, self._validation.rows
        for metric in plan.metrics:
            count, what = (rows, "validation rows") if metric.validation else (self.epochs.steps, "steps of an epoch")
            if count > metric.most:
                raise InputError(f"the sum behind `{metric.name}` has room for {metric.most} {what}, found {count}")
        return watched_by(plan, bool(rows), options.patience)

    @property
    def total(self) -> int:
        """How many steps there are to make."""
        return self.epochs.steps * self.epochs.epochs

    @property
    def done(self) -> int:
        """How many are made, those before the checkpoint too."""
        return self._marks.first + len(self._told)

    @property
    def position(self) -> int:
        """How many steps were made with the parameters in all."""
        return self._marks.start + self.done

    def advance(self, edition: int) -> tuple[bool, Epoch | None]:
        """Makes a step, or what follows one; whether there was anything to do, and the epoch that is complete with
        it."""
        if edition != self._edition:
            raise Error("the parameters were replaced while these rows were trained on")
        with counted(min(self.position + 1, self._marks.start + self.total)):
            for epoch in self._units:
                return True, epoch
        return False, None

    def _run(self) -> Iterator[Epoch | None]:
        """After each thing done the epoch that is complete, if there is one."""
        if self._marks.scale != 1:
            self._rescale()
            yield None
        elif self.done == self.total:
            self._check(self._marks.resuming())
            yield None
        while self.done < self.total and not self.history.stopped:
            self._step()
            if self._marks.is_checked(self.done):
                yield None
                self._check(self._marks.behind(self.done))
            if self.done % self.epochs.steps:
                yield None
                continue
            metrics: dict[str, float] = {}
            if self._measures:
                yield None
                yield from self._validated()
                metrics = self._metrics()
            yield self._completed(metrics)
            if self._watched is not None and self.done < self.total:
                yield from self._decided(self._watched)
        if self._marks.is_kept(self.done):
            self._check(self._marks.behind(self.done))
            yield None
            self._check(self._marks.last(self.done), self.done + 1)
            yield None

    def _check(self, training: Mapping[str, Mapping[str, Any]], run: int | None = None) -> None:
        """All roles are told what the checks of the steps so far have found; `training` may ask for more. run: a number
        that no other check of the call has, by default that of its steps."""
        self._submit(CHECK, {}, self.done if run is None else run, training)
        self.deployment.wait(self._waiting.popleft())

    def _step(self) -> None:
        given, steps = self.deployment.given, self.epochs.steps
        end = (self.done // steps + 1) * steps if self._measures else self.total
        while len(self._waiting) < STEPS_AHEAD and self._submitted < end and not self._stalls():
            epoch, place = divmod(self._submitted, steps)
            now = {"epoch": epoch, "step": self._marks.start + self._submitted, "carry": int(place > 0)}
            clock = clock_of(self.deployment.plan, given.roles, TRAIN_STEP, **now)
            training = self._marks.of(self._submitted)
            thrown = coins(self.deployment.plan, given.roles, self._seed, self._submitted)
            if isinstance(self.epochs, Draws):
                training = {role: {**said, "rows": self.epochs.rows} for role, said in training.items()}
            self._submit(TRAIN_STEP, {**next(self._coming), **clock, **thrown}, self._submitted, training)
            self._submitted += 1
        computed = self.deployment.wait(self._waiting.popleft())
        self.stats = self.stats.plus(computed.stats)
        self._told.append(computed.results)

    def _stalls(self) -> bool:
        """Whether the next step waits until what was found in those before it is known, for a checkpoint."""
        return self._submitted > self.done and self._marks.is_checked(self._submitted)

    def _rescale(self) -> None:
        """What momentums remember is of another learning rate: the role that speaks of steps says by how much."""
        plan, ours = self.deployment.plan, self.deployment.given.roles
        if not any(procedure.name == RESCALE for procedure in plan.procedures):
            raise InputError(f"the checkpoint {self._options.checkpoint!r} is of an optimizer that remembers otherwise")
        if not set(plan.roles_of(RESCALE)).isdisjoint(ours):
            self._submit(RESCALE, {SCALE: self._marks.scale}, 0, self._marks.resuming())
            self.deployment.wait(self._waiting.popleft())

    def _submit(
        self, stage: str, values: Mapping[str, Any], run: int, training: Mapping[str, Mapping[str, Any]]
    ) -> None:
        given, options = self.deployment.given, self._options
        checked = given.check(given.tensors(stage), values, "input", stage)
        encoded = given.encode(stage, checked, self._params)
        named = options.meeting, run, None, options.datasets if stage in (TRAIN_STEP, EVALUATE) else {}
        self._waiting.append(self.deployment.submit(encoded, *named, stage=stage, training=training))

    # -- behind an epoch ------------------------------------------------------------------------------------------

    def _validated(self) -> Iterator[None]:
        """The batches of validation rows."""
        epoch, count = self.done // self.epochs.steps, self._validation.batches
        for place, (batch, rows) in enumerate(self._validation):
            now = {"carry": int(place > 0), "rows": rows}
            clock = clock_of(self.deployment.plan, self.deployment.given.roles, EVALUATE, **now)
            behind = self._marks.behind(self.done, place=place)
            self._submit(EVALUATE, {**batch, **clock}, epoch * count + place, behind)
            if len(self._waiting) == STEPS_AHEAD:
                self.deployment.wait(self._waiting.popleft())
                yield None
        while self._waiting:
            self.deployment.wait(self._waiting.popleft())
            yield None

    @property
    def _told_to_us(self) -> list[Metric]:
        plan, ours = self.deployment.plan, set(self.deployment.given.roles)
        results = {result.name: ours.intersection(result.roles) for result in plan.results}
        return [metric for metric in plan.metrics if results[metric.result]]

    def _metrics(self) -> dict[str, float]:
        if not self._told_to_us:
            return {}
        epoch = self.done // self.epochs.steps
        self._submit(METRICS, {}, epoch, self._marks.behind(self.done))
        told = self.deployment.wait(self._waiting.popleft()).results
        found = {}
        for metric in self._told_to_us:
            count = self._validation.rows if metric.validation else self.epochs.steps
            if count:
                found[called(metric)] = float(told[metric.result]) * metric.share / count
        return found

    def _completed(self, metrics: Mapping[str, float]) -> Epoch:
        now = time.perf_counter()
        told = self._told[-self.epochs.steps :]
        means = {name: np.mean([each[name] for each in told], axis=0) for name in told[0]}
        epoch = Epoch(self.done // self.epochs.steps, len(told), now - self._began, means, metrics)
        self._began = now
        self.history.add(epoch)
        self.history.outputs = {name: np.array([each[name] for each in self._told]) for name in told[0]}
        return epoch

    def _decided(self, watched: Metric) -> Iterator[None]:
        """Ends the training, where the metric that is watched is no better any more. Its first receiver decides; roles
        on other machines wait for that."""
        plan, ours = self.deployment.plan, self.deployment.given.roles
        taking = [role for role in plan.roles_of(TRAIN_STEP) if role in ours]
        decider = next(result.roles[0] for result in plan.results if result.name == watched.result)
        if decider in ours:
            values = self.history.metrics[called(watched)]
            self.history.stopped = is_worn_out(watched.name, values, self._options.patience or 0)
            if set(plan.roles_of(TRAIN_STEP)) - set(ours):
                decided = {"step": self.position, "stop": self.history.stopped}
                self.deployment.progress(decider, {"decided": decided})
            return
        until = time.monotonic() + self.deployment.patience
        while True:
            said = [message.body["decided"] for message in self.deployment.progress(taking[0], {})]
            if all(each is not None and each["step"] == self.position for each in said):
                self.history.stopped = said[0]["stop"]
                return
            if time.monotonic() > until:
                late = f"{decider} has not said whether training goes on behind step {self.position}"
                raise PeerError(f"after {self.deployment.patience:g} s {late}", "p0")
            yield None
            time.sleep(POLL_SECONDS)

    def abandon(self) -> None:
        """Drops the steps that are under way: they are made, and what they tell is dropped."""
        while self._waiting:
            self.deployment.abandon(self._waiting.popleft())


class Validation:
    """The rows of validation, batch by batch. inputs: those of our roles, if any; announced: as of `Fitting`."""

    def __init__(
        self, deployment: Deployment, inputs: Mapping[str, Any] | None, announced: Mapping[str, Any] | None
    ) -> None:
        plan, given = deployment.plan, deployment.given
        tensors = own_tensors(plan, given.roles, EVALUATE)
        self._batches = None
        self.rows, size = 0, dict(plan.dims).get(BATCH, 1)
        takes_part = any(role in given.roles for role in (plan.roles_of(EVALUATE) if plan.validates else ()))
        if inputs is not None:
            expect_validation(plan)
            with as_validation():
                self._batches = Batches(plan, tensors, (), inputs, given.stacked, single="train")
                given.check(self._batches.tensors(tensors), inputs, "input", EVALUATE)
            self.rows = self._batches.rows
        elif announced is not None and not tensors:
            self.rows = announced["validation"]
        self.batches = -(-self.rows // size) if takes_part else 0

    def __iter__(self) -> Iterator[tuple[Mapping[str, Array], int]]:
        """Each batch, and how many of its rows count, where it is ours."""
        if self._batches is not None:
            yield from rows_counted(self._batches)
            return
        for _ in range(self.batches):
            yield {}, 0


def own_tensors(plan: Plan, roles: Sequence[str], stage: str) -> list[Tensor]:
    """What the users of these roles give a procedure of training."""
    return [t for t in plan.inputs if t.role in roles and stage in t.stages and not t.name.startswith(CLOCK)]


def listens(plan: Plan, roles: Sequence[str]) -> bool:
    """Whether these roles have to be told what a call of `fit` is: they have no rows, or none of validation."""
    return not own_tensors(plan, roles, EVALUATE if plan.validates else TRAIN_STEP)


def _agreed(epochs: int, announced: int) -> int:
    if epochs != announced:
        raise InputError(f"epochs: expected {announced}, as the others train, found {epochs}")
    return epochs
