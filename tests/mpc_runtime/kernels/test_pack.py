"""Packing and bit planes against Python integers and NumPy's bit functions, for every kernel variant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_runtime import kernels

KEY = bytes(range(16))
EDGES = np.array([0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
WIDTHS = range(1, 65)


def values(n: int, seed: int = 0) -> np.ndarray:
    """n words, some of them edges."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**64, n, np.uint64)
    return np.where(rng.random(n) < 0.3, rng.choice(EDGES, n), x)


def packed_by_integers(x: np.ndarray, bits: int) -> bytes:
    """The definition: one long integer, element i at bit i * bits."""
    total = sum((int(v) % 2**bits) << (i * bits) for i, v in enumerate(x))
    return total.to_bytes((len(x) * bits + 7) // 8, "little")


def reduced(x: np.ndarray, bits: int) -> np.ndarray:
    return x & np.uint64(2**bits - 1)


def plane_words(bits: np.ndarray) -> np.ndarray:
    """Bits [n, P] to uint64[ceil(n / 512), P, 8] by NumPy."""
    n, P = bits.shape
    blocks = -(-n // 512)
    padded = np.zeros((blocks * 512, P), np.uint8)
    padded[:n] = bits
    rows = np.packbits(padded.reshape(blocks, 512, P).swapaxes(1, 2), axis=2, bitorder="little")
    return np.ascontiguousarray(rows).view(np.uint64)


def plane_wire(bits: np.ndarray) -> bytes:
    """Bits [n, P] to the wire format by NumPy: block, plane, bytes."""
    blocks = [bits[at : at + 512] for at in range(0, len(bits), 512)]
    return b"".join(
        np.packbits(block[:, p], bitorder="little").tobytes() for block in blocks for p in range(bits.shape[1])
    )


def random_bits(n: int, P: int) -> np.ndarray:
    return np.random.default_rng(n + 31 * P).integers(0, 2, (n, P), np.uint8)


@pytest.mark.parametrize("bits", WIDTHS)
def test_pack_is_one_long_integer(variant: str, bits: int) -> None:
    for n in (0, 1, 7, 63, 64, 65, 200):
        x = values(n, bits)
        wire = packed_by_integers(x, bits)
        packed = kernels.pack(x, bits)
        assert len(wire) == kernels.packed_size(n, bits) == packed.size
        assert packed.tobytes() == wire
        assert np.array_equal(kernels.unpack(wire, n, bits), reduced(x, bits))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 1500), bits=st.integers(1, 64), seed=st.integers(0, 99))
def test_every_variant_packs_alike_and_stays_in_its_buffer(n: int, bits: int, seed: int) -> None:
    used = kernels.variant()
    x, size = values(n, seed), kernels.packed_size(n, bits)
    try:
        for name in kernels.variants():
            kernels.set_variant(name)
            room = np.full(size + 64, 0xA5, np.uint8)
            kernels.pack(x, bits, room[:size])
            assert room[:size].tobytes() == packed_by_integers(x, bits)
            assert (room[size:] == 0xA5).all()
            words = np.full(n + 8, 7, np.uint64)
            kernels.unpack(room[:size].copy(), n, bits, words[:n])
            assert np.array_equal(words[:n], reduced(x, bits))
            assert (words[n:] == 7).all()
    finally:
        kernels.set_variant(used)


@pytest.mark.parametrize("bits", [1, 5, 8, 16, 31, 32, 41, 57, 58, 63, 64])
@pytest.mark.parametrize("n", [0, 1, 64, 512, 1339])
def test_fused_packing_is_packing_of_sums(variant: str, bits: int, n: int) -> None:
    prg = kernels.Prg(KEY)
    x, acc = values(n, 1), values(n, 2)
    w = prg.words(9, n, 5)
    masked, mask, packed = np.empty_like(x), np.empty_like(x), np.empty(kernels.packed_size(n, bits), np.uint8)

    kernels.mask_pack(prg, 9, x, bits, masked, packed, mask, start=5)
    assert np.array_equal(reduced(masked, bits), reduced(x + w, bits))
    assert np.array_equal(mask, w)
    assert packed.tobytes() == packed_by_integers(x + w, bits)

    in_place = x.copy()
    kernels.mask_pack(prg, 9, in_place, bits, in_place, packed, start=5)
    assert np.array_equal(in_place, masked)

    kernels.share_pack(prg, 9, x, bits, packed, start=5)
    assert packed.tobytes() == packed_by_integers(x - w, bits)

    expected = reduced(acc + reduced(x, bits), bits)
    kernels.unpack_add(kernels.pack(x, bits), bits, acc)
    assert np.array_equal(acc, expected)


def test_tiles_of_64_elements_join(variant: str) -> None:
    """A tile that starts at a multiple of 64 elements writes at its own bytes what the whole tensor writes there."""
    prg, x, bits = kernels.Prg(KEY), values(1000), 41
    whole, tiled = np.empty((2, kernels.packed_size(1000, bits)), np.uint8)
    masked = np.empty_like(x)
    kernels.mask_pack(prg, 1, x, bits, masked, whole)
    for begin, end in ((0, 192), (192, 640), (640, 1000)):
        to = tiled[begin * bits // 8 : begin * bits // 8 + kernels.packed_size(end - begin, bits)]
        kernels.mask_pack(prg, 1, x[begin:end], bits, masked[begin:end], to, start=begin)
    assert np.array_equal(tiled, whole)


@pytest.mark.parametrize("n", [0, 1, 8, 63, 64, 511, 512, 513, 1024, 1300])
@pytest.mark.parametrize("P", [1, 3, 65])
def test_planes_on_the_wire(variant: str, n: int, P: int) -> None:
    bits = random_bits(n, P)
    planes, wire = plane_words(bits), plane_wire(bits)
    assert kernels.planes_pack(planes, n).tobytes() == wire
    assert len(wire) == kernels.planes_size(n, P)
    assert np.array_equal(kernels.planes_unpack(wire, n, P), planes)
    acc = plane_words(random_bits(n, P)[::-1].copy())
    expected = acc ^ planes
    kernels.planes_unpack_xor(wire, n, acc)
    assert np.array_equal(acc, expected)


@pytest.mark.parametrize("n", [0, 1, 512, 1000, 1030])
@pytest.mark.parametrize("P", [1, 7, 129])
def test_planes_masked_by_a_stream(variant: str, n: int, P: int) -> None:
    prg = kernels.Prg(KEY)
    planes = plane_words(random_bits(n, P))
    w = kernels.planes_fill(prg, 4, n, P)
    assert np.array_equal(w.reshape(-1), prg.words(4, w.size))
    masked, packed = np.empty_like(planes), np.empty(kernels.planes_size(n, P), np.uint8)
    kernels.planes_mask_pack(prg, 4, planes, n, masked, packed)
    assert np.array_equal(masked, planes ^ w)
    assert packed.tobytes() == kernels.planes_pack(planes ^ w, n).tobytes()
    packed[:] = 0
    kernels.planes_share_pack(prg, 4, planes, n, packed)
    assert packed.tobytes() == kernels.planes_pack(planes ^ w, n).tobytes()


def test_tiles_of_plane_blocks_join(variant: str) -> None:
    """A tile that starts at a block takes its part of the stream and writes its part of the message."""
    prg, n, P = kernels.Prg(KEY), 1700, 5
    planes = plane_words(random_bits(n, P))
    masked, tiled = np.empty_like(planes), np.empty_like(planes)
    whole, parts = np.empty(kernels.planes_size(n, P), np.uint8), []
    kernels.planes_mask_pack(prg, 2, planes, n, masked, whole)
    for first, last in ((0, 1), (1, 3), (3, 4)):
        m = min(n, 512 * last) - 512 * first
        opened, shared = np.empty((2, kernels.planes_size(m, P)), np.uint8)
        kernels.planes_mask_pack(prg, 2, planes[first:last], m, tiled[first:last], opened, start_block=first)
        kernels.planes_share_pack(prg, 2, planes[first:last], m, shared, start_block=first)
        assert np.array_equal(opened, shared)
        assert np.array_equal(
            kernels.planes_fill(prg, 2, m, P, start_block=first), kernels.planes_fill(prg, 2, n, P)[first:last]
        )
        parts.append(opened)
    assert np.array_equal(tiled, masked)
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("n", [0, 1, 8, 63, 64, 65, 511, 512, 1301])
def test_bits_and_planes(variant: str, n: int) -> None:
    bits = random_bits(n, 3)
    for p in range(3):
        column = np.ascontiguousarray(bits[:, p])
        assert np.array_equal(kernels.bits_to_planes(column), plane_words(bits[:, p : p + 1]))
        assert np.array_equal(kernels.planes_to_bits(plane_words(bits), n, p), column)


def test_misuse_is_named() -> None:
    x = values(10)
    with pytest.raises(ValueError, match="bits: expected 1 to 64, found 65"):
        kernels.pack(x, 65)
    with pytest.raises(ValueError, match="buf: expected 20 bytes, found 19"):
        kernels.unpack(bytes(19), 10, 16)
    with pytest.raises(ValueError, match="found a strided uint64 array"):
        kernels.pack(x[::2], 8)
    with pytest.raises(ValueError, match=r"planes: expected the shape \(2, P, 8\) for 600 elements, found \(1, 3, 8\)"):
        kernels.planes_pack(np.zeros((1, 3, 8), np.uint64), 600)
    with pytest.raises(ValueError, match="plane: expected 0 to 0, found 1"):
        kernels.planes_to_bits(np.zeros((1, 1, 8), np.uint64), 5, 1)
    with pytest.raises(ValueError, match="mask: expected memory of its own"):
        kernels.mask_pack(kernels.Prg(KEY), 0, x, 8, np.empty_like(x), np.empty(10, np.uint8), x)
    read_only = values(3)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="found a C-contiguous read-only uint64"):
        kernels.unpack_add(bytes(24), 64, read_only)


@pytest.mark.parametrize("n", [-1, (1 << 40) + 1, (1 << 63) - 1])
def test_counts_whose_bits_would_overflow_are_refused(n):
    few = np.zeros(8, np.uint8)
    calls = [
        lambda: kernels.packed_size(n, 64),
        lambda: kernels.unpack(few, n, 64),
        lambda: kernels.planes_size(n, 1),
        lambda: kernels.planes_unpack(few, n, 1),
        lambda: kernels.planes_fill(kernels.Prg(KEY), 0, n, 1),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="n: expected a number of elements, 0 to 1099511627776"):
            call()


@pytest.mark.parametrize("planes", [-1, 65537, (1 << 63) - 1])
def test_more_planes_than_are_counted_are_refused(planes):
    few = np.zeros(8, np.uint8)
    for call in (
        lambda: kernels.planes_size(8, planes),
        lambda: kernels.planes_unpack(few, 8, planes),
        lambda: kernels.planes_fill(kernels.Prg(KEY), 0, 8, planes),
    ):
        with pytest.raises(ValueError, match="P: expected a number of planes, 0 to 65536"):
            call()
