"""The accuracy of examples on thousands of rows, in the simulator: private and plaintext differ by one in a thousand at
most.

The rows lie between the example's own ones of a class, up to the middle: more, and harder to tell apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import examples
import mpc_runtime as mpc
from examples.classical.demo import parameters

FOLDER = Path(examples.__file__).parent
ROWS = 2000
Array = np.ndarray


def between(rows: Array, labels: Array) -> tuple[Array, Array]:
    """(rows, labels): each row blended with another one, of any class, less than half."""
    random = np.random.default_rng(11)
    first, second = random.integers(0, len(rows), (2, ROWS))
    share = random.uniform(0, 0.49, (ROWS, *(1,) * (rows.ndim - 1)))
    return rows[first] * (1 - share) + rows[second] * share, labels[first]


def _digits(data: dict[str, Array]) -> tuple[dict[str, Array], Array]:
    images, labels = between(data["image"] / data["levels"], data["label"])
    return {"image": images}, labels


def _cancer(data: dict[str, Array]) -> tuple[dict[str, Array], Array]:
    both, labels = between(np.concatenate([data["size"], data["texture"]], axis=1), data["malignant"])
    return {"size": both[:, :10], "texture": both[:, 10:]}, labels


def _forest(data: dict[str, Array]) -> tuple[dict[str, Array], Array]:
    patients, labels = between(data["patient"], data["malignant"])
    return {"patient": patients}, labels


def _wines(data: dict[str, Array]) -> tuple[dict[str, Array], Array]:
    wines, labels = between(data["wine"], data["truth"])
    return {"wine": wines}, labels


Rows = Callable[[dict[str, Array]], tuple[dict[str, Array], Array]]
JUDGES: tuple[tuple[str, str, Rows], ...] = (
    ("digits/digits", "probabilities", _digits), ("cancer/cancer", "malignant", _cancer),
    ("forest/forest", "malignant", _forest), ("classical/kmeans", "kind", _wines),
    ("classical/svm", "kind", _wines), ("classical/bayes", "kind", _wines), ("classical/neighbours", "kind", _wines),
)  # fmt: skip


LARGE = ("digits/digits", "forest/forest", "classical/neighbours")


def _cases() -> list[object]:
    return [
        pytest.param(*each, id=each[0], marks=[pytest.mark.slow, pytest.mark.long] if each[0] in LARGE else [])
        for each in JUDGES
    ]


@pytest.mark.parametrize(("model", "output", "rows"), _cases())
def test_accuracy_is_plaintexts_within_one_in_a_thousand(model: str, output: str, rows: Rows) -> None:
    folder, name = model.split("/")
    inputs, labels = rows(dict(np.load(FOLDER / folder / f"{folder}.npz")))
    params = parameters(name) if folder == "classical" else load_file(FOLDER / folder / f"{name}.safetensors")
    program = mpc.compile(FOLDER / folder / f"{name}.ppml", dims={"batch": ROWS})
    simulated = program.simulate(inputs, params)
    assert not simulated.violations
    private, plain = (_judged(found[output]) for found in (simulated.results, simulated.reference))
    assert len(set(plain.tolist())) > 1
    accuracies = [(found == labels).sum() if name != "kmeans" else (found == plain).sum() for found in (private, plain)]
    assert abs(accuracies[0] - accuracies[1]) <= ROWS / 1000
    assert (private != plain).sum() <= ROWS / 1000


def _judged(found: Array) -> Array:
    """A class from probabilities of all, of one, or as it is."""
    if found.dtype.kind != "f":
        return found
    return found.argmax(axis=1) if found.shape[-1] > 1 else found[:, 0] > 0.5
