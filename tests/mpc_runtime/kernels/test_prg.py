"""Streams against published AES vectors and OpenSSL: the same bytes from every implementation, offset and chunking."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime import kernels
from mpc_runtime.kernels import Prg

ALL = kernels.prg_implementations()
KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
SP800_38A_COUNTER = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
SP800_38A_PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
SP800_38A_CIPHER = bytes.fromhex(
    "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
    "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"
)

streams = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])
keys = st.binary(min_size=16, max_size=16)


def keystream(key: bytes, stream: int, offset: int, size: int) -> bytes:
    """Bytes [offset, offset + size) of the stream, from OpenSSL."""
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
    iv = stream.to_bytes(8, "big") + (offset // 16).to_bytes(8, "big")
    aes = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CTR(iv)).encryptor()
    return aes.update(bytes(offset % 16 + size))[offset % 16 :]


def fill(prg: Prg, stream: int, offset: int, size: int) -> bytes:
    out = np.empty(size, np.uint8)
    prg.fill(stream, out, offset)
    return out.tobytes()


@pytest.mark.parametrize("implementation", ALL)
def test_fips197_vector(implementation: str) -> None:
    prg = Prg(bytes(range(16)), implementation=implementation)
    block = prg.blocks(0x0011223344556677, np.array([0x8899AABBCCDDEEFF], np.uint64))
    assert block.tobytes().hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


@pytest.mark.parametrize("implementation", ALL)
def test_sp800_38a_counter_mode(implementation: str) -> None:
    """F.5.1 of SP 800-38A; the counter's lower half wraps nowhere in it."""
    stream, block = (int.from_bytes(half, "big") for half in (SP800_38A_COUNTER[:8], SP800_38A_COUNTER[8:]))
    blocks = Prg(KEY, implementation=implementation).blocks(stream, np.arange(4, dtype=np.uint64) + np.uint64(block))
    expected = np.frombuffer(SP800_38A_PLAIN, np.uint8) ^ np.frombuffer(SP800_38A_CIPHER, np.uint8)
    assert np.array_equal(blocks.reshape(-1), expected)


@pytest.mark.parametrize("implementation", ALL)
@settings(max_examples=40, deadline=None)
@given(key=keys, stream=streams, word=st.integers(0, 2**40), size=st.integers(0, 1500))
def test_bytes_are_those_of_openssl(implementation: str, key: bytes, stream: int, word: int, size: int) -> None:
    prg = Prg(key, implementation=implementation)
    assert fill(prg, stream, 8 * word, size) == keystream(key, stream, 8 * word, size)


@pytest.mark.parametrize("implementation", ALL)
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=8), start=st.integers(0, 5))
def test_chunks_join_to_the_stream(implementation: str, cuts: list[int], start: int) -> None:
    prg = Prg(KEY, implementation=implementation)
    whole = Prg(KEY, implementation="sliced").words(7, 700, start)
    edges = sorted({0, *cuts, 700})
    parts = [prg.words(7, end - begin, start + begin) for begin, end in pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("implementation", ALL)
@pytest.mark.parametrize("n", [0, 1, 2, 31, 33, 70])
def test_gathered_blocks_are_blocks_of_the_stream(implementation: str, n: int) -> None:
    prg = Prg(KEY, implementation=implementation)
    numbers = np.random.default_rng(n).integers(0, 2**59, n, dtype=np.uint64)
    for number, block in zip(numbers, prg.blocks(5, numbers), strict=True):
        assert block.tobytes() == fill(prg, 5, 16 * int(number), 16)


@pytest.mark.parametrize("implementation", ALL)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (511,), (512,), (2, 1031)])
def test_fused_sums_are_sums(implementation: str, shape: tuple[int, ...]) -> None:
    prg = Prg(KEY, implementation=implementation)
    x = np.asarray(np.random.default_rng(1).integers(0, 2**64, shape, np.uint64))
    w = prg.words(2**64 - 1, x.size, 3).reshape(shape)
    assert np.array_equal(prg.add_words(2**64 - 1, x, start=3), x + w)
    assert np.array_equal(prg.sub_words(2**64 - 1, x, start=3), x - w)
    assert np.array_equal(prg.add_words(2**64 - 1, x, start=3, twice=True), x + x + w)
    assert np.array_equal(prg.sub_words(2**64 - 1, x, start=3, twice=True), x + x - w)
    alias = x.copy()
    assert prg.add_words(2**64 - 1, alias, alias, start=3) is alias
    assert np.array_equal(alias, x + w)


def test_each_variant_has_its_implementations() -> None:
    """Forcing a variant takes away what it does not cover, and the default is the first of the rest."""
    used = kernels.variant()
    try:
        for variant in kernels.variants():
            kernels.set_variant(variant)
            assert kernels.prg_implementations()[-1] == "sliced"
            assert Prg(KEY).implementation == kernels.prg_implementations()[0]
        kernels.set_variant("portable")
        assert kernels.prg_implementations() == ["sliced"]
    finally:
        kernels.set_variant(used)


def test_misuse_is_named() -> None:
    prg = Prg(KEY)
    with pytest.raises(ValueError, match="expected 16 bytes, found 15"):
        Prg(KEY[:15])
    with pytest.raises(ValueError, match=r"expected one of .*sliced.*found 'des'"):
        Prg(KEY, implementation="des")
    with pytest.raises(ValueError, match="multiple of 8 bytes, found 4"):
        prg.fill(0, np.empty(8, np.uint8), 4)
    with pytest.raises(ValueError, match="writable C-contiguous"):
        prg.fill(0, np.empty((8, 8))[:, ::2])
    with pytest.raises(ValueError, match=r"x: expected a C-contiguous uint64 array, found a C-contiguous int64"):
        prg.add_words(0, np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="out: expected 3 elements, found 4"):
        prg.add_words(0, np.zeros(3, np.uint64), np.zeros(4, np.uint64))
    with pytest.raises(OverflowError):
        prg.words(2**64, 1)
