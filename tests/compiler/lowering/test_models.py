"""The models of tests/models mean what the same formulas mean in NumPy, and lower without a warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.graph import Graph, Kind, Owned, Value
from compiler.lowering.model import lower
from compiler.reading import reference
from dsl import parse

MODELS = Path(__file__).parents[2] / "models"
Arrays = Mapping[str, Any]


def correlate(x: Any, w: Any, stride: Any = (1, 1), padding: Any = (0, 0), dilation: int = 1, groups: int = 1) -> Any:
    """PyTorch's conv2d, one output pixel at a time."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    n, channels, height, width = x.shape
    out, depth, kh, kw = w.shape
    oh = (height - dilation * (kh - 1) - 1) // stride[0] + 1
    ow = (width - dilation * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, out, oh, ow))
    for o in range(out):
        first = o // (out // groups) * (channels // groups)
        for r in range(oh):
            for c in range(ow):
                top, left = r * stride[0], c * stride[1]
                rows = slice(top, top + dilation * (kh - 1) + 1, dilation)
                columns = slice(left, left + dilation * (kw - 1) + 1, dilation)
                y[:, o, r, c] = (x[:, first : first + depth, rows, columns] * w[o]).sum(axis=(1, 2, 3))
    return y


def pool(x: Any, k: Any, stride: Any, padding: int, choose: Callable[..., Any], outside: float) -> Any:
    """Pooling, one window at a time."""
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=outside)
    oh, ow = ((size - window) // step + 1 for size, window, step in zip(x.shape[2:], k, stride, strict=True))
    rows = [[x[:, :, r * stride[0] :, c * stride[1] :][:, :, : k[0], : k[1]] for c in range(ow)] for r in range(oh)]
    rows = [[choose(window, axis=(2, 3)) for window in row] for row in rows]
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


def credit(v: Arrays) -> Arrays:
    return {"score": 1 / (1 + np.exp(-(v["x"] @ v["w"] + v["b"])))}


def residual(v: Arrays) -> Arrays:
    def norm(x: Any, path: str) -> Any:
        weight, bias, mean, var = (
            v[f"{path}.{key}"].reshape(1, -1, 1, 1) for key in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    def unit(x: Any, path: str, stride: int = 1) -> Any:
        return norm(correlate(x, v[f"{path}.conv.weight"], (stride, stride), (1, 1)), f"{path}.norm")

    h = np.maximum(unit(v["image"], "stem"), 0)
    for i in range(2):
        inner = unit(np.maximum(unit(h, f"block.{i}.first", 2), 0), f"block.{i}.second")
        short = correlate(h, v[f"block.{i}.short.weight"], (2, 2)) + v[f"block.{i}.short.bias"].reshape(1, -1, 1, 1)
        h = np.maximum(inner + short, 0)
    return {"scores": h.mean(axis=(2, 3)) @ v["head.weight"].T + v["head.bias"]}


def hospitals(v: Arrays) -> Arrays:
    return {
        "total": v["age"].sum(),
        "highest": v["age"].max(axis=1),
        "average": v["dose"].mean(axis=1),
        "share_over": (v["dose"] > v["dose"].mean()).mean(),
        "cost": v["dose"].sum() * v["price"],
    }


def logic(v: Arrays) -> Arrays:
    i, j, flag, x, table = v["i"], v["j"], v["flag"], v["x"], np.array([[1, 0, 1], [0, 1, 1]])
    return {
        "both": ((i > j) & flag) | (i != j),
        "chosen": np.where(i > j, i, j + 1),
        "mixed": np.where(flag, x, i),
        "counted": flag.sum(axis=0) + (i > j),
        "masked": x * flag,
        "limited": i.clip(-2, 3),
        "picked": i * table + np.minimum(i, j),
        "signs": np.sign(i) * np.abs(j),
        "half": i / 2,
        "most": i.argmax(axis=1),
        "unequal": (x != 0) & (np.abs(x) <= 1),
        "squares": i**2,
    }


def shapes(v: Arrays) -> Arrays:
    x, y = v["x"], v["y"]
    return {
        "reshaped": x.reshape(-1, 4),
        "flat": x.reshape(2, -1),
        "turned": x.transpose(2, 0, 1),
        "reversed_": y.T,
        "joined": np.concatenate([x[0], y, x[-1]], axis=1),
        "stacked": np.stack([y, x[1]], axis=-1),
        "padded": np.pad(y, [(1, 0), (0, 2)], constant_values=0.5),
        "narrow": x[:, 0],
        "wide": np.stack([y, y]),
        "corner": x[1, 2, 3],
        "every": x[..., ::2],
        "backward": x[:, ::-1, -2:],
        "sizes": np.array([2, 3, 4]),
        "scalar": y[0, 0],
    }


def reduce(v: Arrays) -> Arrays:
    x = v["x"]
    return {
        "all_sum": x.sum(),
        "rows": x.sum(axis=-1),
        "columns": x.mean(axis=(0, 2)),
        "kept": x.max(axis=1, keepdims=True),
        "lowest": x.min(axis=(1, 2)),
        "place": x.argmax(axis=2),
        "anywhere": x.argmax(),
        "centred": x - x.mean(axis=0),
        "nothing": x,
    }


def smooth(v: Arrays) -> Arrays:
    x, p = v["x"], v["p"]
    return {
        "a": 1 / (1 + np.exp(-x)),
        "b": np.tanh(x),
        "c": np.exp(x),
        "d": 1 / p,
        "e": x / p,
        "f": np.exp(x) / np.exp(x).sum(),
        "g": np.where(x > 0, x, 0.1 * x),
        "h": np.clip(2 * x, 0, 6),
        "i": x * x,
        "j": x * x * x,
        "k": 1 / p,
        "l": x * np.sqrt(2) / 3,
        "m": 1 / (1 + np.exp(-x)),
        "o": x,
    }


def images(v: Arrays) -> Arrays:
    x = v["image"]

    def biased(y: Any, name: str) -> Any:
        return y + v[f"{name}.bias"].reshape(1, -1, 1, 1)

    plain = np.maximum(biased(correlate(x, v["plain.weight"]), "plain"), 0)
    strided = biased(correlate(x, v["strided.weight"], (2, 1), (1, 0)), "strided")
    spread = correlate(x, v["spread.weight"], dilation=2)
    grouped = biased(correlate(x, v["grouped.weight"], padding=(1, 1), groups=4), "grouped")
    deep = biased(correlate(x, v["deep.weight"], padding=(1, 1), groups=4), "deep")
    return {
        "a": pool(plain, (2, 2), (2, 2), 0, np.max, 0),
        "b": pool(strided, (3, 3), (2, 2), 1, np.mean, 0),
        "c": pool(spread, (3, 1), (1, 1), 0, np.max, 0),
        "d": grouped.mean(axis=(2, 3), keepdims=True),
        "e": pool(deep, (3, 3), (2, 2), 1, np.max, -np.inf),
    }


def twins(v: Arrays) -> Arrays:
    def code(x: Any) -> Any:
        return np.tanh(x @ v["net.wide.weight"].T + v["net.wide.bias"]) @ v["net.code.weight"].T

    a, b = code(v["a"]), code(v["b"])
    return {
        "distance": ((a - b) ** 2).sum(),
        "near": ((a - b) ** 2).sum() < 1.5,
        "norm": (v["net.code.weight"] ** 2).sum(),
        "back": (a @ v["net.code.weight"]).reshape(2, 4),
    }


def public_values(v: Arrays) -> Arrays:
    y = ((v["image"] - 0.5) * v["scale"]) @ v["fc.weight"].T + v["fc.bias"]
    return {"y": y + v["day"], "z": np.maximum(v["day"] - 15, 0) * 2}


def small_ring(v: Arrays) -> Arrays:
    h = v["x"] @ v["w"] + v["b"]
    return {"y": np.maximum(h, 0), "z": (h > 0).sum(axis=1)}


def tables(v: Arrays) -> Arrays:
    x = v["x"]
    return {
        "smooth": 0.25 * x[:-2] + 0.5 * x[1:-1] + 0.25 * x[2:],
        "averages": x[::2].sum() / 3,
        "values": 0.5 * x**3 - x**2 + 2,
        "count": 9,
    }


FORMULAS = (
    credit,
    residual,
    hospitals,
    logic,
    shapes,
    reduce,
    smooth,
    images,
    twins,
    public_values,
    small_ring,
    tables,
)


def load(name: str) -> Graph:
    graph, warnings = lower(parse((MODELS / f"{name}.ppml").read_text(), f"{name}.ppml"), {})
    assert not warnings
    return graph


def sample(leaves: tuple[Value, ...], random: np.random.Generator) -> dict[str, Any]:
    """Values of all leaves by key, in their ranges; the members of an array role stacked."""
    found: dict[str, list[Any]] = {}
    stacked = set()
    for leaf in leaves:
        op = leaf.op
        assert isinstance(op, Owned)
        key = op.key  # type: ignore[attr-defined]
        lo, hi = (leaf.range.lo, leaf.range.hi) if leaf.range.is_finite else (0.5, 2.0)
        if leaf.kind is Kind.FIXED:
            array: Any = random.uniform(lo, hi, leaf.shape)
        else:
            array = random.integers(int(lo), int(hi) + 1, leaf.shape).astype(leaf.kind.dtype)
        found.setdefault(key, []).append(array)
        if op.index_path:  # type: ignore[attr-defined]
            stacked.add(key)
    return {key: np.stack(arrays) if key in stacked else arrays[0] for key, arrays in found.items()}


def test_every_model_has_its_formulas() -> None:
    assert {path.stem for path in MODELS.glob("*.ppml")} >= {formula.__name__ for formula in FORMULAS}


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.__name__)
def test_model(formula: Callable[[Arrays], Arrays]) -> None:
    graph = load(formula.__name__)
    random = np.random.default_rng(7)
    inputs, params = sample(graph.inputs, random), sample(graph.params, random)
    expected = formula(inputs | params)
    found = reference.evaluate(graph, inputs, params)
    assert list(found) == [output.name for output in graph.outputs]
    assert found.keys() == expected.keys()
    for output in graph.outputs:
        result, truth = found[output.name], np.asarray(expected[output.name])
        assert result.shape == truth.shape == output.value.shape, output.name
        assert result.dtype == output.value.kind.dtype
        np.testing.assert_allclose(result, truth, rtol=1e-9, atol=1e-9, err_msg=output.name)
        if result.size:
            assert output.value.range.lo - 1e-9 <= result.min() and result.max() <= output.value.range.hi + 1e-9
