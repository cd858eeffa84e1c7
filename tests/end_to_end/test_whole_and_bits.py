"""Every function and operator of the registry on whole numbers and bits: the right answer, of the right kind, or a
refusal at its place.

The calls are made from the registry, so a new function is among them, or fails here until it says what it means. One
program has the calls of one sort of operands: secret ones of two owners, public ones, constants, and mixed with reals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.ops import FUNCTIONS, LAYERS, OPERATORS
from compiler.ops.signatures import MISSING, Takes
from tests.machines import run_plan

Array = np.ndarray
X = np.array([[3, -3, 1], [0, 2, -1]])
Y = np.array([[1, 2, -2], [3, -3, 1]])
REAL = np.array([[0.5, -2.0, 1.25], [3.0, 2.0, -0.75]])
INDEX = np.array([[1, 0], [1, 1]])
WITHIN = " in [-3, 3]"

IMAGE = "reshape(stack({0}, {1}), [1, 2, 2, 3])"
VALUES: dict[str, tuple[str, ...]] = {
    "matmul": ("{0}", "transpose({1})"), "@": ("{0}", "transpose({1})"), "gather": ("{0}", "i"), "one_hot": ("{0}",),
    "where": ("{0} > {1}", "{0}", "{1}"), "maxpool1d": ("stack({0}, {1})",), "avgpool1d": ("stack({0}, {1})",),
    "adaptive_avgpool1d": ("stack({0}, {1})",), "maxpool2d": (IMAGE,), "avgpool2d": (IMAGE,), "resize2d": (IMAGE,),
    "adaptive_avgpool2d": (IMAGE,), "global_avgpool2d": (IMAGE,), "squeeze": ("unsqueeze({0}, 1)",),
    "softmax": ("{0}",), "prelu": ("{0}", "{1}"), "pow": ("{0}",), "**": ("{0}", "3"),
}  # fmt: skip
"""The operands of those that do not take any number of tensors of one shape."""
OPTIONS = {
    "clip": "-1, 2", "reshape": "[3, 2]", "pad": "[[1, 0], [0, 1]]", "resize2d": "[4, 3]", "squeeze": "1",
    "unsqueeze": "0", "broadcast_to": "[2, 2, 3]", "maxpool1d": "2", "avgpool1d": "2", "maxpool2d": "2",
    "avgpool2d": "2", "adaptive_avgpool1d": "3", "adaptive_avgpool2d": "[1, 3]", "one_hot": "3", "topk": "2",
    "argtopk": "2", "clip_norm": "2.5", "dropout": "0.5", "einsum": 'equation="ij,kj,il->ikl"', "pow": "3",
}  # fmt: skip
"""What stands behind the operands where it has no default."""


def image(*values: Array) -> Array:
    return np.stack(values).reshape(1, 2, 2, 3)


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def windows(x: Array) -> Array:
    """Of two places along the last axis, one behind the other."""
    return np.stack([x[..., :-1:2], x[..., 1::2]])


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


erf = np.vectorize(math.erf, otypes=[np.float64])
order = np.argsort
Truth = Callable[..., Array]
SMOOTH: dict[str, Truth] = {
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x), "prelu": lambda x, y: np.where(x > 0, x, x * y * 1.0),
    "elu": elu, "celu": elu, "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)), "softplus": lambda x: np.logaddexp(x, 0), "sigmoid": sigmoid,
    "tanh": np.tanh, "softmax": softmax, "log_softmax": lambda x: np.log(softmax(x)),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6, "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "sqrt": lambda x: np.sqrt(x), "rsqrt": lambda x: 1 / np.sqrt(x), "reciprocal": lambda x: 1 / x, "exp": np.exp,
    "log": np.log, "erf": erf, "mean": np.mean, "var": np.var,
    "avgpool1d": lambda x, y: windows(np.stack([x, y])).mean(0),
    "avgpool2d": lambda x, y: image(x, y)[..., :2].mean(axis=(2, 3), keepdims=True), "/": lambda x, y: x / y,
    "adaptive_avgpool1d": lambda x, y: np.stack([x, y]) * 1.0,
    "adaptive_avgpool2d": lambda x, y: image(x, y).mean(axis=2, keepdims=True),
    "global_avgpool2d": lambda x, y: image(x, y).mean(axis=(2, 3), keepdims=True),
    "clip_norm": lambda x: x * np.minimum(1, 2.5 / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)),
}  # fmt: skip
"""What is always a real number."""
BITS: dict[str, Truth] = {
    "any": np.any, "all": np.all, "one_hot": lambda x: x[..., None] == np.arange(3), "<": np.less,
    "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
}  # fmt: skip
MOVES: dict[str, Truth] = {
    "where": lambda x, y: np.where(x > y, x, y), "transpose": np.transpose, "reshape": lambda x: x.reshape(3, 2),
    "flatten": lambda x: x, "concat": lambda *v: np.concatenate(v), "stack": lambda *v: np.stack(v),
    "pad": lambda x: np.pad(x, ((1, 0), (0, 1))), "squeeze": lambda x: x, "unsqueeze": lambda x: x[None],
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 2, 3)), "gather": lambda x: np.take(x, INDEX, axis=0),
    "dropout": lambda x: x, "resize2d": lambda x, y: image(x, y).repeat(2, axis=2),
}  # fmt: skip
"""What has the kind of its operands."""
NUMBERS: dict[str, Truth] = {
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6), "abs": np.abs, "sign": np.sign,
    "square": np.square, "minimum": lambda *v: np.minimum.reduce(v), "maximum": lambda *v: np.maximum.reduce(v),
    "clip": lambda x: np.clip(x, -1, 2), "matmul": lambda x, y: x @ y.T, "@": lambda x, y: x @ y.T,
    "einsum": lambda x, y, z: np.einsum("ij,kj,il->ikl", x, y, z), "sum": np.sum, "max": np.max, "min": np.min,
    "cumsum": lambda x: np.cumsum(x, axis=-1), "maxpool1d": lambda x, y: windows(np.stack([x, y])).max(0),
    "maxpool2d": lambda x, y: image(x, y)[..., :2].max(axis=(2, 3), keepdims=True), "sort": lambda x: np.sort(x),
    "topk": lambda x: -np.sort(-x)[:, :2], "pow": lambda x: x**3, "**": lambda x: x**3, "+": np.add,
    "-": np.subtract, "*": np.multiply, "neg": np.negative,
}  # fmt: skip
"""What is whole of whole operands; a bit is a number there."""
WHOLE: dict[str, Truth] = {
    "floor": np.floor, "ceil": np.ceil, "round": np.rint, "argmax": np.argmax, "argmin": np.argmin,
    "argsort": lambda x: order(x, kind="stable"), "argtopk": lambda x: order(-x, kind="stable")[:, :2],
}  # fmt: skip
"""What is whole of real operands, too."""
ALL = SMOOTH | BITS | MOVES | NUMBERS | WHOLE
OF_BITS, OF_WHOLE = {"any", "all", "and", "or", "not"}, {"one_hot"}
"""Those that refuse other kinds."""
SORTS = ("secret", "public", "constant")


@dataclass(frozen=True)
class Called:
    """A call's text, and its name."""

    name: str
    text: str

    def refused(self, kinds: list[str], known: list[Array] | None) -> bool:
        """Of another kind than it takes, or of constants that are outside its domain."""
        found = set(kinds[: used(self.name)])
        if self.name in OF_BITS:
            return found != {"bit"}
        if self.name in OF_WHOLE:
            return found != {"int"}
        with np.errstate(all="ignore"):
            return known is not None and not np.isfinite(ALL[self.name](*known[: used(self.name)])).all()


def test_every_function_and_operator_says_what_it_means() -> None:
    assert ALL.keys() == FUNCTIONS.keys() | OPERATORS.keys()
    assert sum(map(len, (SMOOTH, BITS, MOVES, NUMBERS, WHOLE))) == len(ALL)


def calls(names: tuple[str, ...]) -> Iterator[Called]:
    """A call of everything with operands of these names."""
    for name in (*FUNCTIONS, *OPERATORS):
        operands = [form.format(*names) for form in forms(name)]
        if name in FUNCTIONS:
            given = [OPTIONS[name]] if name in OPTIONS else []
            yield Called(name, f"{name}({', '.join([*operands, *given])})")
        else:
            sign = "-" if name == "neg" else name
            yield Called(name, f"{sign} {operands[0]}" if len(operands) == 1 else f" {sign} ".join(operands))


def forms(name: str) -> tuple[str, ...]:
    return VALUES.get(name) or tuple(f"{{{place}}}" for place in range(_count(name)))


def used(name: str) -> int:
    """How many of the operands a call has."""
    return sum(f"{{{place}}}" in "".join(forms(name)) for place in range(3))


def _count(name: str) -> int:
    """Of the tensors that a function takes: three where it takes any number."""
    if name in OPERATORS:
        return 1 if name in ("neg", "not") else 2
    parameters = FUNCTIONS[name].parameters
    needed = [each for each in parameters if each.takes not in (Takes.VALUE, Takes.VALUES) and each.default is MISSING]
    assert not needed or name in OPTIONS, f"say in OPTIONS what {name} is called with"
    return (
        3
        if any(each.takes is Takes.VALUES for each in parameters)
        else len([each for each in parameters if each.takes is Takes.VALUE])
    )


def declared(kind: str, sort: str) -> tuple[str, dict[str, str]]:
    """The statements that bind operands, and how these are called: `x` and `y` of the kind, `r` of real numbers."""
    given = {"x": X, "y": Y, "r": REAL}
    if sort == "constant":
        text = "".join(f"const c{name} = {of_kind(array, kind).tolist()}\n" for name, array in given.items())
        compared = {name: f"(c{name} > 0)" if kind == "bit" and name != "r" else f"c{name}" for name in given}
        return f"{text}const i = {INDEX.tolist()}\n", compared
    public = " public" * (sort == "public")
    text = f"input i : int[2, 2] from b{public} in [0, 1]\n"
    for name, type_, limits in (("x", kind, WITHIN), ("y", kind, WITHIN), ("r", "fixed", " in [-3, 3]")):
        text += f"input {name}a : {type_}[2, 3] from a{public}{limits if type_ != 'bit' else ''}\n"
        text += f"input {name}z : {type_}[2, 3] from b{public}{' in [0, 0]' if type_ != 'bit' else ''}\n"
    joined = "({0}a != {0}z)" if kind == "bit" else "({0}a + {0}z)"
    return text, {name: (joined if name != "r" else "({0}a + {0}z)").format(name) for name in given}


def of_kind(array: Array, kind: str) -> Array:
    return (array > 0).astype(np.int64) if kind == "bit" and array.dtype.kind == "i" else array


def judge(kind: str, sort: str, operands: str) -> None:
    """Compiled together: what is refused is so at its line, and what is not is right."""
    text, names = declared(kind, sort)
    arrays = {"x": of_kind(X, kind), "y": of_kind(Y, kind), "r": REAL}
    values = [arrays[each] for each in operands]
    made = [
        each for each in calls(tuple(names[each] for each in operands)) if "r" not in operands or _count(each.name) > 1
    ]
    kinds = ["fixed" if each == "r" else kind for each in operands]
    lines = {f"y{place}": each for place, each in enumerate(made)}
    known = values if sort == "constant" else None
    left = {name: each for name, each in lines.items() if not each.refused(kinds, known)}
    head = f"model sweep\nrole a, b\n{text}"
    source = head + "".join(f"output {name} = {each.text} to a\n" for name, each in lines.items())
    if len(left) < len(lines):
        with pytest.raises(mpc.CompileError) as caught:
            mpc.compile(text=source)
        errors = [each for each in caught.value.diagnostics if each.severity == "error"]
        refused = {source.splitlines()[each.line - 1].split()[1] for each in errors}
        assert refused == lines.keys() - left.keys(), str(caught.value)
    program = mpc.compile(text=head + "".join(f"output {name} = {each.text} to a\n" for name, each in left.items()))
    inputs = {f"{name}{side}": array * (side == "a") for name, array in arrays.items() for side in "az"} | {"i": INDEX}
    given = {each.name: inputs[each.name] for each in program.plan.inputs}
    results = run_plan(program.plan, given).results
    with np.errstate(all="ignore"):
        for name, each in left.items():
            compare(each, results[name], kinds, values)


def compare(call: Called, found: Array, kinds: list[str], values: list[Array]) -> None:
    right = np.asarray(ALL[call.name](*values[: used(call.name)]))
    wanted = result_kind(call.name, kinds[: used(call.name)])
    assert found.dtype == {"fixed": np.float64, "int": np.int64, "bit": np.bool_}[wanted], (call, found.dtype)
    assert found.shape == right.shape, call
    if wanted != "fixed":
        assert np.array_equal(found, right), (call, found, right)
        return
    inside = np.isfinite(right)
    bound = 2.0**-12 * np.maximum(1, np.abs(right)) + 2.0**-15
    assert (np.abs(found - right) <= bound)[inside].all(), (call, found, right)


def result_kind(name: str, kinds: list[str]) -> str:
    if name in SMOOTH or name in BITS or name in WHOLE:
        return "fixed" if name in SMOOTH else "bit" if name in BITS else "int"
    if "fixed" in kinds:
        return "fixed"
    return "bit" if name in MOVES and set(kinds) == {"bit"} else "int"


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("kind", ["int", "bit"])
def test_whole_numbers_and_bits_everywhere(kind: str, sort: str) -> None:
    judge(kind, sort, "xyx")


@pytest.mark.parametrize("sort", ["secret", "constant"])
@pytest.mark.parametrize("operands", ["xrx", "rxr"])
@pytest.mark.parametrize("kind", ["int", "bit"])
def test_whole_numbers_and_bits_beside_real_ones(kind: str, operands: str, sort: str) -> None:
    judge(kind, sort, operands)


SEQUENCE, PICTURE = (2, 3, 4), (1, 2, 3, 4)
APPLIED: dict[str, tuple[str, tuple[int, ...]]] = {
    "dense": ("3", (2, 4)), "conv1d": ("2, 2", SEQUENCE), "conv2d": ("2, 2", PICTURE), "batchnorm": ("", PICTURE),
    "conv_transpose2d": ("2, 2", PICTURE), "prelu": ("2", PICTURE), "layernorm": ("", (2, 4)),
    "embedding": ("2, 3", (2, 4)), "attention": ("2", SEQUENCE), "lstm": ("2", SEQUENCE), "gru": ("2", SEQUENCE),
    "forest": ("2, 2", (2, 4)),
}  # fmt: skip
"""A layer's arguments, and the shape of what it is applied to."""


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_takes_whole_numbers_and_bits_as_the_numbers_that_they_are(name: str) -> None:
    """As it does real ones of the same size; an embedding takes no real ones."""
    given, shape = APPLIED[name]
    x = np.random.default_rng(1).integers(0, 2, shape)
    found = {}
    for kind in ("fixed", "int", "bit"):
        head = (
            f"model applied\nrole a, b\ninput x : {kind}{list(shape)} from a{' in [0, 1]' if kind != 'bit' else ''}\n"
        )
        text = f"{head}layer l = {name}({given})\nweights l from b in [-1, 1]\noutput y = l(x) to a\n"
        if name == "embedding" and kind == "fixed":
            with pytest.raises(mpc.CompileError, match="<text>:6:12: error: embedding expects an int value"):
                mpc.compile(text=text)
            continue
        program = mpc.compile(text=text)
        random = np.random.default_rng(2)
        weights = {each.name: random.uniform(0.1, 0.9, each.shape) for each in program.plan.params}
        weights |= {each.name: random.integers(0, 2, each.shape) for each in program.plan.params if each.kind == "int"}
        found[kind] = run_plan(program.plan, {"x": x}, weights).results["y"]
        assert found[kind] == pytest.approx(program.reference({"x": x}, weights)["y"], abs=2.0**-10)
    for each in found.values():
        assert each == pytest.approx(found["int"], abs=2.0**-10)
