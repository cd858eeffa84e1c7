"""The facade's own words: what a program prints as, and what it refuses."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mpc_runtime as mpc

UNUSED = """model m
role a
input x : [3] from a in [0, 1]
input z : [3] from a in [0, 1]
output y = x * x to a
"""
MANY = "model m role a dim n = 2 input x : [n] from a output x to a"


def test_a_program_prints_as_a_line() -> None:
    program = mpc.compile(text="model m role a input x : [2, 3] from a output y = x * 2 to a")
    plan = program.plan.hash[:16]
    assert repr(program) == f"<Program m, plan {plan}: inputs x [2, 3]; 0 parameters; outputs y [2, 3]>"


def test_launch_wants_a_program() -> None:
    with pytest.raises(mpc.InputError, match=r"expects a Program.*'m\.ppml'"):
        mpc.launch("m.ppml")  # type: ignore[arg-type]


def test_warnings_go_through_warnings_at_the_callers_line_however_often() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        programs = [mpc.compile(text=UNUSED) for _ in range(3)]
    assert [w.category for w in caught] == [mpc.CompileWarning] * 3
    assert {(w.filename, w.lineno) for w in caught} == {(__file__, _line_of("mpc.compile(text=UNUSED) for"))}
    (diagnostic,) = programs[0].warnings
    assert str(caught[0].message) == str(diagnostic)
    assert caught[0].message.diagnostic == diagnostic  # type: ignore[union-attr]
    assert str(diagnostic).splitlines()[:3] == [
        "<text>:4:7: warning: the input `z` is never used",
        "    4 | input z : [3] from a in [0, 1]",
        "      |       ^",
    ]


def test_warnings_can_be_silenced_and_made_errors() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", mpc.CompileWarning)
        mpc.compile(text=UNUSED)
    assert not caught
    with warnings.catch_warnings(), pytest.raises(mpc.CompileWarning, match="never used"):
        warnings.simplefilter("error", mpc.CompileWarning)
        mpc.compile(text=UNUSED)


def _line_of(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_an_error_prints_its_lines_one_by_one() -> None:
    with pytest.raises(mpc.CompileError) as found:
        mpc.compile(text=UNUSED.replace("x * x", "x * q + r"))
    assert str(found.value) == "\n".join(map(str, found.value.diagnostics))
    assert "    5 | output y = x * q + r to a" in str(found.value.diagnostics[0])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"path": UNUSED}, r"looks like a model's text: compile\(text=…\)"),
        ({"path": "model m role a input x : [3] from a output x to a"}, r"looks like a model's text"),
        ({"path": 3}, "expects a path, found int"),
        ({"text": "price.ppml"}, r"looks like a path: compile\('price.ppml'\), without text="),
        ({"text": UNUSED.encode()}, "expects the model's text, found bytes"),
        ({"text": UNUSED, "dims": [8]}, r'expects dims=\{"batch": 8\}, found \[8\]'),
        (
            {"text": MANY, "dims": {"n": 10**5000}},
            "the dim `n` is a whole number of at least 1, but one beyond 2.63 is given for it",
        ),
        ({"text": MANY, "dims": {"n": "8"}}, "the dim `n` is a whole number of at least 1, but '8' is given for it"),
        ({"text": UNUSED, "network": 3}, "network: expected `lan`"),
        ({}, "either a path or text="),
        ({"path": "a\0b"}, "a\0b: cannot be read"),
    ],
)
def test_common_slips_of_compile(given: dict[str, object], expected: str) -> None:
    with pytest.raises(mpc.Error, match=expected):
        mpc.compile(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("slip", "expected"),
    [
        (lambda p: p.reference(np.zeros(3)), "inputs: expected a dict, name to array, found ndarray"),
        (lambda p: p.reference([1]), "inputs: expected a dict, name to array, found list"),
        (lambda p: p.simulate({"x": [0, 0, 0]}, [1]), "params: expected a dict, name to array, found list"),
        (lambda p: p.reference({"x": "x.npy"}), "x: expected numbers, found the text"),
        (lambda p: p.save("/nosuch/m.plan"), "/nosuch/m.plan: cannot be written"),
        (lambda p: p.initial_weights("a"), "seed: expected a whole number of at least 0 and below 2.63, found 'a'"),
        (lambda p: p.initial_weights(-1), "seed: expected a whole number of at least 0 and below 2.63, found -1"),
        (lambda p: mpc.launch(p, timeout="1"), "timeout: expected a number of seconds above 0, found '1'"),  # type: ignore[arg-type]
        (lambda p: mpc.launch(p, window="x"), "window: expected a whole number of bytes from 0, such as .*, found 'x'"),  # type: ignore[arg-type]
        (
            lambda p: mpc.deal(p, "/nosuch/m", runs=1, progress=3),
            r"progress: expected a function of \(done, total\), found 3",
        ),  # type: ignore[arg-type]
        (lambda p: mpc.load(3), "load expects the path of a plan, found int"),  # type: ignore[arg-type]
        (lambda p: mpc.connect("c.toml", "m.plan", role="a"), "connect expects a Program"),  # type: ignore[arg-type]
    ],
)
def test_common_slips_with_a_program(slip: Callable[[mpc.Program], object], expected: str) -> None:
    with pytest.raises(mpc.Error, match=expected):
        slip(mpc.compile(text=UNUSED))


SCALED = """model m
role a, b
input image : [2] from a in [0, 1]
param w : [2] from b in [-1, 1]
output y = image * w to a
"""
TRAINED = (
    SCALED
    + """train {
    input want : [2] from a in [0, 1]
    loss = mse(y, want)
    optimizer = sgd(lr=0.1)
}
"""
)


@pytest.mark.parametrize(
    ("inputs", "params", "expected"),
    [
        ({"imgae": [0, 1]}, {"w": [0, 1]}, "imgae: no such input; did you mean 'image'?"),
        ({"image": [0, 1], "z": 1}, {"w": [0, 1]}, "z: no such input; the plan has image"),
        ({"image": [0, 1]}, {"w": [0, 1], "v": 1}, "v: no such parameter; the plan has w"),
        ({"image": [0, 1], "w": [0, 1]}, {}, "w: missing; expected shape [2]"),
        ({"image": [0, 2]}, {"w": [0, 1]}, "image[1]: expected a value in [0, 1], found 2"),
        ({"image": [0, 1]}, {"w": [0, 3]}, "w[1]: expected a value in [-1, 1], found 3"),
    ],
)
def test_what_a_session_refuses_the_meaning_on_plaintext_refuses_too(
    inputs: dict[str, Any], params: dict[str, Any], expected: str
) -> None:
    program = mpc.compile(text=SCALED)
    for twin in (program.reference, program.simulate):
        with pytest.raises(mpc.InputError, match=re.escape(expected)):
            twin(inputs, params)


def test_plaintext_takes_what_training_has_made_of_weights_beyond_their_range_at_first() -> None:
    program, weights = mpc.compile(text=TRAINED), {"w": [3, -3]}
    assert program.reference({"image": [1, 1]}, weights)["y"].tolist() == [3, -3]
    rows = {"image": [1, 1], "want": [1, 1]}
    with pytest.raises(mpc.InputError, match="v: no such parameter; the plan has w"):
        program.reference({"image": [1, 1]}, {**weights, "v": 1})
    with pytest.raises(mpc.InputError, match="want: is an input of training of a; `train` and `fit` give it"):
        program.reference(rows, weights)


def test_a_size_may_be_a_number_of_numpy() -> None:
    assert mpc.compile(text=MANY, dims={"n": np.int64(5)}).plan.dims == (("n", 5),)


def test_a_plan_is_loaded_not_compiled(tmp_path: Path) -> None:
    mpc.compile(text=UNUSED).save(tmp_path / "m.plan")
    with pytest.raises(mpc.CompileError, match=r"m\.plan: this is a compiled plan: mpc\.load reads it"):
        mpc.compile(tmp_path / "m.plan")


def test_every_public_name_is_there() -> None:
    assert {name: getattr(mpc, name) for name in mpc.__all__}.keys() == set(mpc.__all__)
    assert set(mpc.__all__) <= set(dir(mpc))
