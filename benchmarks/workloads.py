"""What is measured: models as `.ppml` text, their inputs with fixed seeds, and what they mean in float64.

The peers get the same numbers (`secrets`) and are held to the same `reference`, so this file needs NumPy only: it is
imported in their environments too. Where the peers take one secret tensor that nobody owns, ours is the sum of two
roles' inputs: a value of one role alone would be computed by that role's own client, and nothing would be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["GATES", "LENET_BATCHES", "MODELS", "PEERS", "Workload", "make", "wrong"]

Array = np.ndarray
MILLION = 1_000_000
LENET_BATCHES = (1, 8, 32, 128, 512, 1024)
COMPARED_BITS = (8, 16, 24, 31)


@dataclass(frozen=True)
class Workload:
    """One row of a table.

    source: the model. inputs, params: by name, within the declared ranges. result: the output that is checked, against
    `reference` (None: the model's own float64 meaning). secrets: operands that a peer is given as shares, in the order
    of `operation`'s arguments; expected: its result, where that is not `reference`. elements: what a rate counts.
    """

    name: str
    what: str
    source: str
    inputs: Mapping[str, Array]
    result: str
    reference: Array | None
    params: Mapping[str, Array] = field(default_factory=dict)
    operation: str = ""
    secrets: Mapping[str, Array] = field(default_factory=dict)
    elements: int = 0
    expected: Array | None = None

    @property
    def peer_reference(self) -> Array:
        """What a peer's result is held to."""
        found = self.reference if self.expected is None else self.expected
        assert found is not None, f"{self.name} is not a workload for peers"
        return found


def wrong(found: Array, expected: Array) -> int:
    """How many elements are clearly wrong: off by more than 0.05 + 1 %."""
    return int((np.abs(found - expected) > 0.05 + 0.01 * np.abs(expected)).sum())


def make(name: str) -> Workload:
    """The workload of this name, such as `relu` or `lenet_b128`. Raises KeyError for another."""
    family, _, batch = name.rpartition("_b")
    if family and batch.isdigit():
        return _BATCHED[family](int(batch))
    return _SINGLE[name]()


def _random(tag: str) -> np.random.Generator:
    return np.random.default_rng(list(tag.encode()))


def _uniform(random: np.random.Generator, bound: float, shape: tuple[int, ...]) -> Array:
    """Multiples of 2^-16 in [-bound, bound]: exact in every peer's float32 too, so that errors are the protocols'."""
    return np.round(random.uniform(-bound, bound, shape) * 2**16) / 2**16


# -- gates ------------------------------------------------------------------------------------------------------------


def _two(name: str, shape: tuple[int, ...], bound: float, expression: str) -> tuple[str, Array, Array]:
    """A model of two roles' tensors of one shape, and their values."""
    random = _random(name)
    source = (
        f"model {name}\nrole alice, bob\n"
        f"input a : {list(shape)} from alice in [-{bound}, {bound}]\n"
        f"input b : {list(shape)} from bob   in [-{bound}, {bound}]\n"
        f"output c = {expression} to alice\n"
    )
    return source, _uniform(random, bound, shape), _uniform(random, bound, shape)


def _relu() -> Workload:
    source, a, b = _two("relu", (MILLION,), 4, "relu(a + b)")
    reference = np.maximum(a + b, 0)
    what = "ReLU of 10^6 values in [-8, 8]"
    return Workload("relu", what, source, {"a": a, "b": b}, "c", reference, {}, "relu", {"x": a + b}, MILLION)


def _relu_trunc() -> Workload:
    """What follows a linear layer. The peers' row is their ReLU alone, which is less work."""
    source, a, b = _two("relu_trunc", (MILLION,), 4, "relu((a + b) * 0.7)")
    plain = np.maximum(a + b, 0)
    return Workload(
        "relu_trunc",
        "ReLU of 10^6 values in [-8, 8], with a truncation",
        source,
        {"a": a, "b": b},
        "c",
        plain * 0.7,
        operation="relu",
        secrets={"x": a + b},
        elements=MILLION,
        expected=plain,
    )


def _mul() -> Workload:
    source, a, b = _two("mul", (MILLION,), 4, "a * b")
    what = "10^6 products, with truncation"
    values = {"a": a, "b": b}
    return Workload("mul", what, source, values, "c", a * b, {}, "mul", values, MILLION)


def _matmul(n: int) -> Workload:
    source, a, b = _two(f"matmul_b{n}", (n, n), 1, "a @ b")
    what = f"{n}^3 matrix product, both sides secret and fresh"
    values = {"a": a, "b": b}
    return Workload(f"matmul_b{n}", what, source, values, "c", a @ b, {}, "matmul", values, n**3)


def _less(bits: int) -> Workload:
    """a < b in whole numbers: the comparison is of a difference of `bits` bits, and nothing else."""
    random, bound = _random(f"less{bits}"), 1 << (bits - 1)
    source = (
        f"model less{bits}\nrole alice, bob\n"
        f"input a : int[{MILLION}] from alice in [0, {bound - 1}]\n"
        f"input b : int[{MILLION}] from bob   in [0, {bound - 1}]\n"
        "output c = a < b to alice\n"
    )
    a, b = random.integers(0, bound, (2, MILLION))
    what = f"10^6 comparisons, differences of {bits} bits"
    return Workload(f"less_b{bits}", what, source, {"a": a, "b": b}, "c", (a < b) * 1.0, elements=MILLION)


def _softmax() -> Workload:
    source, a, b = _two("softmax", (1000, 10), 2, "softmax(a + b)")
    powers = np.exp(a + b)
    reference = powers / powers.sum(axis=-1, keepdims=True)
    what = "softmax of 1000 rows of 10, values in [-4, 4]"
    return Workload("softmax", what, source, {"a": a, "b": b}, "c", reference, {}, "softmax", {"x": a + b}, 10_000)


def _maxpool() -> Workload:
    source, a, b = _two("maxpool", (128, 16, 24, 24), 2, "maxpool2d(a + b, 2)")
    what = "max-pooling 2x2 of (128, 16, 24, 24), values in [-4, 4]"
    x = a + b
    return Workload("maxpool", what, source, {"a": a, "b": b}, "c", _pool(x), {}, "maxpool", {"x": x}, x.size)


# -- models -----------------------------------------------------------------------------------------------------------

LENET = """model lenet
role client, modeller
dim batch = {batch}
input image : [batch, 1, 28, 28] from client in [0, 1]
layer conv1 = conv2d(16, kernel=5)
layer conv2 = conv2d(16, kernel=5)
layer fc1   = dense(100)
layer fc2   = dense(10)
weights from modeller in [-0.5, 0.5]
features = image |> conv1 |> relu |> maxpool2d(2)
                 |> conv2 |> relu |> maxpool2d(2)
output logits = features |> flatten |> fc1 |> relu |> fc2 to client
"""

LOGISTIC = """model logistic
role bank, bureau
dim batch = {batch}
input x : [batch, 100] from bank   in [-1, 1]
param w : [100, 1]     from bureau in [-0.5, 0.5]
param b : [1]          from bureau in [-0.5, 0.5]
output score = sigmoid(x @ w + b) to bank
"""

FOREST = """model forest
role client, modeller
dim batch = {batch}
input x : [batch, 30] from client in [-8, 8]
layer trees = forest(100, depth=6)
weights from modeller in [-8, 8]
output score = x |> trees to client
"""


def _lenet(batch: int) -> Workload:
    random = _random("lenet")
    fan_in = {"conv1": (16, 1, 5, 5), "conv2": (16, 16, 5, 5), "fc1": (100, 256), "fc2": (10, 100)}
    params = {}
    for layer, shape in fan_in.items():
        bound = float(np.prod(shape[1:])) ** -0.5
        params[f"{layer}.weight"] = _uniform(random, bound, shape)
        params[f"{layer}.bias"] = _uniform(random, bound, shape[:1])
    x = np.abs(_uniform(_random(f"lenet{batch}"), 1, (batch, 1, 28, 28)))
    secrets = {"x": x} | {name: p.T if name.startswith("fc") else p for name, p in params.items()}
    return Workload(
        f"lenet_b{batch}",
        f"LeNet to its logits, batch {batch}, weights in [-0.5, 0.5]",
        LENET.format(batch=batch),
        {"image": x},
        "logits",
        _lenet_reference(x, params),
        params,
        "lenet",
        secrets,
        batch,
    )


def _lenet_reference(x: Array, p: Mapping[str, Array]) -> Array:
    for layer in ("conv1", "conv2"):
        x = _pool(np.maximum(_conv(x, p[f"{layer}.weight"]) + p[f"{layer}.bias"][:, None, None], 0))
    x = x.reshape(len(x), -1)
    x = np.maximum(x @ p["fc1.weight"].T + p["fc1.bias"], 0)
    return x @ p["fc2.weight"].T + p["fc2.bias"]


def _logistic(batch: int) -> Workload:
    random = _random("logistic")
    w, b = _uniform(random, 0.5, (100, 1)), _uniform(random, 0.5, (1,))
    x = _uniform(_random(f"logistic{batch}"), 1, (batch, 100))
    reference = 1 / (1 + np.exp(-(x @ w + b)))
    what = f"logistic regression, 100 features, batch {batch}"
    source, params = LOGISTIC.format(batch=batch), {"w": w, "b": b}
    secrets = {"x": x, "w": w, "b": b}
    return Workload(
        f"logistic_b{batch}", what, source, {"x": x}, "score", reference, params, "logistic", secrets, batch
    )


def _forest(batch: int) -> Workload:
    """Every tree is full, so that no comparison is spared."""
    random, (trees, depth, features) = _random("forest"), (100, 6, 30)
    nodes = (1 << depth) - 1
    params = {
        "trees.feature": random.integers(0, features, (trees, nodes)),
        "trees.threshold": _uniform(random, 4, (trees, nodes)),
        "trees.leaf": _uniform(random, 1, (trees, nodes + 1, 1)),
    }
    x = _uniform(_random(f"forest{batch}"), 4, (batch, features))
    return Workload(
        f"forest_b{batch}",
        f"a forest of 100 trees of depth 6 on 30 features, batch {batch}",
        FOREST.format(batch=batch),
        {"x": x},
        "score",
        _forest_reference(x, params, depth),
        params,
        elements=batch,
    )


def _forest_reference(x: Array, p: Mapping[str, Array], depth: int) -> Array:
    left = x[:, p["trees.feature"]] <= p["trees.threshold"]
    rows, trees = np.arange(len(x))[:, None], np.arange(left.shape[1])
    node = np.zeros(left.shape[:2], np.int64)
    for _ in range(depth):
        node = 2 * node + 2 - left[rows, trees, node]
    scores: Array = p["trees.leaf"][trees, node - ((1 << depth) - 1)].sum(axis=1)
    return scores


def _conv(x: Array, w: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w, optimize=True)


def _pool(x: Array) -> Array:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


_SINGLE: dict[str, Callable[[], Workload]] = {
    "relu": _relu,
    "relu_trunc": _relu_trunc,
    "mul": _mul,
    "softmax": _softmax,
    "maxpool": _maxpool,
}
_BATCHED: dict[str, Callable[[int], Workload]] = {
    "matmul": _matmul,
    "less": _less,
    "lenet": _lenet,
    "logistic": _logistic,
    "forest": _forest,
}

GATES = ("relu", "relu_trunc", "mul", "matmul_b1024", *(f"less_b{bits}" for bits in COMPARED_BITS))
MODELS = (*(f"lenet_b{n}" for n in LENET_BATCHES), "logistic_b1", "logistic_b1000", "softmax", "maxpool",
          "forest_b1", "forest_b1000")  # fmt: skip
PEERS = (
    "relu_trunc",
    "relu",
    "matmul_b1024",
    "mul",
    "lenet_b1",
    "lenet_b128",
    "logistic_b1",
    "logistic_b1000",
    "softmax",
    "maxpool",
)
"""What the peers can be asked to do as well."""
