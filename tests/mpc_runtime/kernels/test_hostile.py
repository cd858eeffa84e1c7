"""No argument makes a kernel do wrong: it is refused, or the result is that of the same words in plain arrays, in every
variant. A sanitizer build (`make sanitize`) also sees what is read or written beside an array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime import kernels
from mpc_runtime.kernels import CPU, Kernels, Prg
from tests.mpc_runtime.kernels.calls import CALLS, LAYOUTS, Call, Given

U = np.uint64

# What a caller's mistake may raise: a value that is wrong, a thing that is no number or array, a number beyond C's
# types, and more memory than there is.
REFUSALS = (ValueError, TypeError, OverflowError, MemoryError)

# No number between is here: a size that the machine just has room for would be filled.
NUMBERS = [0, 1, 2, 7, 63, 64, 65, 511, 512, 1 << 20, (1 << 40) + 1, (1 << 59) + 1, (1 << 61) - 1, 1 << 61, 1 << 62]
NUMBERS += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 200]
NUMBERS += [-n for n in NUMBERS if n]


@dataclass
class Seen:
    """A ledger: which bytes of which streams were said to be used."""

    uses: list[tuple[int, int, int]] = field(default_factory=list)

    def use(self, stream: int, first: int, last: int) -> None:
        assert 0 <= first <= last <= 16 << 64, (stream, first, last)
        self.uses.append((stream, first, last))


@st.composite
def hostile_calls(draw: st.DrawFn, right: Callable[[st.DrawFn], Call]) -> Call:
    """A right call of which up to two arguments are changed into what a careless or hostile caller may pass."""
    call = right(draw)
    for name in draw(st.lists(st.sampled_from([name for name, x in call.items() if x is not Prg]), max_size=2)):
        call[name] = draw(hostile(call[name]))
    return call


def hostile(x: Any) -> st.SearchStrategy[Any]:
    if isinstance(x, Given):
        return st.sampled_from(LAYOUTS).map(partial(Given, x.words))
    if isinstance(x, int):
        return st.sampled_from([*NUMBERS, None, "1", 1.5])
    if isinstance(x, Sequence) and not isinstance(x, str):
        number = st.sampled_from([*x, *NUMBERS])
        return st.one_of(st.lists(number, max_size=5), st.lists(number, min_size=len(x), max_size=len(x)))
    return st.sampled_from([None, "", "ab", 7, Given(np.zeros(3, U))])


def outcome(function: Callable[..., Any], call: Call, made: Callable[[Given], Any]) -> tuple[Any, ...]:
    """What a call returned and left in its arrays, and the uses of streams, or the class of error that it raised."""
    seen = Seen()
    prg = Prg(bytes(range(16)), ledger=seen)
    arguments = {n: prg if x is Prg else made(x) if isinstance(x, Given) else x for n, x in call.items()}
    receiver = [arguments.pop("self")] if "self" in arguments else []
    try:
        result = function(*receiver, **arguments)
    except REFUSALS:
        return ("refused",)
    results = result if isinstance(result, tuple) else (result,)
    # A product promises the low bits that it was asked for, in what it returns and in `out`, which is the same
    used = np.uint64(2 ** call["bits"] - 1) if "sign" in call else None
    left = {n: x.tolist() for n, x in arguments.items() if isinstance(x, np.ndarray) and (used is None or n != "out")}
    return [_low(x, used).tolist() if isinstance(x, np.ndarray) else x for x in results], left, seen.uses


def _low(x: np.ndarray, used: np.uint64 | None) -> np.ndarray:
    return x if used is None else x & used


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_call_is_refused_or_right(name: str, data: st.DataObject) -> None:
    function, right = CALLS[name]
    call = data.draw(hostile_calls(right))
    used, found = kernels.variant(), {}
    try:
        for variant in kernels.variants():
            kernels.set_variant(variant)
            found[variant] = outcome(function, call, Given.made)
        assert all(got == found["portable"] for got in found.values()), found
        if found["portable"] != ("refused",):
            kernels.set_variant("portable")
            assert found["portable"] == outcome(function, call, Given.simple)
    finally:
        kernels.set_variant(used)


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=10)
@given(data=st.data())
def test_a_right_call_is_not_refused(name: str, data: st.DataObject) -> None:
    """Else the property above would hold of kernels that refuse everything."""
    function, right = CALLS[name]
    assert outcome(function, data.draw(st.composite(right)()), Given.made) != ("refused",)


def test_every_kernel_is_called() -> None:
    functions = {x for x in vars(Kernels).values() if isinstance(x, staticmethod)}
    called = {function for function, _ in CALLS.values()}
    assert {getattr(CPU, x.__func__.__name__) for x in functions} <= called
    assert {getattr(kernels, n) for n in kernels.__all__ if n.islower()} - called == {
        kernels.prg_implementations,
        kernels.set_variant,
        kernels.variant,
        kernels.variants,
    }


def test_weights_without_a_row_are_refused() -> None:
    """They were taken for 2^-1 rows, and the memory behind them was read."""
    with pytest.raises(ValueError, match=r"weights: expected 2\^index_bits rows"):
        kernels.table_eval(np.ones(4, U), 3, 4, np.zeros((0, 2), np.int64), 32, np.zeros(128, np.uint8))


def test_a_stream_is_not_written_over_references() -> None:
    with pytest.raises(ValueError, match=r"out: expected .* object"):
        Prg(bytes(16)).fill(1, np.array([None, [], "x"], object))


@pytest.mark.parametrize("start", [(1 << 61) - 1, 1 << 61, (1 << 64) - 1])
def test_a_place_beyond_the_stream_is_refused(start: int) -> None:
    """Its number of bytes was taken mod 2^64: the kernel and its ledger were at the stream's beginning again."""
    prg = Prg(bytes(16), ledger=Seen())
    with pytest.raises(ValueError, match="stream"):
        prg.words(1, 2, start)
    with pytest.raises(ValueError, match="stream"):
        kernels.select_eval(np.ones(2, U), np.ones(2, np.uint8), 8, 1, 0, 4, 0, 1, 2, None, None, prg=prg, start=start)
