"""Shares add up to what was shared; each party's payload alone has the plan's length and says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime.encoding.sharing import gather, payload_sizes, rebuild, result_size, split
from mpc_runtime.errors import PeerError
from mpc_runtime.plan import Feed, Result
from mpc_runtime.registers import Domain

SETTINGS = settings(max_examples=40, deadline=None)


def feed(name: str, shape: tuple[int, ...], bits: int, *, public: bool, domain: Domain = Domain.WORDS) -> Feed:
    return Feed(name, "client", shape, domain, bits, 0, public, name, "", 0.0, 1.0)


feeds = st.lists(
    st.tuples(st.integers(1, 700), st.integers(1, 64), st.booleans(), st.sampled_from([Domain.WORDS, Domain.BITS])),
    min_size=1,
    max_size=4,
)


@SETTINGS
@given(specs=feeds, seed=st.integers(0, 2**32 - 1))
def test_shares_add_up(specs: list[tuple[int, int, bool, Domain]], seed: int) -> None:
    made = [feed(f"f{i}", (n,), bits, public=public, domain=d) for i, (n, bits, public, d) in enumerate(specs)]
    random = np.random.default_rng(seed)
    values = {
        f.name: random.integers(0, 2 if f.domain is Domain.BITS else 2**64, f.shape, np.uint64, endpoint=False)
        for f in made
    }
    payloads = split(made, values)
    assert tuple(p.size for p in payloads) == payload_sizes(made)
    shares = [gather(made, party, payloads[party], "client") for party in (0, 1)]
    for f in made:
        a, b = shares[0][f.name], shares[1][f.name]
        if f.domain is Domain.BITS:
            total = a if f.public else a ^ b
            assert (total == values[f.name]).all()
        else:
            total = a if f.public else a + b
            assert not ((total - values[f.name]) & np.uint64(2**f.bits - 1)).any()
        assert a.shape == b.shape == f.shape
        if f.public:
            assert (a == b).all()


def test_a_share_is_fresh_and_uniform() -> None:
    made = [feed("x", (4096,), 64, public=False)]
    zeros = {"x": np.zeros(4096, np.uint64)}
    first, second = split(made, zeros), split(made, zeros)
    assert bytes(first[0]) != bytes(second[0])
    counts = np.bincount(first[1], minlength=256)
    expected = first[1].size / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 255 + 6 * np.sqrt(2 * 255)  # six standard deviations


def test_a_wrong_length_is_the_roles_fault() -> None:
    made = [feed("x", (3,), 10, public=False)]
    with pytest.raises(PeerError, match="client sent 3 bytes of shares, where the plan has 4") as caught:
        gather(made, 1, b"123", "client")
    assert caught.value.peer == "client"


@SETTINGS
@given(values=st.lists(st.integers(-500, 500), min_size=1, max_size=9), pad=st.integers(0, 2**64 - 1))
def test_results_are_rebuilt(values: list[int], pad: int) -> None:
    from mpc_runtime import kernels

    result = Result("y", ("client",), "fixed", (len(values),), ("",), Domain.WORDS, 12, 2)
    words = np.array([v & (2**64 - 1) for v in values], np.uint64)
    p0 = kernels.pack(words + np.uint64(pad), 12)
    p1 = kernels.pack(np.zeros_like(words) - np.uint64(pad), 12)
    assert p0.size == result_size(result)
    assert rebuild(result, p0, p1).tolist() == [v / 4 for v in values]
    with pytest.raises(PeerError, match="p1 sent"):
        rebuild(result, p0, b"")


def test_bits_are_rebuilt_by_xor() -> None:
    result = Result("y", ("client",), "bit", (2, 2), ("", ""), Domain.BITS, 1, 0)
    assert rebuild(result, b"\x0c", b"\x0a").tolist() == [[False, True], [True, False]]
