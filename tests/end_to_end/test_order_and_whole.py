"""Orders and whole numbers are exact: against NumPy, over whole ranges and formats, by both ways of sorting."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.end_to_end.test_documented_errors import HEAD, Array, Range, declared, format_of, spread
from tests.machines import run_plan

FAST_ROUNDS, SLOW_ROUNDS = "rtt=1us,bandwidth=1Mbps", "rtt=1s,bandwidth=100Gbps"
"""Networks on which a sorting network, and all pairs at once, are the cheaper way."""


def private(head: str, outputs: dict[str, str], network: str = "lan", **inputs: Array) -> dict[str, Array]:
    """The outputs by their names, which stand apart from those of the inputs."""
    text = HEAD + head + "".join(f"output {name}_out = {expression} to a\n" for name, expression in outputs.items())
    found = run_plan(mpc.compile(text=text, network=network).plan, inputs).results
    return {name: found[f"{name}_out"] for name in outputs}


def ordered(x: Array, k: int, axis: int = -1, descending: bool = False) -> tuple[Array, Array]:
    """The first k and their places, equals in their order."""
    places = np.argsort(-x if descending else x, axis=axis, kind="stable")
    places = np.take(places, range(k), axis=axis)
    return np.take_along_axis(x, places, axis), places


@pytest.mark.parametrize("network", [FAST_ROUNDS, SLOW_ROUNDS])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
def test_orders_are_stable_and_exact(n: int, network: str) -> None:
    """Rows with many equals, with neighbours, and with the ends of the range."""
    random, step = np.random.default_rng(n), 2.0**-16
    x = random.integers(-2, 3, (6, n)) * 1.0
    x[4] = 1 + step * random.integers(0, 3, n)
    x[5] = random.uniform(-4, 4, n)
    x[3, :2] = [4, -4][:n]
    x = np.round(x / step) * step
    head = f"input u : [6, {n}] from a in [-4, 4]\ninput zero : [] from b in [0, 0]\nx = u + zero\n"
    k = (n + 1) // 2
    found = private(
        head,
        {"up": "sort(x)", "up_places": "argsort(x)", "down": "sort(x, descending=true)",
         "down_places": "argsort(x, -1, true)", "most": f"topk(x, {k})", "most_places": f"argtopk(x, {k})",
         "columns": "sort(x, axis=0)", "column_places": "argsort(x, axis=0, descending=true)"},
        network, u=x, zero=np.array(0.0),
    )  # fmt: skip
    expected = {"up": ordered(x, n), "down": ordered(x, n, descending=True), "most": ordered(x, k, descending=True)}
    for name, (values, places) in expected.items():
        assert np.array_equal(found[name], values) and np.array_equal(found[f"{name}_places"], places), name
    assert np.array_equal(found["columns"], ordered(x, 6, axis=0)[0])
    assert np.array_equal(found["column_places"], ordered(x, 6, axis=0, descending=True)[1])


@pytest.mark.parametrize("network", [FAST_ROUNDS, "lan", SLOW_ROUNDS])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 17])
def test_extremes_are_exact_and_the_first_of_equals_counts(n: int, network: str) -> None:
    """Rows with many equals, with neighbours and with the ends of the range: by tournaments, and by all pairs."""
    random, step = np.random.default_rng(n), 2.0**-16
    x = random.integers(-2, 3, (9, n)) * 1.0
    x[4] = 1 + step * random.integers(0, 3, n)
    x[5] = np.round(random.uniform(-4, 4, n) / step) * step
    x[6:] = [[4.0], [-4.0], [0.0]]
    x[3, :2] = [4, -4]
    i = random.integers(-(2**29), 2**29, (9, n))
    i[:3] = [[2**29], [-(2**29)], [0]]
    head = f"input u : [9, {n}] from a in [-4, 4]\ninput zero : [] from b in [0, 0]\nx = u + zero\n"
    head += f"input i : int[9, {n}] from a\ninput j : int[9, {n}] from b in [0, 0]\n"
    found = private(
        head,
        {"max": "max(x, axis=1)", "min": "min(x, axis=1)", "argmax": "argmax(x, axis=1)", "argmin": "argmin(x, axis=1)",
         "columns": "max(x, axis=0)", "column": "argmax(x, axis=0)", "all": "max(x)", "whole": "max(i + j, axis=1)",
         "place": "argmax(i + j, axis=1)", "least": "min(i + j)"},
        network, u=x, zero=np.array(0.0), i=i, j=0 * i,
    )  # fmt: skip
    expected = {
        "max": x.max(1), "min": x.min(1), "argmax": x.argmax(1), "argmin": x.argmin(1), "columns": x.max(0),
        "column": x.argmax(0), "all": x.max(), "whole": i.max(1), "place": i.argmax(1), "least": i.min(),
    }  # fmt: skip
    for name, truth in expected.items():
        assert np.array_equal(found[name], truth), name


@pytest.mark.parametrize("network", [FAST_ROUNDS, "lan", SLOW_ROUNDS])
@pytest.mark.parametrize("batch", [1, 7])
def test_softmax_of_close_and_equal_products(batch: int, network: str) -> None:
    """Logits behind a product, whose low bits no comparison looks at: equals, and neighbours by less than a step."""
    random = np.random.default_rng(batch)
    x, w = random.uniform(-4, 4, (batch, 6)), np.repeat(random.uniform(-1, 1, (6, 1)), 10, 1)
    w[:, 3:5] += random.integers(-1, 2, (6, 2)) * 2.0**-16
    head = f"input x : [{batch}, 6] from a in [-4, 4]\ninput w : [6, 10] from b in [-1, 1]\ny = x @ w\n"
    outputs = {"p": "softmax(y)", "l": "log_softmax(y)", "q": "softmax(y, axis=0)"}
    found = private(head, outputs, network, x=x, w=w)
    logits = x @ w
    power = np.exp(logits - logits.max(1, keepdims=True))
    assert np.abs(found["p"] - power / power.sum(1, keepdims=True)).max() <= 2.0**-12
    assert np.abs(found["l"] - np.log(power / power.sum(1, keepdims=True))).max() <= 2.0**-11
    down = np.exp(logits - logits.max(0))
    assert np.abs(found["q"] - down / down.sum(0)).max() <= 2.0**-12


@pytest.mark.parametrize("network", [FAST_ROUNDS, SLOW_ROUNDS])
def test_orders_of_whole_numbers_bits_and_wide_ranges(network: str) -> None:
    i, bit = np.array([5, -(2**29), 2**29, 5, 0, -1, 2**29]), np.array([1, 0, 1, 0, 0, 1, 1])
    w = np.array([1e9, -1e9, 2.0**-16, 0, -(2.0**-16), 1e9, -5])
    head = "input i : int[7] from a\ninput j : int[7] from b in [0, 0]\n"
    head += "input g : bit[7] from a\ninput h : bit[7] from b\n"
    head += "input w : [7] from a\ninput v : [7] from b in [0, 0]\n"
    zeros = np.zeros(7, int)
    outputs = {"i": "sort(i + j)", "p": "argsort(i + j, descending=true)", "g": "argsort(g or h)", "s": "sort(g or h)",
               "w": "topk(w + v, 3)", "wp": "argtopk(w + v, 3)"}  # fmt: skip
    found = private(head, outputs, network, i=i, j=zeros, g=bit, h=zeros, w=w, v=0.0 * w)
    assert np.array_equal(found["i"], np.sort(i)) and found["s"].tolist() == sorted(bit)
    assert np.array_equal(found["p"], ordered(i, 7, descending=True)[1])
    assert np.array_equal(found["g"], ordered(bit, 7)[1])
    values, places = ordered(w, 3, descending=True)
    assert np.array_equal(found["w"], values) and np.array_equal(found["wp"], places)


@pytest.mark.parametrize("k", [0, 6])
def test_topk_of_more_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(mpc.CompileError, match=f"`k` of topk expects a number from 1 to 5, found {k}"):
        mpc.compile(text=f"{HEAD}input x : [5] from a\noutput y = topk(x, {k}) to b\n")


WHOLE = {"floor(x)": np.floor, "ceil(x)": np.ceil, "round(x)": np.rint}


@pytest.mark.parametrize("range_", [None, (-4, 4), (0, 0.75), (-1e6, 1e6)], ids=str)
@pytest.mark.parametrize(("bits", "frac"), [(64, 16), (64, 1), (64, 24), (32, 10)])
def test_floors_are_exact(range_: Range | None, bits: int, frac: int) -> None:
    """Whole numbers, halves, and their neighbours of both signs."""
    limit, step = format_of(bits, frac)
    most = min(limit, 2**30) - 1
    if range_ is not None and range_[1] > most:
        range_ = -most, most
    lo, hi = range_ or (-most, most)
    near = np.concatenate([n + np.array([-0.5, 0, 0.5]) + d * step for n in range(-4, 5) for d in (-1, 0, 1)])
    x = np.concatenate([spread((lo, hi), 200, step, 1), near[(near >= lo) & (near <= hi)]])
    head = f"precision fixed(bits={bits}, frac={frac})\ninput u : [{x.size}] from a{declared(range_)}\n"
    head += "input zero : [] from b in [0, 0]\nx = u + zero\n"
    found = private(head, {f"y{i}": e for i, e in enumerate(WHOLE)}, u=x, zero=np.array(0.0))
    for name, (expression, function) in zip(found, WHOLE.items(), strict=True):
        assert np.array_equal(found[name], function(x)) and found[name].dtype == np.int64, expression


def test_a_floor_is_of_what_is_stored_and_an_index() -> None:
    """Of a product, which stands at a finer scale: the floor is that of the rounded number that an output shows."""
    random = np.random.default_rng(3)
    x, z = random.uniform(0, 2, 500), np.round(random.uniform(0, 1, 500) * 2**16) / 2**16
    head = "input x : [500] from a in [0, 2]\ninput z : [500] from b in [0, 1]\ny = x * z\n"
    head += "param t : [3] from b in [-4, 4]\n"
    text = f"{HEAD}{head}output y to a\noutput f = floor(y) to a\noutput g = gather(t, floor(y)) to a\n"
    found = run_plan(mpc.compile(text=text).plan, {"x": x, "z": z}, {"t": np.array([-4.0, 1, 2])}).results
    assert np.array_equal(found["f"], np.floor(found["y"]))
    assert np.array_equal(found["g"], np.array([-4.0, 1, 2])[found["f"]])


def test_running_sums_are_exact() -> None:
    random = np.random.default_rng(4)
    x, i = np.round(random.uniform(-4, 4, (3, 7)) * 2**16) / 2**16, random.integers(-1000, 1000, (3, 7))
    head = "input x : [3, 7] from a in [-4, 4]\ninput i : int[3, 7] from a\ninput z : int[3, 7] from b in [0, 0]\n"
    outputs = {"x": "cumsum(x + z)", "i": "cumsum(i + z, axis=0)", "p": "cumsum((x + z) * (x + z), axis=1)"}
    found = private(head, outputs, x=x, i=i, z=0 * i)
    assert np.array_equal(found["x"], x.cumsum(axis=-1)) and np.array_equal(found["i"], i.cumsum(axis=0))
    assert np.abs(found["p"] - (x * x).cumsum(axis=1)).max() <= 2.0**-16
