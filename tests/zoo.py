"""Small models of everything that is computed, and data that keeps their contracts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mpc_runtime.plan import Plan, Tensor

MODELS = Path(__file__).parent / "models"
HEAD = "model zoo\nrole a, b\n"
FIXED = HEAD + "input x : [5, 7] from a in [-4, 4]\ninput z : [5, 7] from b in [-4, 4]\n"
WHOLE = HEAD + "input x : int[4, 5] from a in [-1000, 1000]\ninput z : int[4, 5] from b in [-1000, 1000]\n"
SCALAR = (
    HEAD
    + "input x : [] from a in [-4, 4]\ninput z : [] from b in [-4, 4]\n"
    + "param p : [] from a in [-4, 4]\nparam q : [] from b in [-4, 4]\ns = x * q\n"
)
MIXED = (
    HEAD
    + "input x : [4, 5] from a in [-4, 4]\ninput t : [4, 5] from b public in [-4, 4]\n"
    + "input g : bit[4, 5] from b\ninput h : bit[4, 5] from a\nu = x * 1\nv = t * 1\nw = g and h\n"
)
IMAGE = HEAD + "input i : [2, 4, 9, 8] from a in [-2, 2]\ninput j : [2, 4, 9, 8] from b in [-1, 1]\nx = i * j\n"

EXPRESSIONS = {
    FIXED: (
        "x * z", "x + z", "x - 2 * z", "-(x + z)", "relu(x + z)", "relu(x * z)", "relu6(x * z)", "leaky_relu(x + z)",
        "maximum(x, z)", "minimum(x, z)", "abs(x + z)", "clip(x + z, -1, 2)", "clip(x * z, -20, 2)", "sign(x + z)",
        "sigmoid(x + z)", "sigmoid(x * z)", "tanh(x + z)", "exp(-abs(x * z))", "softmax(x + z)",
        "softmax(x * z, axis=0)", "x * z * 0.001", "(x + z) / 3", "mean(x * z)", "mean(x + z, axis=0)",
        "sum(x * z, axis=1)", "max(x + z, axis=1)", "min(x + z)", "argmax(x + z, axis=1)", "where(x > z, x, z)",
        "where(x > z, 1.5, -2)", "square(x + z)", "x >= z", "x < z", "x == z",
        "(x > z) and (x + z > 0.5) or not (z < 0)", "x / (z + 5)", "reciprocal(z + x + 9)", "x / (z + x + 8.5)",
        "1 / (x - 5 - abs(z))", "(x + z)[1:3, ::-2]", "transpose(x + z)", "concat(x, z, axis=1)", "stack(x, x + z)",
        "pad(x + z, [[1, 0], [0, 2]], value=1)", "reshape(x * z, [7, 5])", "(x + z) @ transpose(x - z)",
        "(x + z) @ [[1], [2], [0.5], [0], [-1], [3], [0.1]]", "x + x * z + 1", "dropout(x + z, 0.5)",
        "broadcast_to((x + z)[0], [3, 7])", "sqrt(x + z + 8)", "rsqrt(x * z + 17)", "log(abs(x * z) + 0.5)",
        "(x + z + 9) ** 0.5", "softplus(x * z)", "gelu(x + z)", "silu(x * z)", "erf(x + z)", "elu(x + z)",
        "elu(x * z, alpha=1.7)", "mish(x * z)", "selu(x + z)", "celu(x * z, alpha=1.7)", "(x + z + 9) ** 2.5",
        "(x * z + 17) ** -1.3", "(x + 5 + z / 8) ** (z / 8)", "1.5 ** (x + z)",
        "log_softmax(x + z)", "log_softmax(x * z, axis=0)", "hardswish(x + z)",
        "hardsigmoid(x * z)", "var(x + z)", "var(x * z, axis=1)", "any(x > z)", "all(x + z > -6, axis=0)",
        "argmin(x + z, axis=1)", "maxpool1d(stack(x, x * z), 3, stride=2)", "avgpool1d(stack(x, x * z), 2)",
        "clip_norm(x + z, 2)", "clip_norm(x * z, 1.5, axis=0)", "sort(x + z)", "argtopk(x * z, 3)", "cumsum(x * z)",
        "maximum(x + z, z, 0.5, x)", "softmax(x + z, causal=true)", "prelu(x + z, z)",
        'einsum(x, z, equation="ij,kj->ik")', "floor(x + z)",
        "round(x + z)", "ceil(x - z)",
    ),
    WHOLE: (
        "x + z", "x * z", "relu(x + z)", "x * 0.5 + z", "mean(x * z)", "max(x + z, axis=1)", "argmax(x + z, axis=0)",
        "x @ transpose(z)", "abs(x * z)", "clip(x + z, -5, 5)", "sign(x - z)", "x == z", "minimum(x, z)", "sum(x * z)",
        "where(x > z, 1, 0)", "x + z > 3", "maximum(x + z, 0)", "argmin(x + z)", "one_hot(x + z, 3)", "var(x + z)",
        "one_hot(argmax(x + z, axis=1), 70)", "gather(x + z, argmax(x - z, axis=1), axis=1)",
        "gather(x, [0, -1, 2], axis=1)", "topk(x + z, 2)", "argsort(x - z, axis=0)", "cumsum(x - z, axis=0)",
        "floor(x + z)",
    ),
    SCALAR: (
        "x + z", "x * z", "relu(x * z)", "sigmoid(x + z)", "x > z", "where(x > z, x, z)", "x * z * 0.3", "x / (z + 6)",
        "p * z + q * x", "relu(p * q + x)",
    ),
    MIXED: (
        "x * t", "x @ transpose(t)", "relu(x + t)", "x + t * 2", "g and h", "g or not h", "where(g, x, t)", "g + h",
        "sum(g * x)", "(x > t) and g", "transpose(w)", "where(t > 1, x, 0)", "concat(x, t, axis=0)",
    ),
    IMAGE: (
        "maxpool2d(x, 2)", "maxpool2d(x, 3, stride=2, padding=1)", "avgpool2d(x, 2)",
        "avgpool2d(x, 3, stride=2, padding=1)", "global_avgpool2d(x)", "max(x)", "mean(x, axis=[2, 3])",
        "x[0, :, ::2]", "argmax(x, axis=3)", "flatten(x)",
        "avgpool2d(x, 3, stride=2, padding=1, count_include_pad=false)", "resize2d(x, [18, 16])",
        'resize2d(x, [5, 12], mode="bilinear")', 'pad(x, [[0, 0], [0, 0], [1, 2], [2, 0]], mode="reflect")',
        "adaptive_avgpool2d(x, [3, 4])", 'pad(x, [[0, 0], [1, 0], [0, 2], [0, 1]], mode="edge")',
    ),
}  # fmt: skip


def sources() -> list[tuple[str, str]]:
    """(name, text) of every expression and of every file of tests/models."""
    found = [(e, f"{head}output y = {e} to a, b\n") for head, all_ in EXPRESSIONS.items() for e in all_]
    return found + [(path.stem, path.read_text(encoding="utf-8")) for path in sorted(MODELS.glob("*.ppml"))]


def leading_size(text: str) -> str:
    """The first size of the first input, a number or a dim; "" for a scalar."""
    found = re.search(r"^input\s+\w+\s*: (?:int|bit)?\[(\w*)", text, re.MULTILINE)
    return found.group(1) if found else ""


def at_batch(text: str, n: int) -> str:
    """The model with n for its leading size, in all inputs that have it."""
    size = leading_size(text)
    which = rf"^(input\b.*?\[){size}\b" if size.isdigit() else rf"^(dim\s+{size}\s*=\s*)\d+"
    return re.sub(which, rf"\g<1>{n}", text, flags=re.MULTILINE)


def data(plan: Plan, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(inputs, params) with the ends of the ranges among them; array roles stacked."""
    random = np.random.default_rng(seed)
    return _values(plan.inputs, random), _values(plan.params, random)


def _values(tensors: tuple[Tensor, ...], random: np.random.Generator) -> dict[str, np.ndarray]:
    members: dict[str, list[np.ndarray]] = {}
    for t in tensors:
        members.setdefault(t.name, []).append(_value(t, random))
    stacked = {t.name for t in tensors if t.stacked}
    return {name: np.stack(found) if name in stacked else found[0] for name, found in members.items()}


def _value(t: Tensor, random: np.random.Generator) -> np.ndarray:
    lo, hi = max(t.lo, -8.0), min(t.hi, 8.0)
    if t.name.endswith("running_var"):
        lo, hi = 0.8, 1.0
    elif t.hi > 1e6:
        lo, hi = -0.3, 0.3
    if t.kind == "bit":
        return random.integers(0, 2, t.shape)
    if t.kind == "int":
        return random.integers(int(t.lo) if t.lo > -1e6 else -100, int(t.hi) + 1 if t.hi < 1e6 else 100, t.shape)
    value = random.uniform(lo, hi, t.shape)
    if value.size >= 2:
        value.reshape(-1)[:2] = lo, hi
    return value
