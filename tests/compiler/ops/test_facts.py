"""An op says all about itself, or cannot be defined; and what it says of itself is true."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest

import compiler.expand
from compiler import ops
from compiler.graph import FACTS, OPS, Leaf, Rounding, TensorOp

X = np.linspace(-7, 7, 57)
UNARY: dict[str, TensorOp] = {"Clip": ops.Clip(-1.5, 2.0), "LeakyRelu": ops.LeakyRelu(0.1), "Relu6": ops.Relu6(),
                              "Elu": ops.Elu(1.5), "Celu": ops.Celu(1.5)}  # fmt: skip
"""Ops of one tensor that have attributes, with some."""
BINARY = ("Add", "Sub", "Mul", "Div", "Minimum", "Maximum", "Greater", "GreaterEqual", "Less", "LessEqual", "Equal",
          "NotEqual", "MatMul")  # fmt: skip


@pytest.mark.parametrize("fact", FACTS)
def test_an_op_that_forgets_a_fact_cannot_be_defined(fact: str) -> None:
    facts = {
        "symbol": "forgetful",
        "infer": lambda self, *args: args[0].kind,
        "interval": lambda self, *args: args[0].range,
        "evaluate": lambda self, *arrays: arrays[0],
        "gradient": lambda self, args, result, gradient: (gradient,),
        "rows": lambda self, args, axes, shape: axes[0],
        "rounding": Rounding.NONE,
        "commutative": False,
        "monotone": False,
        "compares": False,
        "private": False,
        "sizes": (),
    }
    assert facts.keys() == set(FACTS)
    with pytest.raises(TypeError, match=f"Forgetful does not say its {fact}$"):
        type("Forgetful", (TensorOp,), {name: value for name, value in facts.items() if name != fact})


def test_two_ops_have_two_names() -> None:
    with pytest.raises(TypeError, match="an op Relu already"):

        @dataclass(frozen=True)
        class Relu(ops.Relu):
            """Another one."""


def test_an_op_without_an_expansion_and_one_with_two_stop_the_import() -> None:
    table = dict(compiler.expand.HANDLERS)
    assert table.keys() == {op for op in OPS.values() if op.private}
    with pytest.raises(TypeError, match="two expansions for Relu"):
        compiler.expand.complete(table, {ops.Relu: table[ops.Relu]})
    del table[ops.Relu]
    with pytest.raises(TypeError, match="Relu"):
        compiler.expand.complete(table)


@pytest.mark.parametrize("name", BINARY)
def test_commutative_ops_are_those_that_are(name: str) -> None:
    op = OPS[name]()
    random = np.random.default_rng(1)
    a, b = random.integers(1, 4, (2, 3, 3)).astype(float)
    same = np.array_equal(op.evaluate(a, b), op.evaluate(b, a))
    assert same is op.commutative


def test_no_binary_op_is_left_out() -> None:
    logic = {"And", "Or"}  # on bits; both commute
    assert all(OPS[name].commutative for name in logic)
    assert {name for name, op in OPS.items() if op.commutative} <= logic | set(BINARY)


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.monotone], ids=lambda op: op.__name__)
def test_monotone_ops_do_not_decrease(op: type[TensorOp]) -> None:
    y = UNARY.get(op.__name__) or op()
    assert (np.diff(y.evaluate(X)) >= 0).all()


def test_what_decreases_does_not_say_it_is_monotone() -> None:
    for name in ("Neg", "Square", "Abs", "Reciprocal"):
        assert (np.diff(OPS[name]().evaluate(X)) < 0).any() and not OPS[name].monotone


def test_sizes_are_fields_of_whole_numbers() -> None:
    found = {(name, each) for name, op in OPS.items() for each in op.sizes}
    assert found == {("Input", "shape"), ("Reshape", "shape"), ("BroadcastTo", "shape"), ("Slice", "counts"),
                     ("Spread", "shape")}  # fmt: skip
    types = {(name, field.name): str(field.type) for name, op in OPS.items() for field in fields(op)}
    assert {types[each] for each in found} == {"Shape", "tuple[int, ...]"}


def test_moves_round_nothing() -> None:
    exact = {name for name, op in OPS.items() if op.rounding is Rounding.NONE and not issubclass(op, Leaf)}
    moves = {"Reshape", "Transpose", "Slice", "Concat", "Pad", "BroadcastTo", "Spread", "Neg", "ToInt", "ToFixed",
                 "Chosen", "Bounded", "Dropout", "Mark"}  # fmt: skip
    decisions = {"Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual", "And", "Or", "Not", "ArgMax",
                 "OneHot", "Positive", "Larger", "Within", "WithinNorm", "BeyondNorms", "SquaredNorms", "Floor",
                 "Round", "Sort", "ArgSort"}  # fmt: skip
    assert exact == moves | decisions
