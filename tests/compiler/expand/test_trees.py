"""Trees on shares: every path of every tree, and rows one step from a threshold. Truth: a walk from the root."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.machines import run_plan

STEP = 2.0**-16
SOURCE = """model trees
role client, owner
dim batch = 4
input x : [batch, {features}] from client in [-8, 8]
layer f = forest({trees}, depth={depth}, outputs={outputs})
weights from owner {public} in [-8, 8]
output y = x |> f to client
"""


def walk(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """[batch, outputs]: from each root to a leaf, a node at a time."""
    feature, threshold, leaf = w["f.feature"], w["f.threshold"], w["f.leaf"]
    found = np.zeros((len(x), leaf.shape[2]))
    for i, row in enumerate(x):
        for tree, nodes in enumerate(feature):
            node = 0
            while node < len(nodes):
                node = 2 * node + (1 if row[nodes[node]] <= threshold[tree, node] else 2)
            found[i] += leaf[tree, node - len(nodes)]
    return found


def program(trees: int, depth: int, outputs: int, batch: int, features: int = 3, public: str = "") -> mpc.Program:
    source = SOURCE.format(trees=trees, depth=depth, outputs=outputs, features=features, public=public)
    return mpc.compile(text=source, dims={"batch": batch})


@pytest.mark.parametrize("public", ["", "public"])
@pytest.mark.parametrize(("depth", "outputs"), [(1, 1), (3, 5), (4, 1), (5, 2), (9, 1)])
def test_every_leaf_is_reached_and_no_other(depth: int, outputs: int, public: str) -> None:
    """A tree that bisects [0, 2^depth) has a row for each leaf, and its leaves say their place."""
    ends = 1 << depth
    threshold = np.concatenate([(np.arange(1 << level) + 0.5) * (ends >> level) for level in range(depth)])
    scale = 8 / ends
    leaf = np.stack([np.arange(ends) * scale - o for o in range(outputs)], axis=1)
    w = {
        "f.feature": np.ones((1, ends - 1), np.int64),
        "f.threshold": threshold[None] * scale,
        "f.leaf": leaf[None],
    }
    x = np.zeros((ends, 3))
    x[:, 1] = (np.arange(ends) + 0.5) * scale
    found = run_plan(program(1, depth, outputs, ends, public=public).plan, {"x": x}, w).results["y"]
    assert np.abs(found - leaf).max() <= STEP


def test_a_row_on_a_threshold_goes_left_and_one_a_step_above_goes_right() -> None:
    random = np.random.default_rng(3)
    trees, depth, batch = 6, 3, 64
    w = {
        "f.feature": random.integers(0, 3, (trees, 7)),
        "f.threshold": random.integers(-3, 4, (trees, 7)) * STEP,
        "f.leaf": random.integers(-8, 9, (trees, 8, 1)) / 2,
    }
    x = random.integers(-4, 5, (batch, 3)) * STEP
    found = run_plan(program(trees, depth, 1, batch).plan, {"x": x}, w).results["y"]
    assert np.array_equal(found, walk(x, w))


def test_the_rounds_do_not_grow_with_the_depth_of_a_block() -> None:
    assert program(2, 2, 1, 8).cost.rounds == program(2, 4, 1, 8).cost.rounds
    assert program(2, 8, 1, 8).cost.rounds == program(2, 4, 1, 8).cost.rounds + 1


def test_a_feature_that_is_none_is_refused_by_its_owners_client() -> None:
    plan = program(1, 1, 1, 4)
    good = {"f.feature": np.array([[2]]), "f.threshold": np.zeros((1, 1)), "f.leaf": np.zeros((1, 2, 1))}
    with mpc.launch(plan) as session:
        with pytest.raises(mpc.InputError, match=r"f\.feature\[0, 0\]: expected a value in \[0, 2\], found 3"):
            session.provide({**good, "f.feature": np.array([[3]])})
        with pytest.raises(mpc.InputError, match=r"f\.feature\[0, 0\]: expected a whole number, found 0\.5"):
            session.provide({**good, "f.feature": np.array([[0.5]])})
        session.provide(good)
        assert np.array_equal(session.run(x=np.zeros((4, 3)))["y"], np.zeros((4, 1)))
