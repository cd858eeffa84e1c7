"""Limits of norms in training: what a step checks is what the tensors' norms are, a broken limit is never forgotten,
and nothing that may be wrong is told."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.training.twin import Twin
from mpc_runtime.gates import SquareSum
from tests.trained import IMAGES, LOGISTIC, Simulated, people

Array = np.ndarray

NET = """model net
role client, modeller
dim batch = 8
input x : [batch, 6] from client in [-1, 1]
layer fc1 = dense(5)
layer fc2 = dense(3)
weights from modeller in [-2, 2]
hidden = x |> fc1 |> relu
y = fc2(hidden)
output shown = y to client
train {
    input target : [batch, 3] from client in [-4, 4]
    loss = mse(y, target)
    optimizer = sgd(lr=RATE, momentum=0.5)
    LIMITS
    output loss to client
    output weights to modeller
}
"""
NOTHING_BESIDE = """model beside
role client, modeller
dim batch = 2
input x : [4] from client in [-1, 1]
param w : [4] from modeller in [-1, 1]
y = w + x
output shown = y to client
train {
    loss = mean(y * y)
    optimizer = sgd(lr=0.1)
    output loss to client
}
"""
TIGHT = "limits = norms(weights=2, inputs=2.5, activations=3, signals=16)"
ROOM = 2.0**-6
"""Part of a limit next to it where rounding decides."""


def start(seed: int = 3) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    shapes = {"fc1.weight": (5, 6), "fc1.bias": (5,), "fc2.weight": (3, 5), "fc2.bias": (3,)}
    return {name: random.uniform(-0.6, 0.6, shape) for name, shape in shapes.items()}


def rows(step: int) -> dict[str, Array]:
    random = np.random.default_rng(100 + step)
    x = random.uniform(-1, 1, (8, 6))
    return {"x": x, "target": np.stack([x[:, 0] * 3, x[:, 1] - x[:, 2], 2 * x[:, 3] + 1], axis=1)}


def norms(weights: dict[str, Array], batch: dict[str, Array]) -> dict[str, float]:
    """What a step limits, in NumPy."""
    hidden = np.maximum(batch["x"] @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    return {
        "fc1.weight": np.linalg.norm(weights["fc1.weight"], axis=1).max(),
        "fc2.weight": np.linalg.norm(weights["fc2.weight"], axis=1).max(),
        "fc2.weight by inputs": np.linalg.norm(weights["fc2.weight"], axis=0).max(),
        "fc1.bias": np.linalg.norm(weights["fc1.bias"]),
        "fc2.bias": np.linalg.norm(weights["fc2.bias"]),
        "what flows into fc2": np.linalg.norm(hidden, axis=1).max(),
    }


@pytest.mark.parametrize("rate", ["0.02", "1.5", "4"])
def test_a_step_finds_what_its_norms_are_and_forgets_nothing(rate: str) -> None:
    program = mpc.compile(text=NET.replace("RATE", rate).replace("LIMITS", TIGHT))
    assert not program.warnings
    training = program.stages.lowered.training
    assert training is not None
    private, clear = Simulated(program.plan, start()), Twin(training.loss, training.optimizer, start())
    limits = {"fc1.weight": 2, "fc2.weight": 2, "fc2.weight by inputs": 2.5, "what flows into fc2": 3}
    broken: set[str] = set()
    for step in range(10):
        expected = norms(clear.params, rows(step))
        told = private.train(**rows(step))
        found = {text.removeprefix("norm of ").partition(" (")[0]: kept for text, kept in private.checks.items()}
        known = bool(broken) or not all(found.values())  # from here on the two go apart
        for name, norm in expected.items() if not known else ():
            assert norm <= limits.get(name, 2.5) * (1 + ROOM), (step, name)
        if not broken:
            loss = clear.train(rows(step), float(rate))
            over = [name for name in found if expected.get(name, 0) > limits.get(name, 2.5) * (1 + ROOM)]
            late = not all(kept for name, kept in found.items() if "signals" in name)  # of the step before
            assert late or not any(found[name] for name in over[:1])  # those behind it may say anything
            assert not known or any(
                expected.get(name, np.inf) > limits.get(name, 2.5) * (1 - ROOM)
                for name, kept in found.items()
                if not kept
            )
            assert told["loss"] == (0 if known else pytest.approx(loss, rel=1e-2))
        assert broken <= {name for name, kept in found.items() if not kept}
        broken |= {name for name, kept in found.items() if not kept}
    assert bool(broken) == (rate != "0.02")
    shown, weights = private.run(x=rows(0)["x"])["shown"], private.finish()
    assert all(private.checks.values()) == (not broken)
    assert np.any(shown) == (not broken)
    assert all(np.any(array) == (not broken) for array in weights.values())


@pytest.mark.parametrize("reader", ["run", "finish", "train"])
def test_signals_that_were_too_long_are_found_by_whatever_is_executed_next(reader: str) -> None:
    """Their squares wait as a state, in which nothing says whether they are within their limit."""
    found = {}
    for signals in (16, 2.0**-4):
        text = NET.replace("RATE", "0.02").replace("LIMITS", f"limits = norms(signals={signals})")
        private = Simulated(mpc.compile(text=text).plan, start())
        assert private.train(**rows(0))["loss"] > 0
        assert all(private.checks.values())  # what the results depend on
        if reader == "run":
            told = private.run(x=rows(1)["x"])
        else:
            told = private.train(**rows(1)) if reader == "train" else private.finish()
        broken = {name.partition(" (")[0] for name, kept in private.checks.items() if not kept}
        found[signals] = broken, all(np.any(array) for array in told.values())
    assert found == {16: (set(), True), 2.0**-4: ({"norm of the signals of fc1", "norm of the signals of fc2"}, False)}


def test_limits_are_assumed_where_nothing_was_declared() -> None:
    """Ranges of a step follow from its limits, so that nothing is left unproved."""
    text = NET.replace("RATE", "0.1").replace("LIMITS", "")
    assert not mpc.compile(text=text).warnings
    wide = text.replace("loss =", "limits = norms(activations=1000)\n    loss =")
    assert mpc.compile(text=wide).plan.hash != mpc.compile(text=text).plan.hash


def test_limits_that_cannot_be_checked_are_refused_at_their_place() -> None:
    """The squares of what lies within them may wrap."""
    text = NET.replace("RATE", "1000").replace("LIMITS", "limits = norms(weights=100000, signals=1000000)")
    with pytest.raises(mpc.CompileError, match="norm cannot be checked") as caught:
        mpc.compile(text=text)
    assert caught.value.diagnostics[0].line


def test_the_manifest_says_what_the_checks_tell() -> None:
    lines = mpc.compile(text=LOGISTIC).leakage
    for start in (
        "in every step of training, output `checked: ",
        "whenever training is finished, output `finish checked: ",
    ):
        assert any(line.startswith(start) and "revealed" in line for line in lines), start
    first = next(number for number, line in enumerate(lines) if line.startswith("`run checked: limits`"))
    assert lines[first : first + 3] == (
        "`run checked: limits`, `checked: limits`, `check checked: limits` and `finish checked: limits` have a bit for "
        "each of 2 limits: 1 if the limit was kept in every step of training so far, and else 0; where one is 0, all "
        "that is sent with them is 0",
        "limit 1 of 2 (line 6): each vector of `fc.weight` has a norm of at most 8",
        "limit 2 of 2 (line 6): each vector of `fc.bias` has a norm of at most 16",
    )


@pytest.mark.parametrize("model", [NET.replace("RATE", "0.1").replace("LIMITS", ""), LOGISTIC], ids=["net", "logistic"])
def test_a_procedure_tells_of_all_its_checks_at_once(model: str) -> None:
    plan = mpc.compile(text=model).plan
    told = {result.name: result for result in plan.results if result.promises}
    for procedure in plan.procedures:
        if procedure.name not in ("setup", "rescale"):
            (bits,) = procedure.gives & told.keys()
            result = told[bits]
            assert result.shape == (len(result.promises),) and len(set(map(str, result.promises))) > 1
    assert len(plan.procedure("train_step").gives) == 2  # the loss, and what checks have found


def test_of_several_checks_the_broken_one_is_named() -> None:
    text = NET.replace("RATE", "0.02").replace("LIMITS", f"limits = norms(activations={2.0**-4})")
    private = Simulated(mpc.compile(text=text).plan, start())
    assert private.train(**rows(0))["loss"] == 0
    assert len(private.checks) == 7
    assert [name for name, kept in private.checks.items() if not kept] == [
        "norm of what flows into fc2 (line 8) at most 0.0625"
    ]


def test_one_check_is_told_of_as_one_bit() -> None:
    program = mpc.compile(text=NOTHING_BESIDE)
    (step,) = [result for result in program.plan.results if result.name == "checked: limits"]
    assert step.shape == () and [str(promise) for promise in step.promises] == ["norm of w (line 5) at most 16"]
    assert any(
        line.startswith("`checked: limits` is 1 if each vector of `w` has a norm of at most 16 in every step")
        for line in program.leakage
    )
    private = Simulated(program.plan, {"w": np.ones(4)})
    private.train(x=np.ones(4))
    assert private.checks == {"norm of w (line 5) at most 16": True}


def test_good_training_is_not_stopped() -> None:
    private = Simulated(mpc.compile(text=LOGISTIC).plan, {"fc.weight": np.zeros((1, 5)), "fc.bias": np.zeros(1)})
    data = people(16 * 8)
    for step in range(8):
        private.train(**{name: array[16 * step : 16 * (step + 1)] for name, array in data.items()})
        assert private.checks and all(private.checks.values())


def test_checks_square_what_is_opened_anyway() -> None:
    """Openings that others read are not the checks' in the report of costs, so that what is left is what they cost."""
    cost = mpc.compile(text=IMAGES).cost
    step = [each for each in cost.per_op if each.part in ("forward", "backward", "update")]
    checks = [each for each in step if each.label == "the check of a norm"]
    assert 0 < sum(each.online_bytes for each in checks) < 0.03 * cost.train_online_bytes
    assert sum(each.online_bytes for each in step) == cost.train_online_bytes


@pytest.mark.parametrize(("pool", "measured"), [("2", 128 * 3 * 3), ("3, stride=1", 128 * 6 * 6)])
def test_signals_are_measured_before_a_pooling_spreads_them(pool: str, measured: int) -> None:
    """Where windows do not overlap the norm is the same, of fewer elements."""
    source = f"""model images role client, modeller dim batch = 128
    input x : [batch, 1, 6, 6] from client in [0, 1]
    layer conv = conv2d(1, kernel=3, padding=1) layer fc = dense(2)
    weights from modeller in [-1, 1]
    logits = x |> conv |> maxpool2d({pool}) |> relu |> flatten |> fc
    output probabilities = softmax(logits) to client
    train {{ input label : int[batch] from client loss = cross_entropy(logits, label) optimizer = sgd(lr=0.1)
    limits = norms(signals=0.25) }}"""
    plan = mpc.compile(text=source).plan
    squares = {plan.registers[g.x].size for g in plan.procedure("train_step").gates if isinstance(g, SquareSum)}
    assert measured in squares and not squares & ({128 * 3 * 3, 128 * 6 * 6} - {measured})
