"""What calibrating gains and refuses. Truth: a LeNet whose ranges a careful author declared, and the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import examples
import mpc_runtime as mpc
from tests.trained import LOGISTIC

FOLDER = Path(examples.__file__).parent / "lenet"
SOURCE = (FOLDER / "lenet.ppml").read_text(encoding="utf-8")
SAMPLES = np.random.default_rng(4).uniform(0, 1, (5, 1, 28, 28))


def bytes_of(program: mpc.Program) -> int:
    return program.cost.online_bytes + program.cost.offline_bytes


@pytest.mark.filterwarnings("ignore::mpc_runtime.errors.CompileWarning")
@pytest.mark.parametrize("careless", ["", " in [-4, 4]"], ids=["no range", "4"])
def test_a_careless_lenet_costs_what_a_careful_one_costs(careless: str) -> None:
    weights = load_file(FOLDER / "lenet.safetensors")
    careful = mpc.compile(text=SOURCE)
    program = mpc.compile(text=SOURCE.replace(" in [-0.5, 0.5]", careless))
    proved = mpc.calibrate(program, params=weights)
    assert bytes_of(proved) <= 1.1 * bytes_of(careful) < bytes_of(program)
    assert proved.warnings == ()
    measured = mpc.calibrate(program, params=weights, inputs={"image": SAMPLES})
    assert bytes_of(measured) <= bytes_of(proved)
    assert " in measured [" in measured.plan.source
    assert not measured.simulate(inputs={"image": SAMPLES[:1]}, params=weights).violations


@pytest.mark.filterwarnings("ignore::mpc_runtime.errors.CompileWarning")
def test_the_guard_widens_what_samples_show() -> None:
    source = ("model m role a, b dim batch = 1 input x : [batch, 100] from a in [-1, 1] param w : [100, 3] from b "
              "h = x @ w output y = relu(h) to a")  # fmt: skip
    program = mpc.compile(text=source)
    w, x = {"w": np.full((100, 3), 0.75)}, {"x": np.full((7, 100), 0.01)}
    assert "from b in [0.5, 1] h = x @ w output" in mpc.calibrate(program, params=w).plan.source  # no bit is gained
    for guard, ends in ((1, "[0.5, 1]"), (2, "[0, 2]"), (16, "[-16, 16]")):
        found = mpc.calibrate(program, params=w, inputs=x, guard=guard).plan.source
        assert f"h = x @ w in measured {ends}" in found


def test_batchnorm_is_bounded_by_what_it_multiplies_by_and_adds() -> None:
    source = ("model m role a, b input x : [2, 3] from a in [-1, 1] layer n = batchnorm() weights from b in [-64, 64] "
              "output y = relu(x |> n) to a")  # fmt: skip
    params = {
        "n.weight": [1.0, 2, 4],
        "n.bias": [0.0, 0, 0],
        "n.running_mean": [100.0, 1, 1],
        "n.running_var": [4e4] * 3,
    }
    found = mpc.calibrate(mpc.compile(text=source), params={k: np.array(v) for k, v in params.items()})
    assert "weights from b in [-0.5, 0.03125]" in found.plan.source


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"params": {"v": np.zeros(2)}}, "v: no such parameter; did you mean|v: no such parameter"),
        ({"params": {"w": np.zeros(3)}}, r"'w' expects \[2\], found \[3\]"),
        ({"params": {"w": np.array([1.0, np.nan])}}, "w: expected finite numbers"),
        ({"params": {}}, "at least one parameter, found none"),
        ({"params": {"w": np.zeros(2)}, "inputs": {"z": np.zeros(2)}}, "z: no such input"),
        ({"params": {"w": np.zeros(2)}, "inputs": {"x": np.zeros(2)}}, "u: missing; samples need all"),
        ({"params": {"w": np.zeros(2)}, "guard": 0.5}, "guard: expected a number of at least 1, found 0.5"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict, message: str) -> None:
    source = ("model m role a, b, c input x : [2] from a in [0, 1] param w : [2] from b in [0, 1] "
              "param u : [2] from c in [0, 1] output y = x * w + u to a")  # fmt: skip
    with pytest.raises(mpc.InputError, match=message):
        mpc.calibrate(mpc.compile(text=source), **given)


def test_weights_that_training_changes_are_not_calibrated() -> None:
    """A range that holds of the first ones would be broken by the last without a word."""
    program = mpc.compile(text=LOGISTIC)
    with pytest.raises(mpc.InputError, match=r"churn trains its weights, .*; calibrate it without its `train` block"):
        mpc.calibrate(program, params=program.initial_weights(1))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"visits": np.ones((4, 3)), "debts": np.ones((3, 2))}, "expected as many rows in each input, found"),
        ({"visits": np.ones((0, 3)), "debts": np.ones((0, 2))}, "expected at least one row, found none"),
        ({"visits": 1, "debts": np.ones((3, 2))}, r"visits: expected shape \[16, 3\], found \[\]"),
    ],
)
def test_samples_are_rows(inputs: dict[str, np.ndarray], message: str) -> None:
    program = mpc.compile(text=LOGISTIC.partition("train {")[0])
    with pytest.raises(mpc.InputError, match=message):
        mpc.calibrate(program, params={"fc.weight": np.zeros((1, 5)), "fc.bias": [0]}, inputs=inputs)
