"""Private training: no row adds more than its bound to what is learnt, the noise in it is as wide as is said, and what
is learnt without it follows the plain definition: each row's gradient by itself, clipped, and added up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.reading.reference import evaluate_values, provided
from compiler.training.modes import inside
from compiler.training.pace import rate_at
from compiler.training.twin import Twin
from mpc_runtime.gates import Add, Gate, GradientNoise
from mpc_runtime.plan import Plan
from mpc_runtime.privacy.accountant import capacity
from mpc_runtime.privacy.noise import hides_nothing
from mpc_runtime.procedure import DRAWN, TRAIN_STEP
from mpc_runtime.program import Program
from mpc_runtime.roles.coins import coins
from tests.loaded import loaded
from tests.mpc_runtime.privacy.chi import excess, gaussian
from tests.trained import LOGISTIC, Simulated

Array = np.ndarray
pytestmark = pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")

NETWORK = """model network
role client, modeller
dim batch = 4
input image : [batch, 2, 6, 6] from client in [0, 1]
layer conv = conv2d(4, kernel=3, stride=2, padding=1, groups=2)
layer wide = conv2d(3, kernel=2, dilation=2)
layer fc1 = dense(5)
layer fc2 = dense(3, bias=false)
weights from modeller in [-2, 2]
param shift : [3] from modeller in [-1, 1]
found = image |> conv |> relu |> wide |> flatten |> fc1 |> tanh |> fc2
logits = found + shift
output chances = softmax(logits) to client
train {
    input label : int[batch] from client
    loss = cross_entropy(logits, label)
    optimizer = OPTIMIZER
    privacy = dp(clip=CLIP, noise=NOISE, delta=1e-5)
    limits = norms(activations=32, signals=4)
    output weights to modeller
}
"""
LITTLE = "0.000001"
"""Noise that nobody sees, which is refused outside these tests (`hides_nothing`)."""

DIAGONAL = LOGISTIC.replace("    output loss to shop\n", "    privacy = dp(clip=0.5, noise=1.1, delta=1e-5)\n")


ASKS = ("compiler.lowering.private.hides_nothing", "mpc_runtime.analysis.releases.hides_nothing")


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for asks in ASKS:
        monkeypatch.setattr(asks, lambda delta, multiplier: False)


def network_text(optimizer: str, clip: float = 0.25) -> str:
    return NETWORK.replace("OPTIMIZER", optimizer).replace("CLIP", str(clip)).replace("NOISE", LITTLE)


def network(optimizer: str = "sgd(lr=0.3)", clip: float = 0.25) -> Program:
    return mpc.compile(text=network_text(optimizer, clip))


def rows(seed: int, count: int = capacity(4)) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
    return {"image": rng.uniform(0, 1, (count, 2, 6, 6)) * (1 + label[:, None, None, None]) / 3, "label": label}


def twin_of(program: Program, weights: dict[str, Array]) -> Twin:
    training = program.stages.lowered.training
    assert training is not None
    return Twin(training.loss, training.optimizer, weights, training.frozen, training.privacy)


def one_by_one(program: Program, weights: dict[str, Array], data: dict[str, Array], clip: float) -> list[list[Array]]:
    """The clipped gradients of each row: of the mean over a batch that has the row alone, over and over."""
    training = program.stages.lowered.training
    assert training is not None
    plain = Twin(training.loss, training.optimizer, weights)
    found = []
    for row in range(capacity(4)):
        batch = {name: np.repeat(array[row : row + 1], capacity(4), axis=0) for name, array in data.items()}
        alone = evaluate_values(plain.gradients, lambda op, batch=batch: provided(op, batch, weights))
        norm = math.sqrt(sum(float((each**2).sum()) for each in alone))
        found.append([each * min(1.0, clip / norm) for each in alone])
    return found


def test_the_sums_are_those_of_each_row_by_itself() -> None:
    program = network()
    weights, data = program.initial_weights(3), rows(1)
    counts = np.arange(capacity(4)) % 3 == 0
    each = one_by_one(program, weights, data, 0.25)
    expected = [sum(own[i] for own, used in zip(each, counts, strict=True) if used) / 4 for i in range(len(each[0]))]
    given = {**data, DRAWN: counts}
    found = evaluate_values(twin_of(program, weights).gradients, lambda op: provided(op, given, weights))
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-12)
    assert max(np.abs(one).max() for one in found) > 0.01


@pytest.mark.parametrize("optimizer", ["sgd(lr=1)", "sgd(lr=0.9 ** step, momentum=0.5, weight_decay=0.02)"])
def test_without_its_noise_training_follows_float64(optimizer: str) -> None:
    program = network(optimizer)
    weights = program.initial_weights(3)
    private, clear = Simulated(program.plan, weights), twin_of(program, weights)
    for step in range(4):
        data = {**rows(step), DRAWN: np.random.default_rng(step).uniform(size=capacity(4)) < 0.25}
        private.train(**data)
        clear.train(data, 1 if "momentum" not in optimizer else 0.9**step)
    trained = private.finish()
    for name, array in trained.items():
        assert np.abs(array - clear.params[name]).max() < 3e-4
    assert max(np.abs(clear.params[name] - weights[name]).max() for name in trained) > 0.05


def test_what_dropout_leaves_is_clipped() -> None:
    program = mpc.compile(text=network_text("sgd(lr=1)").replace("|> tanh |>", "|> tanh |> dropout(0.25) |>"))
    training = inside(program.stages.lowered).training
    weights = program.initial_weights(3)
    private = Simulated(program.plan, weights)
    clear = Twin(training.loss, training.optimizer, weights, training.frozen, training.privacy)
    for step in range(3):
        given = {**rows(step), DRAWN: np.arange(capacity(4)) % 4 == 0}
        given |= coins(program.plan, ["client"], 7, step)
        private.train(**given)
        clear.train(given, 1)
    for name, array in private.finish().items():
        assert np.abs(array - clear.params[name]).max() < 3e-4


class Steps:
    """Steps of a plan, and what is in its gradients before and behind their noise, in steps of what is held."""

    def __init__(self, program: Program, weights: dict[str, Array]) -> None:
        self.private = Simulated(program.plan, weights)
        self.gates = [g for g in self.private.plan.procedure(TRAIN_STEP).gates if isinstance(g, GradientNoise)]

    def sums(self) -> list[Array]:
        return [self._steps(gate.x) for gate in self.gates]

    def noise(self) -> list[Array]:
        return [self._steps(gate.y) - self._steps(gate.x) for gate in self.gates]

    def scale(self, gate: GradientNoise) -> int:
        return int(self.private.plan.registers[gate.x].scale)

    def _steps(self, register: int) -> Array:
        bits = np.uint64(64 - self.private.plan.registers[register].bits)
        found: Array = (self.private.values[register] << bits).view(np.int64) >> bits.astype(np.int64)
        return found


@pytest.mark.parametrize(("clip", "size"), [(0.25, 1.0), (0.02, 1.9), (8.0, 0.5)])
def test_no_row_adds_more_than_what_noise_hides(clip: float, size: float) -> None:
    program = network("sgd(lr=0.00001)", clip)
    weights = {name: np.clip(size * array, -2, 2) for name, array in program.initial_weights(3).items()}
    steps, data, privacy = Steps(program, weights), rows(2), program.plan.privacy
    assert privacy is not None and privacy.batch == 4 and privacy.rounding < 0.001 * clip * privacy.unit
    exact = [math.sqrt(sum((each**2).sum() for each in own)) for own in one_by_one(program, weights, data, clip)]
    for row in range(capacity(4)):
        steps.private.train(**data, **{DRAWN: np.arange(capacity(4)) == row})
        parts = zip(steps.sums(), steps.gates, strict=True)
        assert all(steps.private.checks.values())
        norm = math.sqrt(sum(((array * 2.0 ** -steps.scale(gate)) ** 2).sum() for array, gate in parts))
        assert norm <= privacy.unit * clip + privacy.rounding
        assert norm / privacy.unit == pytest.approx(exact[row], rel=0.02), "and it is clipped no more than that"
    assert max(exact) == pytest.approx(clip, rel=1e-9) if clip < 1 else max(exact) < clip


WIDE = """model wide
role client, modeller
dim batch = 4
input x : [batch, 60] from client in [-1, 1]
layer fc = dense(5)
weights from modeller in [-1, 1]
train {
    input y : [batch, 5] from client in [-1, 1]
    loss = mse(fc(x), y)
    optimizer = sgd(lr=LR)
    privacy = dp(clip=0.5, noise=NOISE, delta=1e-5)
    output weights to modeller
}
"""
NOBODY = {"x": np.ones((capacity(4), 60)), "y": np.ones((capacity(4), 5)), DRAWN: np.zeros(capacity(4), bool)}
NOWHERE = {"fc.weight": np.zeros((5, 60)), "fc.bias": np.zeros(5)}


def test_the_noise_is_discrete_and_as_wide_as_is_said() -> None:
    """Without any rows, all that is learnt is noise."""
    program = mpc.compile(text=WIDE.replace("LR", "0.00001").replace("NOISE", "0.0000000001"))
    privacy = program.plan.privacy
    assert privacy is not None
    steps, drawn = Steps(program, NOWHERE), []
    for _ in range(30):
        steps.private.train(**NOBODY)
        assert not any(array.any() for array in steps.sums())
        drawn.append(steps.noise())
    for place, gate in enumerate(steps.gates):
        deviation = gate.numerator / gate.denominator
        assert deviation * 2.0 ** -steps.scale(gate) == pytest.approx(privacy.noise * privacy.sensitivity, rel=1e-6)
        numbers = np.concatenate([each[place].reshape(-1) for each in drawn])
        most = math.ceil(12 * deviation)
        squares = float(((numbers / deviation) ** 2).sum())
        assert abs(squares - numbers.size) < 5 * math.sqrt(2 * numbers.size)
        if numbers.size > 1000:
            assert abs(excess(numbers, gaussian(deviation), most, max(1, most // 40))) < 6


def test_released_weights_have_the_noise_of_their_steps() -> None:
    program = mpc.compile(text=WIDE.replace("LR", "0.5").replace("NOISE", "1.1"))
    private, moved, before = Simulated(program.plan, NOWHERE), [], np.zeros(305)
    for _ in range(20):
        private.train(**NOBODY)
        released = private.finish()
        now = np.append(released["fc.weight"], released["fc.bias"])
        moved.append(now - before)
        before = now
    assert np.array_equal(before * 2.0**16, np.rint(before * 2.0**16))
    found = np.concatenate(moved) / (0.5 / 4 * 1.1 * 0.5)
    assert abs((found**2).sum() - found.size) < 5 * math.sqrt(2 * found.size)


def test_a_step_is_not_made_of_what_noise_is_too_narrow_for() -> None:
    """A plan is believed in nothing: narrower noise, or none, is refused."""
    plan = mpc.compile(text=DIAGONAL).plan
    with pytest.raises(mpc.CompileError, match="too narrow for what is declared of training"):
        loaded(changed(plan, lambda gate: replace(gate, numerator=gate.numerator - gate.numerator // 1000)))
    with pytest.raises(mpc.CompileError, match="depends on rows of training without noise"):
        loaded(changed(plan, lambda gate: Add(x=gate.x, y=gate.x, negative=True, z=gate.y)))
    for wrong, match in (
        ({"most": 41}, "shape or range is not that of the tensor"),
        ({"batch": 15}, "batches of another size"),
        ({"delta": 0.0}, "a delta of 0 to 1"),
        ({"clip": 0.6}, "too narrow"),
        ({"noise": math.inf}, "a noise above 0"),
    ):
        assert plan.privacy is not None
        with pytest.raises(mpc.CompileError, match=match):
            loaded(replace(plan, privacy=replace(plan.privacy, **wrong)))
    with pytest.raises(mpc.CompileError, match="shape or range is not that of the tensor"):
        loaded(replace(plan, privacy=None))


def test_noise_that_hides_nothing_is_refused_at_its_place_and_when_a_plan_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = mpc.compile(text=DIAGONAL.replace("noise=1.1", "noise=0.1")).plan
    for asks in ASKS:
        monkeypatch.setattr(asks, hides_nothing)
    with pytest.raises(
        mpc.CompileError, match=r"the noise of training, 0\.1 times as wide as what it hides, hides nothing"
    ):
        loaded(replace(plan, name="another"))
    message = r"noise of 0\.1 hides nothing: one step costs epsilon 96 at delta 1e-05, and at most 64 is privacy"
    with pytest.raises(mpc.CompileError, match=message) as caught:
        mpc.compile(text=DIAGONAL.replace("noise=1.1", "noise=0.1"))
    assert [(each.line, each.column) for each in caught.value.diagnostics] == [(14, 34)]
    mpc.compile(text=DIAGONAL.replace("noise=1.1", "noise=0.15"))


def changed(plan: Plan, rule: Callable[[GradientNoise], Gate]) -> Plan:
    """With other gates in the place of noise."""
    procedures = []
    for procedure in plan.procedures:
        gates = [rule(op.gate) if isinstance(op.gate, GradientNoise) else op.gate for op in procedure.ops]
        ops = tuple(replace(op, gate=gate) for op, gate in zip(procedure.ops, gates, strict=True))
        procedures.append(replace(procedure, ops=ops))
    return replace(plan, procedures=tuple(procedures))


# -- what is refused ---------------------------------------------------------------------------------------------------

HEAD = """model m
role client, modeller
dim batch = 4
input x : [batch, 3] from client in [-1, 1]
"""
BLOCK = """train {
    input y : [batch, 2] from client in [-1, 1]
    loss = mse(z, y)
    optimizer = sgd(lr=0.1)
    privacy = dp(clip=1.0, noise=1.1, delta=1e-5)
}
"""
DENSE = "layer fc = dense(2)\nweights from modeller in [-1, 1]\nz = fc(x)\n"


@pytest.mark.parametrize(
    ("body", "old", "new", "line", "message"),
    [
        (DENSE, "    loss", "    output told = mean(z) to client\n    loss", 10, "`told` of every step has no noise"),
        (DENSE, "    loss", "    metric loss to client\n    loss", 10, "`metric loss` has no noise"),
        (DENSE, "mse(z, y)", "mse(z, y) + 0.01 * sum(fc.weight ** 2)", 10, "a loss that is a mean over the rows"),
        (DENSE, "mse(z, y)", "sum((z - y) ** 2)", 10, "a loss that is a mean over the rows"),
        (DENSE, "mse(z, y)", "mse(z - mean(z, axis=0), y)", 7, "not a sum over the rows of the batch"),
        ("input y : [2] from client in [-1, 1]\n" + DENSE.replace("fc(x)", "fc(x) - y"),
         "    input y : [batch, 2] from client in [-1, 1]\n    loss = mse(z, y)", "    loss = mean(z ** 2)",
         5, "`y` has no axis `batch`"),
        (DENSE.replace("z = fc(x)", "z = fc(x[:, 0:3] + fc(x)[:, 0:1])"), "", "", 7, "used more than once"),
        ("layer n = layernorm()\nlayer fc = dense(2)\nweights from modeller in [-1, 1]\nz = x |> n |> fc\n",
         "", "", 8, "`n.weight` is used in a way that gives examples no gradients"),
        ("layer fc = dense(2)\nlayer n = batchnorm()\nweights from modeller in [-1, 1]\nz = x |> fc |> n\n",
         "", "", 8, "`n.weight` is used in a way that gives examples no gradients"),
        ("param w : [3] from modeller in [-1, 1]\nz = (x * w)[:, 0:2]\n", "", "", 6, "no gradients"),
        ("layer fc = dense(2)\nweights from modeller in [-1, 1]\n"
         "z = reshape(fc(reshape(x, [batch, 3, 1])), [batch, 6])[:, 0:2]\n", "", "", 7, "no gradients"),
        (DENSE, "clip=1.0", "clip=0", 12, "`clip` expects a number above 0, at most 1024"),
        (DENSE, "delta=1e-5", "microbatches=4", 12, "`dp` has no argument `microbatches`"),
        (DENSE, "dp(clip=1.0, noise=1.1, delta=1e-5)", "3", 12, "the privacy of training is differential"),
    ],
)  # fmt: skip
def test_what_hides_nothing_is_refused_at_its_place(body: str, old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(mpc.CompileError, match=message) as caught:
        mpc.compile(text=HEAD + body + BLOCK.replace(old, new))
    assert [each.line for each in caught.value.diagnostics][:1] == [line]


def test_rows_need_a_batch_and_roles_of_their_own() -> None:
    text = HEAD.replace("dim batch = 4\n", "").replace("batch", "4") + DENSE + BLOCK.replace("batch", "4")
    with pytest.raises(mpc.CompileError, match="draws the rows of each step, and the model has no `dim batch`"):
        mpc.compile(text=text)
    text = HEAD.replace("role client", "role client[2]") + DENSE.replace("z = fc(x)", "z = fc(x[0] + x[1])") + BLOCK
    text = text.replace("input y : [batch, 2] from client", "input y : [batch, 2] from modeller")
    with pytest.raises(mpc.CompileError, match="`x` comes from an array role"):
        mpc.compile(text=text)


def test_a_budget_of_what_is_trained_on_asks_for_privacy() -> None:
    text = HEAD + DENSE + "budget x = dp(epsilon=3, delta=1e-5)\n" + BLOCK
    plan = loaded(mpc.compile(text=text).plan)
    assert plan.privacy is not None and plan.budgets[0].source == "x"
    with pytest.raises(mpc.CompileError, match="`x`, which has a budget, without `privacy`"):
        mpc.compile(text=text.replace("    privacy = dp(clip=1.0, noise=1.1, delta=1e-5)\n", ""))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lr=0.5", "lr=8 / batch"),
        ("lr=0.5", "lr=where(epoch < 1, 8 / batch, 0.1)"),
        ("momentum=0.75", "momentum=12 / batch, weight_decay=1.6 / batch"),
        ("clip=0.5", "clip=8 / batch"),
    ],
)
def test_what_is_computed_from_batch_is_of_the_batch_and_not_of_the_room(old: str, new: str) -> None:
    """`batch` is 16 and a step has room for 40 rows: before, the rate was 0.2 in the place of 0.5."""
    private = mpc.compile(text=DIAGONAL.replace(old, new)).stages.lowered.training
    public = mpc.compile(text=LOGISTIC.replace(old, new)).stages.lowered.training
    assert private is not None and public is not None and private.privacy is not None
    assert private.optimizer == public.optimizer and private.privacy.clip == 0.5
    assert private.loss.op == public.loss.op and private.inputs[0].shape == (40, 1)
    for epoch in (0, 1):
        assert rate_at(private.rate, private.clock, epoch, 0) == rate_at(public.rate, public.clock, epoch, 0)


def test_a_schedule_under_privacy_follows_float64() -> None:
    program = mpc.compile(text=network_text("sgd(lr=where(step < 2, 4 / batch, 1 / batch), weight_decay=0.08 / batch)"))
    weights = program.initial_weights(3)
    private, clear = Simulated(program.plan, weights), twin_of(program, weights)
    for step in range(4):
        batch = {**rows(step), DRAWN: np.arange(capacity(4)) % 4 == 0}
        clear.train(batch, 1.0 if step < 2 else 0.25)
        private.train(**batch)
    for name, array in private.finish().items():
        assert np.abs(array - clear.params[name]).max() < 2e-3


@pytest.mark.parametrize(
    ("old", "new", "line", "column"),
    [
        ("loss = binary", "loss = (batch / 16) * binary", 12, 12),
        ("concat(visits, debts, axis=1) |> fc", "concat(visits * (4 / batch), debts, axis=1) |> fc", 8, 16),
    ],
)
def test_a_loss_that_is_another_one_for_more_rows_is_refused_at_its_place(
    old: str, new: str, line: int, column: int
) -> None:
    with pytest.raises(mpc.CompileError, match=r"under `privacy` has 40 rows, .* computed otherwise") as caught:
        mpc.compile(text=DIAGONAL.replace(old, new))
    assert [(each.line, each.column) for each in caught.value.diagnostics] == [(line, column)]
