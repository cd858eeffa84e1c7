"""Every bad model of tests/errors is refused with the messages beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.lowering.model import lower
from compiler.pipeline import compile_source
from dsl import parse
from dsl.errors import SourceErrors, SyntaxErrors

ERRORS = Path(__file__).parents[2] / "errors"
GOOD = sorted((Path(__file__).parents[2] / "models").glob("*.ppml"))
MODELS = sorted(ERRORS.glob("*.ppml"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_bad_model(path: Path, golden: Callable[[str, str], None]) -> None:
    with pytest.raises(SourceErrors) as caught:
        lower(parse(path.read_text(), path.name))
    golden(str(path.with_suffix(".txt")), f"{caught.value}\n")
    assert [each for each in caught.value.diagnostics if not each.help] == [], "every error says what to do"


@pytest.mark.parametrize(
    "line",
    [
        "output y = topk(x, 9) to c",
        "output y = gather(x, x) to c",
        "output y = reshape(x, []) |> flatten to c",
        "output y = clip_norm(x, 0) to c",
        "output y = one_hot(x > 0, 0) to c",
        "output y = avgpool2d(x, 2, padding=2) to c",
        "output y = unlike(x) to c",
        "layer f = unlike(3) output y = x |> f to c",
        "budget unlike = dp(epsilon=1) output x to c",
        "dim n = 2.5 output x to c",
        "dim n = 0 output x to c",
        "for i in 0..unlike { y = x } output x to c",
    ],
)
def test_every_error_says_what_to_do(line: str) -> None:
    with pytest.raises(SourceErrors) as caught:
        compile_source(f"model m role c input x : [2, 3] from c in [0, 1] {line}", "m.ppml")
    assert [each.message for each in caught.value.diagnostics if not each.help] == []


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_whole_compiler_refuses_it_at_the_same_lines(path: Path) -> None:
    with pytest.raises(SourceErrors) as lowered:
        lower(parse(path.read_text(), path.name))
    with pytest.raises(SourceErrors) as compiled:
        compile_source(path.read_text(), path.name)
    assert set(compiled.value.diagnostics) >= set(lowered.value.diagnostics)


def test_errors_of_the_passes_come_with_those_of_lowering() -> None:
    with pytest.raises(SourceErrors) as caught:
        compile_source(
            """model m role c, d
            input x : [2] from c in [2, 3]
            param w : [2] from d in [2, 3]
            output a = (x + w) * 1e8 * 4 to c
            output b = unknown to c
            output e = (x + w) * 1e9 to c
            """,
            "m.ppml",
        )
    assert [each.line for each in caught.value.diagnostics] == [4, 5, 6]


def test_errors_of_what_could_be_read_come_with_those_of_the_grammar() -> None:
    with pytest.raises(SourceErrors) as caught:
        compile_source(
            """model m role c, d
            input x : [2, 3] from c
            w = x % 2
            layer f = dense(3
            output a = softmax(x, axis=2) to c
            output b = x @ x to c
            output e = f(w) @ x to c
            """,
            "m.ppml",
        )
    assert [each.line for each in caught.value.diagnostics] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("lines", "unknown"),
    [
        (["y = x + * 3", "k = x", "output z = yy + x to c"], ["yy"]),
        (["input y [3] from d", "k = x", "output z = y to e"], ["e"]),
        (["layer f dense(3)", "k = x", "layer g = dense(n)", "output z = x |> f |> g to c"], ["n"]),
        (["const t = [1, 2", "def f(u) { return u }", "output z = f(x) + q to c"], ["q"]),
        (["for i in 0..2 { h = x + }", "output z = h + q to c"], ["q"]),
        # What the statement may have bound, as whatever was meant
        (["layer f 1 = dense(3)", "output z = x |> f1 to c"], []),
        (["layer f1] = dense(3)", "output z = x |> f[1] to c"], []),
        (["layerf = dense(3) * ", "output z = x |> f to c"], []),
        (["layerf[1] = dense(3)", "layer f[0] = dense(3)", "output z = x |> f[1] to c"], []),
        (["layer = dense(3)", "output z = x |> f to c"], []),
        (["role e,", "output z = x to f"], []),
        (["for i in 0..2 { h = x }", "g = x }", "output z = h + i to c"], []),
    ],
)
def test_a_name_that_no_unreadable_statement_can_have_bound_is_unknown(lines: list[str], unknown: list[str]) -> None:
    text = "\n".join(["model m", "role c, d", "input x : [2, 3] from c in [0, 1]", *lines, "weights from d in [-1, 1]"])
    with pytest.raises(SyntaxErrors) as alone:
        parse(text)
    with pytest.raises(SourceErrors) as together:
        compile_source(text, "<text>")
    more = [each.message for each in together.value.diagnostics if each not in alone.value.diagnostics]
    assert [found for each in more for found in re.findall("unknown name `(.*)`|no role `(.*)` is", each)] == [
        (name, "") if name != "e" else ("", name) for name in unknown
    ]


@pytest.mark.parametrize(
    ("loss", "help"),
    [
        ("bce(s, y)", "did you mean `binary_cross_entropy_with_logits`?"),
        ("binary_cross_entropy(s, y)", "did you mean `binary_cross_entropy_with_logits`?"),
        ("MSELoss(s, y)", "did you mean `mse`?"),
    ],
)
def test_losses_of_other_libraries_are_known(loss: str, help: str) -> None:
    head = "model m\nrole c\ndim batch = 1\ninput x : [batch, 1] from c in [0, 1]\nparam w : [] from c\ns = x * w\n"
    block = f"train {{ input y : [batch, 1] from c in [0, 1]\nloss = {loss}\noptimizer = sgd(lr=0.1) }}"
    with pytest.raises(SourceErrors) as caught:
        compile_source(head + block, "m.ppml")
    assert [each.help for each in caught.value.diagnostics] == [help]
    with pytest.raises(SourceErrors) as caught:
        compile_source(f"{head}output z = {loss.replace(', y', ', x')} to c", "m.ppml")
    assert [each.help for each in caught.value.diagnostics] == ["a loss belongs in a `train { … }` block"]


@pytest.mark.parametrize(
    "statement",
    [
        "input v : bit[8] from d with randomized_response( )epsilon=1)",
        "output y = sum(x) to d with laplace( )epsilon=1)",
        "y = softmax( )x)",
    ],
)
def test_what_a_fault_has_cut_off_is_not_missed(statement: str) -> None:
    """The statement before the cut lacks what stands behind it, which reads as a statement of its own."""
    with pytest.raises(SourceErrors) as caught:
        compile_source(f"model m\nrole c, d\ninput x : [2] from c in [0, 1]\n{statement}\noutput z = x to c", "m.ppml")
    assert [each.message for each in caught.value.diagnostics] == ["this `)` closes nothing"]


@pytest.mark.parametrize("role", ["nobody", "c,"])
def test_the_clock_of_a_training_whose_role_is_not_known_is_no_unknown_name(role: str) -> None:
    text = f"""model m role c
    input x : [2, 3] from c in [0, 1]
    layer f = dense(1)
    weights from c in [-1, 1]
    s = x |> f
    train {{
        input label : [2, 1] from {role} in [0, 1]
        loss = mse(s, label)
        optimizer = sgd(lr=0.1 * 0.9 ** epoch)
    }}"""
    with pytest.raises(SourceErrors) as caught:
        compile_source(text, "m.ppml")
    assert {each.line for each in caught.value.diagnostics} == {7}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_slip_of_the_grammar_has_no_followers(data: st.DataObject) -> None:
    """What hangs on a statement that cannot be read is no error of its own."""
    text = data.draw(st.sampled_from(GOOD)).read_text(encoding="utf-8")
    code = re.sub(r"#.*", lambda comment: " " * len(comment[0]), text)
    piece = data.draw(st.sampled_from(list(re.finditer(r"\w+|[^\w\s]+", code))))
    slip = data.draw(
        st.sampled_from(["", f"{piece[0]} {piece[0]}", piece[0] + "$", piece[0] + " )", piece[0] + " = 1"])
    )
    text = text[: piece.start()] + slip + text[piece.end() :]
    try:
        parse(text)
    except SyntaxErrors as alone:
        with pytest.raises(SourceErrors) as together:
            compile_source(text, "<text>")
        assert together.value.diagnostics == alone.diagnostics
