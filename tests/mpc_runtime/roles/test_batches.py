"""Rows cut into batches and joined again are the rows; what cannot be joined is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime.errors import InputError
from mpc_runtime.roles.batches import Batches
from tests.mpc_runtime.plans import linear


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 5), rows=st.integers(1, 12))
def test_cut_and_joined_is_the_same(size: int, rows: int) -> None:
    plan = linear(batch=size)
    x = np.random.default_rng(rows).normal(size=(rows, 3))
    batches = Batches(plan, plan.inputs, plan.results, {"x": x}, frozenset())
    parts = list(batches)
    assert len(parts) == batches.runs == -(-rows // size)
    assert all(part["x"].shape == (size, 3) for part in parts)
    assert all((part["x"][:, None] == x).all(-1).any(1).all() for part in parts)  # only rows that were given
    cut = [batches.cut({"y": part["x"]}, size * n) for n, part in enumerate(parts)]
    assert (batches.join(cut)["y"] == x).all()
    assert batches.tensors(plan.inputs)[0].shape == (rows, 3)


def test_a_stack_of_members_is_cut_behind_its_first_axis() -> None:
    plan = linear(batch=2)
    x = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    parts = list(Batches(plan, plan.inputs, plan.results, {"x": x}, frozenset({"x"})))
    assert [part["x"].shape for part in parts] == [(2, 2, 3), (2, 2, 3)]
    assert (parts[1]["x"][:, 0] == x[:, 2]).all()


def test_results_in_which_rows_meet_take_a_whole_batch() -> None:
    from dataclasses import replace

    plan = linear(batch=2)
    sums = [replace(plan.results[0], dims=("", ""))]
    for rows in (1, 3):  # filled up, or several runs
        with pytest.raises(InputError, match="output y is not computed row by row"):
            Batches(plan, plan.inputs, sums, {"x": np.zeros((rows, 3))}, frozenset())
    Batches(plan, plan.inputs, sums, {"x": np.zeros((2, 3))}, frozenset())


def test_a_plan_without_batch_is_told_to_run() -> None:
    from dataclasses import replace

    plan = replace(linear(batch=2), dims=())
    with pytest.raises(InputError, match="use run"):
        Batches(plan, plan.inputs, plan.results, {"x": np.zeros((2, 3))}, frozenset())


@pytest.mark.parametrize(("shape", "rows"), [((3,), 2), ((4, 5, 3), 2), ((5, 3), 5)])
def test_rows_are_counted_where_the_rank_fits(shape: tuple[int, ...], rows: int) -> None:
    plan = linear(batch=2)
    batches = Batches(plan, plan.inputs, plan.results, {"x": np.zeros(shape)}, frozenset())
    assert batches.rows == rows  # a wrong rank is compared with the declared shape


def test_no_rows_are_refused() -> None:
    plan = linear(batch=2)
    with pytest.raises(InputError, match="at least one row"):
        Batches(plan, plan.inputs, plan.results, {"x": np.zeros((0, 3))}, frozenset())


class Differentiated:
    """A tensor that refuses NumPy as PyTorch's do while they carry a gradient."""

    def __init__(self, values: np.ndarray, requires_grad: bool = True) -> None:
        self.values, self.requires_grad = values, requires_grad

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self.values

    def detach(self) -> Differentiated:
        return Differentiated(self.values, requires_grad=False)

    def cpu(self) -> Differentiated:
        return self


def test_rows_are_taken_as_a_run_takes_them() -> None:
    plan = linear(batch=2)
    batches = Batches(plan, plan.inputs, plan.results, {"x": Differentiated(np.ones((5, 3)))}, frozenset())
    assert batches.rows == 5 and next(iter(batches))["x"].sum() == 6
    with pytest.raises(InputError, match="x: "):
        Batches(plan, plan.inputs, plan.results, {"x": [[1, 2, 3], [1]]}, frozenset())
