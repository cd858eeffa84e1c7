"""What is released of an input with a budget, and noise that cannot be."""

from __future__ import annotations

import pytest

import mpc_runtime as mpc

HEAD = """model m
role client, modeller
input x : [2, 3] from client in [0, 1]
input z : [2, 3] from modeller in [0, 1]
input vote : bit[2] from client with randomized_response(epsilon=1)
budget x = dp(epsilon=3, delta=1e-5)
budget vote = dp(epsilon=3)
"""
NO_NOISE = "the output `r` depends on `x`, which has a budget, and has no noise"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("sum(x * z) to modeller", NO_NOISE),
        ("sum(x) to modeller", NO_NOISE),  # which its client computes alone
        ("x[0, 0] to client", NO_NOISE),
        ("sum(z * 0) to client with laplace(epsilon=1)", "no person can move `r`, so noise would hide nothing"),
        ("mean(x) to client with laplace(epsilon=1e-10)", "the format has no room for the noise of `r`"),
    ],
)
def test_refused_at_the_output(output: str, message: str) -> None:
    with pytest.raises(mpc.CompileError, match=message) as error:
        mpc.compile(text=HEAD + f"output r = {output}")
    assert [each.line for each in error.value.diagnostics] == [8]  # type: ignore[attr-defined]


def test_what_does_not_depend_on_it_and_what_is_answered_at_random_needs_no_noise() -> None:
    program = mpc.compile(text=HEAD + "output votes = sum(vote) to modeller\noutput r = sum(z) to client")
    assert [budget.source for budget in program.plan.budgets] == ["x", "vote"]


def test_the_manifest_says_all_of_it() -> None:
    text = (
        HEAD + "k = x * z in [0, 1]\noutput r = sum(k) to modeller with gaussian(epsilon=1, delta=1e-5, sensitivity=3)"
    )
    leakage = mpc.compile(text=text, checked=True).leakage
    for wanted in (
        "output `r` has discrete Gaussian noise, the dealer's: epsilon 1, delta 1e-05 if one row of an owner's input "
        "moves it by at most 3 in L2, with 3.05176e-05 for rounding, as its author claims, which nothing proves",
        "the dealer knows the noise of `r`: together with modeller it could take it off",
        "`x` of client has a budget of epsilon 3, delta 1e-05: p0 and p1 refuse what would exceed it, by their ledgers "
        "of the dataset that its owner names",
        "`vote` of client is answered at random by its own client: each bit is flipped with probability "
        "1 / (1 + exp(1))",
        "whether promises were kept is told without noise: these bits are outside epsilon",
    ):
        assert wanted in leakage
