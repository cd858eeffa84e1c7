"""Training over many batches: each is computed while the next is encoded, shared and sent.

Which rows a batch has is decided by `roles/epochs.py`, what is said of checkpoints by `resuming.py`, and who may do
what when by the session.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import Error, InputError, RangeError
from ..execution.stats import Stats
from ..plan import Plan, Privacy
from ..privacy.accountant import Training, expect_installed, training
from ..procedure import CLOCK, TRAIN_STEP
from ..roles.draws import Draws
from ..roles.epochs import Epochs, check_seed, fresh_seed
from ..roles.inputs import ByRole
from ..transport.messages import Message
from .deployed import Deployment, Submitted
from .resuming import Marks, Options, Point, resumed

__all__ = ["WEIGHTS", "Epoch", "Fitting", "History", "ReferenceFit", "clock_of", "expect_training"]

Array = np.ndarray
WEIGHTS = "weights."
"""Before the keys of parameters, in the names of what `finish` releases."""

STEPS_AHEAD = 2  # one is computed while the next is encoded, shared and sent


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


def clock_of(plan: Plan, roles: Sequence[str], epoch: int, step: int) -> dict[str, int]:
    """What these roles give a step beside what their users do: the epoch and the step, where the plan asks for them."""
    now = {CLOCK + "epoch": epoch, CLOCK + "step": step}
    asked = {t.name for t in plan.inputs if t.role in roles}
    return {name: number for name, number in now.items() if name in asked}


@dataclass(frozen=True)
class Epoch:
    """What was seen of an epoch.

    Attributes:
        number: Counted from 1.
        steps: How many steps it took.
        seconds: How long they took.
        outputs: For each output of the `train` block its mean over the steps.
    """

    number: int
    steps: int
    seconds: float
    outputs: Mapping[str, Array]

    def __str__(self) -> str:
        told = "".join(f", {name} {float(value):.4g}" for name, value in self.outputs.items() if np.ndim(value) == 0)
        return f"epoch {self.number}: {self.steps} steps in {self.seconds:.1f} s{told}"


@dataclass(frozen=True)
class Drawn:
    """The draws of private training so far."""

    privacy: Privacy
    draws: Draws

    def cost(self, resumed: int) -> Training:
        """resumed: steps that another call has made, whose draws are not known."""
        p, drawn = self.privacy, self.draws.drawn
        most = None if resumed else int(drawn.max())
        return training(drawn.size, p.batch, p.noise, resumed + self.draws.made, p.delta, most)


@dataclass
class History:
    """What was seen of a training.

    Attributes:
        seed: The one that decided which rows each batch had; None where training is private.
        resumed: How many steps were made before, by the call from whose checkpoint this one went on.
        epochs: One entry an epoch.
        outputs: For each output of the `train` block its value at every step, along a first axis.
    """

    seed: int | None
    resumed: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    outputs: dict[str, Array] = field(default_factory=dict)
    _drawn: Drawn | None = field(default=None, repr=False)

    @property
    def steps(self) -> int:
        """How many steps were made by this call."""
        return sum(epoch.steps for epoch in self.epochs)

    @property
    def epsilon(self) -> Training | None:
        """What the steps of this call, and those that it went on from, tell of a row at most; None without `privacy`.
        It takes some seconds to find the first time."""
        return None if self._drawn is None else self._drawn.cost(self.resumed)

    def plot(self) -> Any:
        """Draw what every step told, each scalar output a line, with matplotlib (`pip install mpc-runtime[plot]`); the
        axes."""
        try:
            from matplotlib import pyplot
        except ImportError:
            raise InputError("plot needs matplotlib: pip install mpc-runtime[plot]") from None
        _, axes = pyplot.subplots()
        for name, values in self.outputs.items():
            if values.ndim == 1:
                axes.plot(values, label=name)
        axes.set_xlabel("step")
        axes.legend()
        return axes


@dataclass(frozen=True)
class ReferenceFit:
    """What training on plaintext gave.

    Attributes:
        losses: Of every step, before its update.
        weights: All parameters after the last step, by key.
    """

    losses: Array
    weights: dict[str, Array]


def _seed(options: Options, point: Point | None, owners: Sequence[str], apart: bool) -> int:
    """The one that decides the order of rows. InputError where roles of other machines have to know it."""
    seed = point.seed if point is not None and options.seed is None else options.seed
    if seed is None and apart:
        raise InputError(f"seed: {' and '.join(owners)} give rows of the same batches, so they have to agree on it")
    return fresh_seed() if seed is None else check_seed(seed)


def _expect_secret_draws(options: Options, owners: Sequence[str], apart: bool) -> None:
    """InputError where rows cannot be drawn so that nobody else knows which, or nobody could say what that costs."""
    expect_installed()
    if options.seed is not None:
        raise InputError("seed: under `privacy` rows are drawn at random, and whoever could tell them would learn more")
    if apart:
        raise InputError(
            f"{' and '.join(owners)} give rows of the same batches, and under `privacy` one session draws them: train "
            "with one owner of rows, or from a session that has all of these roles"
        )


class Fitting:
    """The steps of one call. edition: of the parameters from which it started; told: by role of ours, how far both
    parties are with the training, and their checkpoints."""

    def __init__(
        self,
        deployment: Deployment,
        inputs: Mapping[str, Any],
        options: Options,
        edition: int,
        told: Mapping[str, Sequence[Message]],
    ) -> None:
        self.deployment = deployment
        self.stats = Stats()
        """Of the steps that are done."""
        plan, given = deployment.plan, deployment.given
        point = resumed(options, told)
        owners = [role for role in plan.roles_of(TRAIN_STEP) if plan.feeds_of(role, TRAIN_STEP)]
        apart = not set(owners) <= set(given.roles)
        self._tensors = [t for t in given.tensors(TRAIN_STEP) if not t.name.startswith(CLOCK)]
        rows = plan, self._tensors, inputs, given.stacked, options.epochs
        self.epochs: Epochs | Draws
        drawn, seed = None, 0
        if plan.privacy is None:
            seed = _seed(options, point, owners, apart)
            self.epochs = Epochs(*rows, seed)
        else:
            _expect_secret_draws(options, owners, apart)
            self.epochs = draws = Draws(*rows)
            drawn = Drawn(plan.privacy, draws)
        checked = given.check(self.epochs.batches.tensors(self._tensors), inputs, "input", TRAIN_STEP)
        data = {}
        if options.checkpoint is not None:
            data = {role: deployment.name_of(role, checked[role]) for role in told}
        if point is not None:
            point.check(options, seed, data, self.total)
        self._marks = Marks(options, seed, data, point, told, self.total)
        self.history = History(None if drawn else seed, self._marks.first, _drawn=drawn)
        self._edition, self._options = edition, options
        self._coming = self.epochs.after(self._marks.first)
        self._submitted = self._marks.first
        self._waiting: deque[Submitted] = deque()
        self._told: list[dict[str, Array]] = []
        self._began = time.perf_counter()

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

    def step(self, edition: int, params: ByRole) -> Epoch | None:
        """Makes a step; the epoch that it completes, if it does."""
        if edition != self._edition:
            raise Error("the parameters were replaced while these rows were trained on")
        while len(self._waiting) < STEPS_AHEAD and (batch := next(self._coming, None)) is not None:
            given = self.deployment.given
            epoch, step = self._submitted // self.epochs.steps, self._marks.start + self._submitted
            clock = clock_of(self.deployment.plan, given.roles, epoch, step)
            checked = given.check(given.tensors(TRAIN_STEP), {**batch, **clock}, "input", TRAIN_STEP)
            encoded = given.encode(TRAIN_STEP, checked, params)
            named = self._options.meeting, self._submitted, None, self._options.datasets
            said = {} if self.deployment.plan.privacy is None else {"rows": self.epochs.batches.rows}
            training = {role: {**own, **said} for role, own in self._marks.of(self._submitted).items()}
            self._waiting.append(self.deployment.submit(encoded, *named, stage=TRAIN_STEP, training=training))
            self._submitted += 1
        with counted(self.position + 1):
            computed = self.deployment.wait(self._waiting.popleft())
        self.stats = self.stats.plus(computed.stats)
        self._told.append(computed.results)
        return None if self.done % self.epochs.steps else self._completed()

    def _completed(self) -> Epoch:
        now = time.perf_counter()
        told = self._told[-self.epochs.steps :]
        means = {name: np.mean([each[name] for each in told], axis=0) for name in told[0]}
        epoch = Epoch(self.done // self.epochs.steps, len(told), now - self._began, means)
        self._began = now
        self.history.epochs.append(epoch)
        self.history.outputs = {name: np.array([each[name] for each in self._told]) for name in told[0]}
        return epoch

    def abandon(self) -> None:
        """Drops the steps that are under way: they are made, and what they tell is dropped."""
        while self._waiting:
            self.deployment.abandon(self._waiting.popleft())
