"""Names, blocks, roles and outputs. Truth: the sentences of the language reference, Python's scoping, NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.graph import Input, Kind, Visibility
from compiler.graph.interval import Interval
from compiler.lowering.model import lower
from dsl import parse
from tests.compiler.lowered import errors, graph, output, run, warnings


def test_values_are_bound_again_and_names_of_functions_are_free() -> None:
    body = """
        input x : [2, 2] from client
        mean = mean(x)
        max = mean + max(x) + x |> max
        max = max * 2
        output y = mean(x) + max to client
    """
    x = np.array([[1.0, 2.0], [3.0, 6.0]])
    # `|>` is the loosest operator: the line reads (mean + max(x) + x) |> max
    np.testing.assert_allclose(run(body, {"x": x})["y"], 3 + 2 * (3 + 6 + x).max())


def test_a_loop_shares_the_scope_around_it() -> None:
    body = """
        input x : [2] from client
        h = x
        for i in 0..3 {
            for j in i..3 { h = h + i * j }
            last = h
        }
        for i in 2..2 { h = h * 0 }
        for i in 3..1 { h = h * 0 }
        output y = h + last to client
    """
    total = sum(i * j for i in range(3) for j in range(i, 3))
    np.testing.assert_allclose(run(body, {"x": [1.0, 2.0]})["y"], 2 * (np.array([1.0, 2.0]) + total))


def test_a_definition_has_a_scope_of_its_own() -> None:
    body = """
        const scale = 3
        dim n = 2
        def twice(x) { return x * 2 }
        def f(x, batch=n) {
            scale = twice(x) * scale
            x = scale + batch
            return x
        }
        input x : [2] from client
        a = f(x)
        b = x |> f(batch=10) |> twice
        output y = a + b + x * scale to client
    """
    x = np.array([1.0, 5.0])
    np.testing.assert_allclose(run(body, {"x": x})["y"], 6 * x + 2 + 2 * (6 * x + 10) + 3 * x)


def test_a_definition_of_constants_makes_constants() -> None:
    model = graph(
        "def f(n) { return n * n + 1 } input x : [f(2)] from client output y = reshape(x, [1, f(2)]) to client"
    )
    assert model.outputs[0].value.shape == (1, 5)


def test_array_roles_stack_their_members() -> None:
    model = graph(
        """
        role hospital[3]
        dim rows = 4
        input age : [rows, 2] from hospital in [0, 120]
        input one : [2] from hospital[1]
        param w : int[2] from hospital public
        output total = sum(age, axis=1) + one + w to hospital, client, hospital[0]
        """
    )
    assert model.roles == ("client", "modeller", "hospital[0]", "hospital[1]", "hospital[2]")
    ops = [leaf.op for leaf in model.inputs]
    assert all(isinstance(op, Input) for op in ops)
    assert [(op.key, op.role, op.index_path) for op in ops if isinstance(op, Input)] == [
        ("age", "hospital[0]", (0,)),
        ("age", "hospital[1]", (1,)),
        ("age", "hospital[2]", (2,)),
        ("one", "hospital[1]", ()),
    ]
    assert {leaf.range for leaf in model.inputs[:3]} == {Interval(0, 120)}
    assert model.inputs[0].op.dims == ("rows", None)
    assert [leaf.shape for leaf in model.params] == [(2,)] * 3
    assert all(leaf.visibility is Visibility.PUBLIC and leaf.kind is Kind.INT for leaf in model.params)
    total = model.outputs[0]
    assert total.roles == ("hospital[0]", "hospital[1]", "hospital[2]", "client")
    assert total.value.shape == (3, 2)
    assert total.value.owners == {"hospital[0]", "hospital[1]", "hospital[2]"}


def test_stacked_values_keep_the_members_order() -> None:
    body = "role lab[2] input x : [3] from lab output y = x[1] - x[0] to client output n = x to client"
    x = np.arange(6.0).reshape(2, 3)
    results = run(body, {"x": x})
    np.testing.assert_allclose(results["y"], x[1] - x[0])
    np.testing.assert_allclose(results["n"], x)


def test_output_binds_its_name() -> None:
    model = graph(
        "input x : [2] from client output y = x * 2 to client output z = y + 1 to modeller output x to modeller"
    )
    assert [(each.name, each.roles) for each in model.outputs] == [
        ("y", ("client",)),
        ("z", ("modeller",)),
        ("x", ("modeller",)),
    ]


def test_output_names_are_keys_of_the_values_when_they_are_bound() -> None:
    body = "input x : [1] from client y = x output y to client y = y * 2 output z = y to client"
    results = run(body, {"x": [3.0]})
    assert (results["y"], results["z"]) == ([3.0], [6.0])


@pytest.mark.parametrize(
    ("index", "shape"),
    [
        ("[0]", (3, 4)),
        ("[-1]", (3, 4)),
        ("[:, 0:2]", (2, 2, 4)),
        ("[..., 1]", (2, 3)),
        ("[..., ::2]", (2, 3, 2)),
        ("[1, ..., 0]", (3,)),
        ("[:, ::-1]", (2, 3, 4)),
        ("[0, 1, 2]", ()),
        ("[n - 1, k[0]:]", (2, 4)),
        ("[..., -100:100]", (2, 3, 4)),
        (".shape[1:]", (2,)),
    ],
)
def test_basic_indexing(index: str, shape: tuple[int, ...]) -> None:
    body = f"dim n = 2 const k = [1, 2] input x : [n, 3, 4] from client output y = x{index} to client"
    assert output(body).shape == shape
    x = np.arange(24.0).reshape(2, 3, 4)
    expected = eval(f"x{index}", {"x": x, "n": 2, "k": [1, 2]})
    np.testing.assert_array_equal(run(body, {"x": x})["y"], expected)


def test_promises_hold_for_the_new_name_only() -> None:
    model = graph(
        """
        input x : [2] from client in [-8, 8]
        y = x in [0, 1]
        z = x * y in [-4, 4]
        output a = z to client output b = y to client output c = x * 1 to client
        """
    )
    ranges = {each.name: each.value.range for each in model.outputs}
    assert ranges == {"a": Interval(-4, 4), "b": Interval(0, 1), "c": Interval(-8, 8)}
    assert len(model.inputs) == 1 and model.inputs[0].range == Interval(-8, 8)


def test_values_know_their_lines() -> None:
    model = graph("input x : [2] from client\ny = x + 1\nz = y * y\noutput w = z |> relu\n  |> sigmoid to client")
    assert model.outputs[0].value.name == "w"
    assert model.outputs[0].span is not None and model.outputs[0].span.line == 4


def test_unused_declarations_are_warned_of() -> None:
    body = """role spare
        input x : [1, 2] from client
        input idle : [2] from client
        param w : [2] from modeller
        layer fc = dense(2) layer block[0] = dense(3)
        weights from modeller
        y = x * 2
        y = x * 3
        def f(a, unused) { b = a * 2 c = a * 3 return b }
        for i in 0..2 { t = x + i }
        output z = f(y, 1) to client
    """
    found = {(each.line, each.message) for each in warnings(body)}
    assert found == {
        (1, "the role `spare` is never used"),
        (3, "the input `idle` is never used"),
        (4, "the param `w` is never used"),
        (5, "the layer `fc` is never used"),
        (5, "the layer `block[0]` is never used"),
        (7, "the value `y` is never used"),
        (9, "the value `c` is never used"),
        (10, "the value `t` is never used"),
    }
    assert all(each.severity == "warning" for each in warnings(body))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("argmax(x)", "argmax without an axis gives one place among all 12 elements of [4, 3]"),
        ("x |> argmax", "argmax without an axis gives one place among all 12 elements of [4, 3]"),
        ("argmax(x, axis=1)", None),
        ("argmax(x[0])", None),
        ("argmax(transpose(x))", None),
    ],
)
def test_argmax_over_all_rows_of_a_batch_is_warned_of(expression: str, message: str | None) -> None:
    body = f"dim batch = 4 input x : [batch, 3] from client output y = {expression} to client"
    assert [each.message for each in warnings(body, "model m role client ")] == ([message] if message else [])


def test_a_model_that_uses_everything_has_no_warnings() -> None:
    body = """
        def f(x, n) { layer fc = dense(n) h = x |> fc return h }
        input x : [1, 2] from client
        layer g[0] = f(2) layer g[1] = f(2)
        weights from modeller
        h = x
        for i in 0..2 { h = h |> g[i] }
        output h to client
    """
    assert warnings(body) == []


def test_independent_errors_come_together_and_their_followers_do_not() -> None:
    found = errors(
        """
        input x : [2, 3] from nobody
        input z : [2, 3] from client
        a = x + unknown1
        b = a * 2 + unknown2 + b
        layer fc = dense(unknown3)
        c = z |> fc |> relu
        d = z + [1, 2]
        for i in 0..unknown4 { e = z + i }
        output y = a + b + c + d + e to client
        """
    )
    assert [(each.line, each.message.split("`")[1]) for each in found] == [
        (2, "nobody"),
        (4, "unknown1"),
        (5, "unknown2"),
        (5, "b"),
        (6, "fc"),
        (6, "unknown3"),
        (8, "+"),
        (9, "unknown4"),
    ]


def test_names_in_a_body_that_never_runs_are_checked() -> None:
    found = errors(
        """
        input x : [2] from client
        def f(x) { return rleu(x) + nothing }
        for i in 0..0 {
            for j in i..3 { h = x + j + unknwon }
            k = h |> relo
        }
        output x to client
        """
    )
    assert [(each.line, each.message.split("`")[1]) for each in found] == [
        (3, "rleu"),
        (3, "nothing"),
        (5, "unknwon"),
        (6, "relo"),
    ]


def test_a_loop_without_a_turn_is_warned_of_when_it_never_makes_one() -> None:
    body = "input x : [1] from client y = x for i in 0..2 { for j in 0..i { y = y + j } } for i in 3..1 { y = y * 2 }"
    assert [each.message for each in warnings(f"{body} output y to client", "model m role client ")] == [
        "this loop has no iterations"
    ]


def test_a_range_wider_than_the_format_is_an_error_where_it_stands() -> None:
    found = errors(
        """
        input x : [2] from client in [0, 1e12]
        input n : int[2] from client in [0, 2 ** 30]
        input b : [2] from client in [0, 2 ** 20]
        layer f = dense(1)
        weights from modeller in [-1e10, 1]
        output y = f(unsqueeze(x + n + b, 0)) to client
        precision fixed(bits=64, frac=22)
        """
    )
    assert [each.line for each in found] == [2, 3, 4, 6]
    assert found[0].message == "this range is [0, 1000000000000], and fixed(bits=64, frac=22) holds |v| < 262144"
    assert found[1].message == "this range is [0, 1073741824], and an int holds |v| < 1073741824"


def test_a_mistake_in_a_loop_or_definition_is_one_error() -> None:
    found = errors(
        """
        def f(x) { return x + [1, 2] }
        input x : [2, 3] from client
        h = x
        for i in 0..5 { h = x @ x }
        a = f(x) b = f(x)
        output y = a + b + h to client
        """
    )
    assert [each.line for each in found] == [2, 5]
    assert [note[0].line for note in found[0].notes][-1] == 6


def test_a_long_chain_needs_no_deep_stack() -> None:
    source = "model t role c input x : [1] from c h = x\n" + "h = h + 1\n" * 3000 + "output h to c"
    model, _ = lower(parse(source), {})
    assert len(model.values()) == 2 * 3000 + 1
