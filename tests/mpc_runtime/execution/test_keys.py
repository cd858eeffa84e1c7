"""The chain of seeds: both ends agree, an index is used once, and earlier keys cannot be had again."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from mpc_runtime.execution.keys import SeedChain, pair_key, pair_secret


def test_both_ends_agree_whatever_they_pass_over() -> None:
    seed = bytes(range(16))
    dealer, party = SeedChain(seed, "hash"), SeedChain(seed, "hash")
    keys = [dealer.take(j, "run") for j in range(6)]
    assert [party.take(j, "run") for j in (1, 2, 5)] == [keys[1], keys[2], keys[5]]
    assert len(set(keys)) == 6


def test_an_index_is_used_once() -> None:
    chain = SeedChain(bytes(16), "hash")
    chain.take(3, "run")
    for burnt in (0, 3):
        with pytest.raises(ValueError, match="used or discarded; the next is 4"):
            chain.take(burnt, "run")


def test_keys_are_bound_to_plan_procedure_and_index() -> None:
    keys = {SeedChain(bytes(16), h).take(j, p) for h in ("a", "b") for j in (0, 1) for p in ("setup", "run")}
    assert len(keys) == 8
    pairs = {pair_key(bytes(16), h, p, j) for h in ("a", "b") for j in (0, 1) for p in ("setup", "run")}
    assert len(pairs) == 8


def test_the_first_key_is_the_hmac_that_the_page_says() -> None:
    seed = bytes(range(16))
    expected = hmac.new(seed, b"use\0hash\0run", hashlib.sha256).digest()[:16]
    assert SeedChain(seed, "hash").take(0, "run") == expected
    assert pair_secret(b"a", b"b") != pair_secret(b"b", b"a")
