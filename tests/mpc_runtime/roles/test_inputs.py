"""Whose a value is: what one role gives in another's place is answered with its owner, before anything is shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.plan import ArrayRole, Plan
from mpc_runtime.program import prepare_feed
from mpc_runtime.roles.files import parameters
from mpc_runtime.roles.inputs import Given, by_name, check_names

MODEL = """model credit
role client, modeller, auditor
dim  batch = 2
input image : [batch, 3] from client in [0, 1]
layer fc = dense(1)
weights from modeller in [-1, 1]
output score = image |> fc to client
"""
SHAPES = {"image": (2, 3), "fc.weight": (1, 3), "fc.bias": (1,)}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return mpc.compile(text=MODEL).plan


@pytest.mark.parametrize(
    ("role", "names", "stage", "message"),
    [
        ("modeller", ["image"], "run", r"^image: is an input of client, not of modeller$"),
        (
            "client",
            ["fc.weight", "fc.bias"],
            "setup",
            r"^no parameters of this plan are client's; they are modeller's$",
        ),
        ("client", [], "setup", r"^no parameters of this plan are client's"),
        ("auditor", [], "run", r"^auditor has no part in a run of this plan, no input and no output, unlike client$"),
        ("client", ["image", "fc.bias"], "run", r"^fc\.bias: is a parameter of modeller, not of client$"),
        ("modeller", ["fc.weight", "fc.bias", "image"], "setup", r"^image: is an input of client, not of modeller$"),
        ("client", ["imag"], "run", r"image: missing; expected shape \[2, 3\]\n  imag: no such input; .*'image'\?"),
    ],
)
def test_a_role_is_told_whose_a_value_is(plan: Plan, role: str, names: list[str], stage: str, message: str) -> None:
    with pytest.raises(mpc.InputError, match=message):
        check_names(plan, role, names, stage)
    given = Given(plan, [role], prepare_feed, stacked=False)
    with pytest.raises(mpc.InputError, match=message):
        given.check(
            given.tensors(stage),
            {name: np.zeros(SHAPES.get(name, ())) for name in names},
            "parameter" if stage == "setup" else "input",
        )


def test_right_names_pass(plan: Plan) -> None:
    check_names(plan, "client", ["image"], "run")
    check_names(plan, "modeller", ["fc.weight", "fc.bias"], "setup")
    check_names(mpc.compile(text="model m role a input x : [2] from a output x to a").plan, "a", [], "setup")


def test_a_session_that_plays_all_roles_is_told_where_a_value_belongs(plan: Plan) -> None:
    given = Given(plan, plan.roles, prepare_feed, stacked=True)
    image, params = {"image": np.zeros((2, 3))}, {"fc.weight": np.zeros((1, 3)), "fc.bias": np.zeros(1)}
    with pytest.raises(mpc.InputError, match=r"fc\.bias: is a parameter of modeller; `provide` gives it$"):
        given.check(plan.inputs, {**image, "fc.bias": np.zeros(1)}, "input")
    with pytest.raises(mpc.InputError, match=r"image: is an input of client; `run` or `mpcc submit` gives it$"):
        given.check(plan.params, {**params, **image}, "parameter")


def test_the_members_of_an_array_role_get_the_same_help() -> None:
    plan = mpc.compile(text="model m role h[2] input x : [4, 1] from h in [0, 1] output y = sum(x) to h").plan
    given = Given(plan, plan.roles, prepare_feed, stacked=True)
    for value, message in ((np.zeros((2, 4)), r"np\.reshape\(x, \[2, 4, 1\]\)"), ("x.npy", "found the text")):
        with pytest.raises(mpc.InputError, match=message):
            given.check(plan.inputs, {"x": value}, "input")


def test_an_array_role_is_named_as_one() -> None:
    plan = mpc.compile(
        text="model m role h[9], c input x : [4] from h in [0, 1] input w : [4] from c output y = sum(x) * w to c"
    ).plan
    with pytest.raises(mpc.InputError, match=r"x: is an input of h, not of c$"):
        check_names(plan, "c", ["w", "x"], "run")
    check_names(plan, "h[3]", ["x"], "run")


@pytest.mark.parametrize(
    ("inputs", "params", "message"),
    [
        ({"imag": 0}, {}, r"image: missing"),
        ({"image": np.zeros((2, 3)), "z": 1}, None, r"z: no such input; the plan has image"),
        ({"image": "x.npy"}, None, r"image: expected numbers, found the text"),
    ],
)
def test_a_simulation_refuses_what_a_session_refuses(inputs: dict[str, Any], params: Any, message: str) -> None:
    params = {"fc.weight": np.zeros((1, 3)), "fc.bias": np.zeros(1)} if params is None else params
    with pytest.raises(mpc.InputError, match="missing" if not params else message):
        mpc.compile(text=MODEL).simulate(inputs, params)


def test_an_input_of_training_is_none_of_a_run() -> None:
    text = """model m role a, b dim batch = 2
    input x : [batch, 3] from a in [0, 1]
    layer fc = dense(1)
    weights from b in [-1, 1]
    s = x |> fc
    output s to a
    train {
        input label : [batch, 1] from a in [0, 1]
        loss = mse(s, label)
        optimizer = sgd(lr=0.1)
        metric loss to b
    }"""
    plan = mpc.compile(text=text).plan
    given = Given(plan, plan.roles, prepare_feed, stacked=True)
    with pytest.raises(mpc.InputError, match=r"^label: is an input of training of a; `train` and `fit` give it$"):
        given.check(given.tensors("run"), {"x": np.zeros((2, 3)), "label": np.zeros((2, 1))}, "input")


@pytest.mark.parametrize("name", [0, None, b"x", ("x",)])
def test_names_are_texts(name: object) -> None:
    with pytest.raises(mpc.InputError, match="inputs: expected names that are texts, found"):
        by_name({"x": 1, name: 2}, {})
    with pytest.raises(mpc.InputError, match="parameters: expected names that are texts, found"):
        parameters({"w": 1, name: 2}, {}, ["w"], strict=False)
    with pytest.raises(mpc.InputError, match="inputs: expected names that are texts, found"):
        mpc.compile(text=MODEL).reference({"image": 1, name: 2})  # type: ignore[dict-item]


def test_a_tensor_of_which_only_bits_are_shared_is_checked_to_the_format_s_precision() -> None:
    text = """model m
    role a, b
    input x : [2] from a in [0, 0.1]
    input i : int[2] from b in [0, 3]
    output y = where(x > 0.05, i, 0) to b
    """
    plan = mpc.compile(text=text).plan
    assert [feed.scale for feed in plan.feeds] == [0, 0]
    given = Given(plan, ["a"], prepare_feed, stacked=False)
    tensors = given.tensors("run")
    half = 2.0**-17
    given.check(tensors, {"x": [0.1 + half, -half]}, "input")
    with pytest.raises(mpc.InputError, match=r"^x\[1\]: expected a value in \[0, 0\.1\], found 0\.11"):
        given.check(tensors, {"x": [0, 0.11]}, "input")


def test_the_members_of_an_array_role_are_called_by_its_name() -> None:
    text = """model m
    role hospital[2], analyst
    input x : [2] from hospital in [0, 1]
    input w : [] from hospital[1] in [0, 1]
    output y = sum(x) * w to analyst
    """
    plan = mpc.compile(text=text).plan
    assert plan.array_roles == (ArrayRole("hospital", ("hospital[0]", "hospital[1]")),)
    assert {(t.name, t.role, t.stacked) for t in plan.inputs} == {
        ("x", "hospital[0]", True),
        ("x", "hospital[1]", True),
        ("w", "hospital[1]", False),
    }
    with pytest.raises(mpc.InputError, match=r"^x: is an input of hospital, not of analyst$"):
        check_names(plan, "analyst", ["x"], "run")
    given = Given(plan, ["hospital[1]"], prepare_feed, stacked=False)
    with pytest.raises(mpc.InputError, match=r"^x of hospital\[1\]\[0\]: expected"):
        given.check([t for t in given.tensors("run") if t.name == "x"], {"x": [2, 0]}, "input")
