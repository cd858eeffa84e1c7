"""What a promise is said to be, and what its owner's client finds with the real weights.

Truth: the largest value that a linear layer of bounded inputs can have is known in closed form.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.proving import prove

SOURCE = """model m
role client, owner
dim batch = 4
input x : [batch, 3] from client in [-1, 1]
param w : [3, 2] from owner in [-8, 8]
h = x @ w in {promise}
output y = relu({result}) to client
"""
EVEN = np.full((3, 2), 0.5)  # every input within [-1, 1] gives at most 1.5


def compiled(promise: str = "[-2, 2]", result: str = "h") -> mpc.Program:
    return mpc.compile(text=SOURCE.format(promise=promise, result=result))


def claim(program: mpc.Program) -> tuple[str, str]:
    (found,) = program.plan.claims
    return found.known, found.owner


def test_what_ranges_prove_is_proved_when_it_is_compiled() -> None:
    assert claim(compiled("[-24, 24]")) == ("compiled", "")
    assert any("`h` (line 6) in [-24, 24] is proved" in line for line in compiled("[-24, 24]").leakage)


def test_what_depends_on_one_owners_weights_is_proved_when_they_are_provided() -> None:
    assert claim(compiled()) == ("provided", "owner")
    assert any("`h` (line 6) in [-2, 2] is checked by the client of owner" in line for line in compiled().leakage)


def test_what_was_measured_is_left_alone() -> None:
    program = compiled("measured [-2, 2]")
    assert claim(program) == ("measured", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mpc_prove(program, {"w": EVEN * 100})


def test_weights_of_two_owners_leave_it_to_the_author() -> None:
    text = SOURCE.replace("client, owner", "client, owner, other").replace("h = x @ w", "h = x @ (w * v)")
    text = text.replace("\nh = ", "\nparam v : [] from other in [-8, 8] h = ").format(promise="[-2, 2]", result="h")
    assert claim(mpc.compile(text=text)) == ("claimed", "")


def test_what_one_client_computes_is_no_claim() -> None:
    text = SOURCE.replace("h = x @ w in", "v = w * w in [0, 4] h = x @ v in").format(promise="[-24, 24]", result="h")
    assert [found.value for found in mpc.compile(text=text).plan.claims] == ["h"]


def mpc_prove(program: mpc.Program, params: dict[str, np.ndarray]) -> None:
    prove(program, {"owner": params})


def test_weights_that_keep_it_are_taken_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mpc_prove(compiled("[-1.5, 1.5]"), {"w": EVEN})


def test_weights_that_break_it_for_some_input_are_refused_at_their_line() -> None:
    message = (
        r"<text>:6: `h` is promised to be in \[-1, 1\], but with these weights it reaches \[-1.5, 1.5\] at \[0, 0\]"
    )
    with pytest.raises(mpc.InputError, match=message):
        mpc_prove(compiled("[-1, 1]"), {"w": EVEN})


def test_weights_that_break_it_for_every_input_are_refused() -> None:
    program = mpc.compile(text=SOURCE.replace("x @ w in", "relu(x @ w) + w[0] in").format(
        promise="[-1, 4]", result="h"))  # fmt: skip
    with pytest.raises(mpc.InputError, match=r"reaches \[5, 10\] at \[0, 0\]"):
        mpc_prove(program, {"w": np.array([[5.0, 1], [0, 0], [0, 0]])})


def test_what_intervals_cannot_decide_is_reported() -> None:
    program = mpc.compile(text=SOURCE.replace("x @ w in", "relu(x @ w) - relu(x @ w * 0.5) in").format(
        promise="[0, 1]", result="h"))  # fmt: skip
    with pytest.warns(mpc.PromiseWarning, match=r"<text>:6: `h` is promised to be in \[0, 1\]; with these weights its"):
        mpc_prove(program, {"w": EVEN})


def test_a_promise_is_not_proved_by_one_that_is_not() -> None:
    text = SOURCE.replace("output", "g = h * 2 in [-4, 4] output")
    program = mpc.compile(text=text.format(promise="measured [-2, 2]", result="g"))
    assert [each.known for each in program.plan.claims] == ["measured", "provided"]
    with pytest.raises(mpc.InputError, match="`g` is promised"):
        mpc_prove(program, {"w": EVEN * 4})


def test_the_session_refuses_before_anything_is_shared() -> None:
    with mpc.launch(compiled("[-1, 1]")) as session:
        with pytest.raises(mpc.InputError, match="<text>:6: `h` is promised"):
            session.provide({"w": EVEN})
        session.provide({"w": EVEN / 2})
        assert np.allclose(session.run(x=np.ones((4, 3)))["y"], 0.75, atol=1e-3)


def test_a_plan_without_its_source_says_so() -> None:
    program = compiled()
    stripped = replace(program.plan, source="")
    with pytest.warns(mpc.PromiseWarning, match="the plan has no source text"):
        mpc_prove(mpc.Program(stripped), {"w": EVEN})


TRAINED = """
train {
    input target : [batch, 2] from client in [0, 1]
    loss = mse(h, target)
    optimizer = sgd(lr=0.1)
}
"""


@pytest.mark.parametrize(
    ("promise", "checked", "told"),
    [
        ("[-2, 2]", False, 1),
        ("measured [-2, 2]", False, 1),
        ("[-2, 2]", True, 0),
        ("[-24, 24]", False, 1),  # follows from the range of the weights at first, which is not what they keep
        ("[-48, 48]", False, 0),  # follows from the range of the weights, which limits keep
    ],
)
def test_a_promise_about_trained_weights_is_warned_of(promise: str, checked: bool, told: int) -> None:
    """Nobody knows what they become: a prediction that breaks it would be wrong without a word."""
    text = SOURCE.format(promise=promise, result="h") + TRAINED
    warned = [w for w in mpc.compile(text=text, checked=checked).warnings if "after training" in w.message]
    assert len(warned) == told and all(w.line == 6 for w in warned)
    assert not [w for w in compiled(promise).warnings if "after training" in w.message]
