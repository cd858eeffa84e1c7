"""Each pass keeps the meaning of a model and does what it is for."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest

from compiler import ops
from compiler.graph import Graph, Prepared, Value, apply, constant, declare
from compiler.graph.interval import Interval
from compiler.ops import OPERATORS
from compiler.passes import (
    PASSES,
    check_ranges,
    common_subexpressions,
    dead_code,
    layer_scale,
    pool_first,
    prepare,
    run,
    sum_first,
    turned_products,
    unsupported,
)
from compiler.pipeline import compile_source
from compiler.reading import reference, serial
from dsl.errors import SourceErrors
from tests.compiler.graphs import graph, leaf
from tests.compiler.models import call, numbers, small_network


def kinds(found: Graph) -> Counter[str]:
    return Counter(value.op.name for value in found.values())


def owned(name: str, role: str, shape: tuple[int, ...] = (2, 3)) -> Value:
    return leaf(name, shape, role=role)


@pytest.mark.parametrize("count", range(len(PASSES) + 1))
def test_the_meaning_stays(count: int) -> None:
    before = small_network()
    inputs, params = numbers(before)
    after = before
    for each in PASSES[:count]:
        after = each(after)
    expected, found = reference.evaluate(before, inputs, params), reference.evaluate(after, inputs, params)
    assert np.allclose(expected["probabilities"], found["probabilities"], atol=1e-12)
    assert [value.key for value in _leaves(after.inputs)] == ["image"]


def _leaves(values: tuple[Value, ...]) -> list:
    return [value.op for value in values]


def test_equal_expressions_are_one() -> None:
    x, y = owned("x", "client"), owned("y", "modeller")
    add, times = OPERATORS["+"], OPERATORS["*"]
    twice = add(times(x, y), times(y, x))
    assert kinds(common_subexpressions(graph(twice)))["Mul"] == 1
    promised = add(times(x, y), declare(times(x, y), Interval(0, 1)))
    assert kinds(common_subexpressions(graph(promised)))["Mul"] == 2
    assert (
        kinds(common_subexpressions(graph(add(call("sum", x, axis=0), call("sum", x, axis=1, keepdims=True)))))["Sum"]
        == 2
    )


def test_a_batchnorm_after_a_convolution_costs_nothing() -> None:
    found, warnings = run(small_network())
    assert kinds(found) == {
        "Input": 1, "Param": 2, "Prepared": 2, "Conv2d": 1, "MatMul": 1, "Add": 2, "MaxPool2d": 1, "Relu": 1,
        "Reshape": 1, "Transpose": 1, "Softmax": 1,
    }  # fmt: skip
    assert [(each.role, each.stage) for each in found.prepared] == [("modeller", "setup")] * 2
    assert warnings == []
    conv = next(value for value in found.values() if value.op.name == "Conv2d")
    assert conv.range == Interval(-9, 9)


def test_a_scale_of_another_owner_or_with_another_use_stays() -> None:
    x, w = owned("x", "client", (2, 3)), owned("w", "modeller", (3, 4))
    product = OPERATORS["@"](x, w)
    theirs, mine = owned("s", "client", (4,)), owned("t", "modeller", (4,))
    assert kinds(layer_scale(graph(OPERATORS["*"](product, theirs))))["Mul"] == 1
    assert kinds(prepare(layer_scale(graph(OPERATORS["*"](product, mine)))))["Mul"] == 0
    assert kinds(prepare(layer_scale(graph(OPERATORS["*"](product, mine), product))))["Mul"] == 1
    by_row = owned("r", "modeller", (2, 1))
    assert kinds(prepare(layer_scale(graph(OPERATORS["*"](product, by_row)))))["Mul"] == 1


def test_what_one_role_knows_it_prepares() -> None:
    x, y = owned("x", "client"), owned("y", "modeller")
    own = call("sigmoid", OPERATORS["+"](x, constant(1.0)))
    found = prepare(graph(OPERATORS["*"](own, y), own, inputs=(x, y)))
    assert kinds(found) == {"Prepared": 1, "Input": 1, "Mul": 1}
    (preparation,) = found.prepared
    assert (preparation.role, preparation.stage) == ("client", "run")
    leaf_value = next(value for value in found.values() if isinstance(value.op, Prepared))
    assert leaf_value.is_secret and leaf_value.owners == {"client"} and leaf_value.range == own.range
    data = {"x": np.full((2, 3), 0.5), "y": np.full((2, 3), 2.0)}
    result = reference.evaluate(found, data, {})
    assert np.allclose(result["y0"], 2 / (1 + np.exp(-1.5))) and np.allclose(result["y1"], 1 / (1 + np.exp(-1.5)))


def test_moves_of_a_leaf_and_constants_are_not_prepared() -> None:
    x, y = owned("x", "client"), owned("y", "modeller", (3, 2))
    moved = call("transpose", x)
    assert prepare(graph(OPERATORS["+"](moved, y), call("reshape", x, [6]))).prepared == ()
    spread = call("broadcast_to", call("relu", owned("z", "client", (1, 2))), [3, 2])
    found = prepare(graph(OPERATORS["+"](spread, y)))
    assert [each.value.shape for each in found.prepared] == [(1, 2)]


def test_prepared_expressions_survive_as_json_and_keep_their_promises() -> None:
    found, _ = run(small_network())
    inputs, params = numbers(found)
    for preparation in found.prepared:
        plain = json.loads(json.dumps(serial.to_plain(preparation.value)))
        back = serial.from_plain(plain)
        assert serial.to_plain(back) == plain
        for value in (preparation.value, back):
            array = reference.prepare_value(value, lambda op: reference.provided(op, inputs, params), found.precision)
            assert array.shape == preparation.value.shape
    broken = {**params, "bn1.weight": np.full(3, 50.0)}
    said = set()
    for preparation in found.prepared:  # the scale is part of both: it is the same complaint
        with pytest.raises(reference.BrokenPromise) as caught:
            reference.prepare_value(
                preparation.value, lambda op: reference.provided(op, inputs, broken), found.precision
            )
        said.add(str(caught.value))
    (message,) = said
    assert "bn1.scale[0]: expected a value in [-1, 1], found 52.2884 (and 2 more)" in message
    assert "bn1.scale is bn1.weight / sqrt(bn1.running_var + 1e-05); " in message
    assert "declare a wider range, `weights bn1 from modeller in [-1, 54]`, or retrain" in message


def test_an_unknown_op_is_no_expression() -> None:
    with pytest.raises(ValueError, match="found 'System'"):
        serial.from_plain([{"op": "System", "fields": {}, "args": []}])


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_pools_come_first(activation: str) -> None:
    x = leaf("x", (1, 1, 4, 4), (-9, 9))
    active = call(activation, x)
    swapped = pool_first(graph(call("maxpool2d", active, 3, 1, 1)))
    assert swapped.outputs[0].value.op.name == active.op.name
    assert swapped.outputs[0].value.shape == (1, 1, 4, 4)
    data = {"x": np.random.default_rng(0).uniform(-9, 9, (1, 1, 4, 4))}
    plain = graph(call("maxpool2d", active, 3, 1, 1))
    assert np.array_equal(reference.evaluate(plain, data, {})["y0"], reference.evaluate(swapped, data, {})["y0"])
    shared = pool_first(graph(call("maxpool2d", active, 2), active))
    assert shared.outputs[0].value.op.name == "MaxPool2d"
    assert pool_first(graph(call("avgpool2d", active, 2))).outputs[0].value.op.name == "AvgPool2d"


@pytest.mark.parametrize("axes", [(0, 2, 3), (2, 3), (1, 3)])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 1), (2, 3)])
def test_sums_of_what_pooling_passes_back_come_first(axes: tuple[int, ...], kernel: int, stride: int) -> None:
    size = (8 - kernel) // stride + 1
    image, reaching = leaf("x", (2, 3, 8, 8), (-9, 9)), leaf("g", (2, 3, size, size), (-9, 9))
    back = apply(ops.MaxPool2dGradient((kernel, kernel), (stride, stride)), image, reaching)
    plain = graph(apply(ops.Sum(axes, keepdims=True), back))
    swapped = sum_first(plain)
    assert ("MaxPool2dGradient" in kinds(swapped)) == (axes == (1, 3))
    random = np.random.default_rng(0)
    data = {"x": random.uniform(-9, 9, (2, 3, 8, 8)), "g": random.uniform(-9, 9, (2, 3, size, size))}
    assert np.allclose(reference.evaluate(plain, data, {})["y0"], reference.evaluate(swapped, data, {})["y0"])


def test_turned_products_are_products_of_what_is_turned() -> None:
    a, b = leaf("a", (5, 3), (-9, 9)), leaf("b", (5, 2), (-9, 9))
    turn = ops.Transpose((1, 0))
    product = apply(ops.MatMul(), apply(turn, a), b)
    plain = graph(apply(turn, product))
    turned = turned_products(plain)
    (found,) = (output.value for output in turned.outputs)
    assert found.op == ops.MatMul() and found.args[0].op == turn and found.args[1].op == a.op
    random = np.random.default_rng(0)
    data = {"a": random.uniform(-9, 9, (5, 3)), "b": random.uniform(-9, 9, (5, 2))}
    assert np.allclose(reference.evaluate(plain, data, {})["y0"], reference.evaluate(turned, data, {})["y0"])
    promised = turned_products(graph(declare(apply(turn, product), Interval(-1, 1)))).outputs[0].value
    assert promised.op == ops.MatMul() and promised.declared == promised.range == Interval(-1, 1)
    for kept in (graph(apply(turn, product), product), graph(apply(turn, declare(product, Interval(-500, 500))))):
        assert turned_products(kept).outputs[0].value.op == turn


def test_unused_preparations_go() -> None:
    x, y = owned("x", "client"), owned("y", "modeller")
    found = prepare(graph(OPERATORS["*"](call("relu", x), y), call("exp", x)))
    kept = dead_code(Graph(**{**vars(found), "outputs": found.outputs[1:]}))
    assert [each.value.op.name for each in kept.prepared] == ["Exp"]
    assert np.allclose(reference.evaluate(kept, {"x": np.ones((2, 3))}, {})["y1"], np.e)


# -- ranges ------------------------------------------------------------------------------------------------------------


def test_an_undeclared_leaf_is_blamed_once() -> None:
    x, y = leaf("x", (2,), None), leaf("y", (2,), (-1, 1), "modeller")
    product = OPERATORS["*"](OPERATORS["*"](x, y), x)
    found, warnings = check_ranges(graph(call("sigmoid", product), product))
    assert [each.message.split(":")[0] for each in warnings] == ["the range of `x` is not declared"]
    limit = 2.0**30
    assert all(value.range.magnitude < limit for value in found.values())
    assert found.outputs[0].value.range == Interval(0, 1)


def test_what_may_overflow_is_named_with_its_margin() -> None:
    x, y = leaf("x", (2,), (-1e6, 1e6)), leaf("y", (2,), (-1e6, 1e6), "modeller")
    product = apply(ops.Mul(), x, y, name="h")
    _, warnings = check_ranges(graph(OPERATORS["+"](product, x)))
    (warning,) = warnings
    assert "`h`" in warning.message and "(10 bits too few)" in warning.message and warning.severity == "warning"
    assert "fixed(bits=64, frac=16) holds |v| < 1073741824" in warning.message


def test_a_promise_ends_the_doubt() -> None:
    x, y = leaf("x", (2,), None), leaf("y", (2,), None, "modeller")
    product = OPERATORS["*"](x, y)
    promised = declare(product, Interval(-1, 1))
    found, warnings = check_ranges(graph(OPERATORS["*"](promised, promised)))
    assert found.outputs[0].value.range == Interval(0, 1)
    assert warnings == []  # nothing depends on the ranges of the leaves any more
    _, (warning,) = check_ranges(graph(product))  # both leaves have no place in a source: one warning for both
    assert "`x` and `y`" in warning.message


def test_an_undeclared_leaf_below_a_preparation_is_the_one_to_blame() -> None:
    x, y = leaf("x", (2,), None), leaf("y", (2,), (-2, 2), "modeller")
    _, warnings = check_ranges(prepare(graph(OPERATORS["*"](call("abs", x), y))))
    assert [each.message.split(":")[0] for each in warnings] == ["the range of `x` is not declared"]


def test_a_missing_range_is_a_matter_only_where_something_depends_on_it() -> None:
    """The comparison of another value, or a bare output, says nothing about x; each effect is named where it is."""
    x, y = leaf("x", (2,), None), leaf("y", (2,), (-1, 1), "modeller")

    def said(*outputs: Value) -> str:
        return "; ".join(each.message for each in check_ranges(prepare(graph(*outputs)))[1])

    assert said(x, call("relu", OPERATORS["+"](y, leaf("z", (2,), (-1, 1))))) == ""
    assert said(OPERATORS["*"](x, y)) == ""  # |x * y| <= |x|: the client checks x
    assert "may leave that" in said(OPERATORS["+"](x, y)) and "comparisons" not in said(OPERATORS["+"](x, y))
    assert "comparisons are as wide as that" in said(call("relu", OPERATORS["*"](x, y)))
    assert "a quotient has to be right over all of that" in said(OPERATORS["/"](y, x))


def test_a_deep_network_is_told_once_where_it_leaves_the_format() -> None:
    """64 wide, weights in [-1, 1]: the fifth layer is the first one that may reach 64^5 = 2^30."""
    layers = "".join(f"layer fc{i} = dense(64, bias=false)\n" for i in range(1, 9))
    text = f"model m role c, m input x : [1, 64] from c in [-1, 1]\n{layers}weights from m in [-1, 1]\n"
    text += "\n".join(f"h{i} = {f'h{i - 1}' if i > 1 else 'x'} |> fc{i} |> relu" for i in range(1, 9))
    text += "\noutput h8 to c\n"
    (warning,) = compile_source(text, "m.ppml").warnings
    assert warning.line == text.split("\n").index("h5 = h4 |> fc5 |> relu") + 1
    assert "the result of `fc5`" in warning.message and "what is computed from it" in warning.message
    (fits,) = re.findall(r"within \[-(\d+), (\d+)\] the result fits", warning.help or "")
    promised = text.replace("h4 = h3 |> fc4 |> relu", f"h4 = h3 |> fc4 |> relu in [-{fits[0]}, {fits[1]}]")
    (later,) = compile_source(promised, "m.ppml").warnings
    assert "`fc6`" in later.message
    assert compile_source(promised.replace("relu\n", "relu in [0, 64]\n"), "m.ppml").warnings == ()


def test_a_stack_of_blocks_is_one_cause() -> None:
    text = """model m role c, m input x : [1, 64] from c in [-1, 1]
    def block(x) { layer up = dense(64) layer down = dense(64)
      return sigmoid(x |> up |> relu |> down) }
    weights from m in [-10000, 10000]
    h = x
    for i in 0..12 { layer b[i] = block()
      h = h |> b[i] }
    output h to c
    """
    (warning,) = compile_source(text, "m.ppml").warnings
    assert "`b.0.down`" in warning.message and "and 11 more like it" in warning.message


def test_a_promise_behind_a_bias_holds_for_the_product_before_it() -> None:
    text = """model m role c, m input x : [1, 64] from c in [-1e6, 1e6]
    layer fc = dense(8)
    weights from m in [-1000, 1000]
    h = x |> fc in [-64, 64]
    output h to c
    """
    assert compile_source(text, "m.ppml").warnings == ()
    (warning,) = compile_source(text.replace(" in [-64, 64]", ""), "m.ppml").warnings
    assert "`fc`" in warning.message


def test_a_divisor_that_may_be_zero() -> None:
    x, y = leaf("x", (2,), (-1, 1)), leaf("y", (2,), (-1, 1), "modeller")
    _, (warning,) = check_ranges(graph(OPERATORS["/"](x, y)))
    assert "its divisor lies in [-1, 1], so it may be 0" in warning.message


def test_a_certain_overflow_is_an_error() -> None:
    x, y = leaf("x", (2,), (1e5, 1e6)), leaf("y", (2,), (1e5, 1e6), "modeller")
    with pytest.raises(SourceErrors) as found:
        run(graph(OPERATORS["*"](x, y)))
    (error,) = found.value.diagnostics
    assert "overflows: it always lies in [10000000000, 1000000000000]" in error.message


def test_plaintext_only_ops_need_one_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.Sqrt, "private", False)
    x, y = leaf("x", (2,), (1, 2)), leaf("y", (2,), (1, 2), "modeller")
    (error,) = unsupported(graph(call("sqrt", OPERATORS["+"](x, y))))
    assert "`sqrt` of a value that several roles share in is not supported yet" in error.message
    found, _ = run(graph(OPERATORS["*"](call("sqrt", x), y)))
    assert unsupported(found) == []


@pytest.mark.parametrize(("function", "what"), [("rsqrt", "argument"), ("log", "argument"), ("reciprocal", "divisor")])
def test_what_has_no_value_at_0_says_so(function: str, what: str) -> None:
    x, y = leaf("x", (2,), (0, 1)), leaf("y", (2,), (0, 1), "modeller")
    _, (warning,) = check_ranges(graph(call(function, OPERATORS["+"](x, y))))
    assert f"its {what} lies in [0, 2], so it may be 0" in warning.message
    assert f"declare a{'n' * (what == 'argument')} {what} without 0" in (warning.help or "")
    assert check_ranges(graph(call("sqrt", OPERATORS["+"](x, y))))[1] == []
