"""Attention and recurrent layers are PyTorch's: its documented equations, one position after another."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.graph import Array, constant
from compiler.ops import LAYERS
from tests.compiler.lowered import errors, run

RANDOM = np.random.default_rng(11)
Weights = dict[str, Array]


def applied(name: str, config: dict[str, object], x: Array) -> tuple[Array, Weights]:
    """A layer with random weights on constants, and its weights by their keys."""
    layer = LAYERS[name]
    bound = layer.configure((), config)
    weights = {each.key: RANDOM.normal(size=each.shape) for each in layer.parameters_for(bound, x.shape)}
    found = layer.apply(bound, constant(x), {key: constant(array) for key, array in weights.items()})
    return found.array, weights


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm(x: Array, weights: Weights, suffix: str, h: Array, c: Array) -> tuple[Array, Array]:
    def part(kind: str, v: Array) -> Array:
        return v @ weights[f"weight_{kind}{suffix}"].T + weights.get(f"bias_{kind}{suffix}", 0)

    i, f, g, o = np.split(part("ih", x) + part("hh", h), 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x: Array, weights: Weights, suffix: str, h: Array, c: Array) -> tuple[Array, Array]:
    (xr, xz, xn), (hr, hz, hn) = (
        np.split(v @ weights[f"weight_{kind}{suffix}"].T + weights.get(f"bias_{kind}{suffix}", 0), 3, axis=1)
        for kind, v in (("ih", x), ("hh", h))
    )
    z = sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h, c


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("name", "step"), [("lstm", lstm), ("gru", gru)])
def test_a_recurrent_layer_takes_one_position_after_another(name, step, bidirectional: bool, bias: bool) -> None:
    x, size = RANDOM.normal(size=(2, 4, 3)), 5
    found, weights = applied(name, {"size": size, "layers": 2, "bias": bias, "bidirectional": bidirectional}, x)
    for level in range(2):
        sides = []
        for suffix, turn in ((f"_l{level}", 1), (f"_l{level}_reverse", -1))[: 1 + bidirectional]:
            h = c = np.zeros((2, size))
            rows = []
            for position in range(4)[::turn]:
                h, c = step(x[:, position], weights, suffix, h, c)
                rows.append(h)
            sides.append(np.stack(rows[::turn], axis=1))
        x = np.concatenate(sides, axis=2)
    assert found == pytest.approx(x)


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_lets_positions_look_at_each_other(heads: int, causal: bool) -> None:
    x = RANDOM.normal(size=(2, 4, 12))
    found, weights = applied("attention", {"heads": heads, "causal": causal}, x)
    depth, expected = 12 // heads, np.zeros((2, 4, 12))
    for n in range(2):
        q, k, v = np.split(x[n] @ weights["in_proj_weight"].T + weights["in_proj_bias"], 3, axis=1)
        for head in range(heads):
            own = slice(head * depth, (head + 1) * depth)
            for i in range(4):
                seen = range(i + 1) if causal else range(4)
                powers = np.exp([q[i, own] @ k[j, own] / np.sqrt(depth) for j in seen])
                expected[n, i, own] = sum(p * v[j, own] for p, j in zip(powers / powers.sum(), seen, strict=True))
    assert found == pytest.approx(expected @ weights["out_proj.weight"].T + weights["out_proj.bias"])


BODY = "input x : [1, 2, 4] from client layer l = attention(2) weights from modeller h = x |> l "


def test_a_parameter_of_two_names_is_a_value() -> None:
    weights = {f"l.{key}": np.zeros((12, 4) if "weight" in key else 12) for key in ("in_proj_weight", "in_proj_bias")}
    weights |= {"l.out_proj.weight": np.eye(4) * 2, "l.out_proj.bias": np.arange(4.0)}
    x = RANDOM.normal(size=(1, 2, 4))
    found = run(BODY + "output y = h @ l.out_proj.weight to client", {"x": x}, weights)["y"]
    assert found == pytest.approx(np.broadcast_to(np.arange(4.0) * 2, (1, 2, 4)))


@pytest.mark.parametrize(
    ("expression", "message"),
    [("l.out_proj", "`out_proj` is several parameters, not a value"),
     ("l.out_proj.wieght", "has no parameter `wieght`"), ("l.in_proj", "has no parameter `in_proj`")],
)  # fmt: skip
def test_half_a_key_is_no_value(expression: str, message: str) -> None:
    (error,) = errors(BODY + f"output y = {expression} to client")
    assert message in error.message
