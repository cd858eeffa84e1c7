"""What is seen of a training: how it prints, when a metric is good no more, and its picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mpc_runtime.errors import InputError
from mpc_runtime.sessions.history import Epoch, History, is_worn_out


def history() -> History:
    found = History(seed=1, outputs={"loss": np.array([3.0, 2.0, 1.5, 1.0]), "scores": np.zeros((4, 2))})
    for number, accuracy in ((1, 0.5), (2, 0.75)):
        found.add(
            Epoch(number, 2, 0.25, {"loss": np.array(2.0)}, {"accuracy": accuracy, "validation_loss": 1 / number})
        )
    return found


def test_an_epoch_says_what_it_was_told() -> None:
    told = history()
    assert str(told.epochs[1]) == "epoch 2: 2 steps in 0.2 s, loss 2, accuracy 0.75, validation loss 0.5"
    assert told.accuracy == [0.5, 0.75] and told.validation_loss == [1.0, 0.5] and told.steps == 4
    assert told.loss == told.validation_accuracy == []
    assert repr(told) == "<History: 2 epochs; 4 steps; accuracy 0.75; validation loss 0.5>"
    assert (
        repr(History(seed=1, resumed=3, stopped=True)) == "<History: 0 epochs, stopped early; 0 steps; 3 made before>"
    )


@pytest.mark.parametrize(
    ("name", "values", "patience", "over"),
    [
        ("accuracy", [0.5], 1, False),
        ("accuracy", [0.5, 0.5], 1, True),  # no better
        ("accuracy", [0.5, 0.6, 0.55], 2, False),
        ("accuracy", [0.5, 0.6, 0.55, 0.6], 2, True),
        ("accuracy", [0.5, 0.6, 0.55, 0.61], 2, False),
        ("loss", [2.0, 1.0, 1.5], 1, True),
        ("loss", [2.0, 1.0, 0.5], 1, False),
    ],
)
def test_a_metric_is_worn_out_when_it_is_no_better(
    name: str, values: Sequence[float], patience: int, over: bool
) -> None:
    assert is_worn_out(name, values, patience) is over


class Axes:
    """In the place of matplotlib's: what is drawn."""

    def __init__(self) -> None:
        self.lines: dict[str, tuple[list[float], list[float]]] = {}

    def plot(self, x: Any, y: Any, label: str, **style: str) -> None:
        self.lines[label] = list(x), list(y)

    def set_xlabel(self, text: str) -> None:
        assert text == "step"

    def legend(self) -> None: ...


def test_a_picture_has_a_line_for_each_number(monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot = ModuleType("matplotlib.pyplot")
    pyplot.subplots = lambda: (None, Axes())  # type: ignore[attr-defined]
    matplotlib = ModuleType("matplotlib")
    matplotlib.pyplot = pyplot  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "matplotlib", matplotlib)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", pyplot)
    assert history().plot().lines == {
        "loss": ([1, 2, 3, 4], [3.0, 2.0, 1.5, 1.0]),
        "accuracy of an epoch": ([2, 4], [0.5, 0.75]),
        "validation loss of an epoch": ([2, 4], [1.0, 0.5]),
    }


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install mpc-runtime\[plot\]"):
        history().plot()
