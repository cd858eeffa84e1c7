"""What was seen of a training: of its epochs, its steps, and its metrics; and when a metric is good no more.

How it is trained is `training.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError, amount
from ..plan import Metric, Plan
from ..privacy.accountant import Training
from .drawing import Drawn
from .resuming import check_patience

__all__ = ["Epoch", "History", "ReferenceFit", "called", "is_worn_out", "watched_by", "watching"]

Array = np.ndarray


@dataclass(frozen=True)
class Epoch:
    """What was seen of an epoch.

    Attributes:
        number: Counted from 1.
        steps: How many steps it took.
        seconds: How long they took.
        outputs: For each output of the `train` block its mean over the steps.
        metrics: What this session is told of `accuracy`, `loss`, `validation_accuracy` and `validation_loss`.
    """

    number: int
    steps: int
    seconds: float
    outputs: Mapping[str, Array]
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        scalars = {name: float(value) for name, value in self.outputs.items() if np.ndim(value) == 0}
        told = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in {**scalars, **self.metrics}.items())
        return f"epoch {self.number}: {amount(self.steps, 'step')} in {self.seconds:.1f} s{told}"


class Measured:
    """What was told of an epoch, one number each; empty where nothing was."""

    metrics: Mapping[str, Sequence[float]]

    @property
    def accuracy(self) -> Sequence[float]:
        """Of the rows of each epoch, as its steps found them."""
        return self.metrics.get("accuracy", [])

    @property
    def loss(self) -> Sequence[float]:
        """The mean over the steps of each epoch."""
        return self.metrics.get("loss", [])

    @property
    def validation_accuracy(self) -> Sequence[float]:
        """Of the validation rows, behind each epoch."""
        return self.metrics.get("validation_accuracy", [])

    @property
    def validation_loss(self) -> Sequence[float]:
        """Of the validation rows, behind each epoch."""
        return self.metrics.get("validation_loss", [])


@dataclass(repr=False)
class History(Measured):
    """What was seen of a training.

    Attributes:
        seed: The one that decided which rows each batch had; None under `privacy`, where each step draws its own.
        resumed: How many steps were made before, by the call from whose checkpoint this one went on.
        epochs: One entry an epoch.
        outputs: For each output of the `train` block its value at every step, along a first axis.
        metrics: By name, a list of numbers, one an epoch; also as `accuracy`, `loss`, `validation_accuracy` and
            `validation_loss`.
        stopped: Whether training ended early, by `patience`.
    """

    seed: int | None
    resumed: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    outputs: dict[str, Array] = field(default_factory=dict)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    stopped: bool = False
    drawn: Drawn | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        told = [amount(len(self.epochs), "epoch") + ", stopped early" * self.stopped, amount(self.steps, "step")]
        if self.resumed:
            told.append(f"{self.resumed} made before")
        told += [f"{name.replace('_', ' ')} {values[-1]:.4g}" for name, values in self.metrics.items()]
        return f"<History: {'; '.join(told)}>"

    @property
    def epsilon(self) -> Training | None:
        """What the steps of this call, and those that it went on from, tell of a row at most; None without `privacy`.
        It takes some seconds to find."""
        return None if self.drawn is None else self.drawn.cost(self.resumed)

    @property
    def steps(self) -> int:
        """How many steps were made by this call."""
        return sum(epoch.steps for epoch in self.epochs)

    def add(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        for name, value in epoch.metrics.items():
            self.metrics.setdefault(name, []).append(value)

    def plot(self) -> Any:
        """Draw what every step and every epoch told, each scalar a line, with matplotlib
        (`pip install mpc-runtime[plot]`); the axes."""
        try:
            from matplotlib import pyplot
        except ImportError:
            raise InputError("plot needs matplotlib: pip install mpc-runtime[plot]") from None
        _, axes = pyplot.subplots()
        for name, values in self.outputs.items():
            if values.ndim == 1:
                axes.plot(np.arange(1, len(values) + 1), values, label=name)
        ends = np.cumsum([epoch.steps for epoch in self.epochs])
        for name, told in self.metrics.items():
            axes.plot(ends, told, marker="o", label=name.replace("_", " ") + " of an epoch")
        axes.set_xlabel("step")
        axes.legend()
        return axes


@dataclass(frozen=True)
class ReferenceFit(Measured):
    """What training on plaintext gave.

    Attributes:
        losses: Of every step, before its update.
        weights: All parameters after the last step, by key.
        metrics: As of `History`.
        stopped: As of `History`.
    """

    losses: Array
    weights: dict[str, Array]
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    stopped: bool = False


def watched_by(plan: Plan, validated: bool, patience: int | None) -> Metric | None:
    """The metric by which training may end early; InputError where there is none. validated: whether there are
    validation rows."""
    if patience is None:
        return None
    check_patience(patience)
    metric = plan.watched(validated)
    if metric is None:
        word = "validation rows" if validated else "an epoch"
        help = "declare one in its `train` block: `metric accuracy to …`"
        raise InputError(f"patience: the model {plan.name} tells no metric of {word}; {help}")
    return metric


def watching(plan: Plan, validated: bool, patience: int | None) -> Callable[[Mapping[str, Sequence[float]]], bool]:
    """Whether training ends early with such metrics, as of `watched_by`."""
    metric = watched_by(plan, validated, patience)
    if metric is None or patience is None:
        return lambda metrics: False
    return lambda metrics: is_worn_out(metric.name, metrics[called(metric)], patience)


def called(metric: Metric) -> str:
    """By what name its numbers are found."""
    return f"validation_{metric.name}" if metric.validation else metric.name


def is_worn_out(name: str, values: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` values of a metric were no better than the best one before them."""
    better = np.asarray(values) * (1 if name == "accuracy" else -1)
    return len(values) - 1 - int(np.argmax(better)) >= patience
