"""How roles share what they own and rebuild what they are sent (PROTOCOLS.md section 7).

    payload for p0 = seed (16 bytes, fresh) | public feeds, packed
    payload for p1 = pack(x - PRG(seed)) of each secret feed (bits: xor), public feeds packed, in plan order

Feed number i of a role and stage uses stream i of the seed. A result comes as one packed share from each party. Leaves
encoding to `fixed_point.py`, and who sends what when to `roles/client.py` and `servers/party.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from .. import kernels
from ..errors import PeerError
from ..plan import Feed, Result
from ..registers import Domain
from ..transport.channel import Buffer, as_bytes
from .fixed_point import decode

__all__ = ["gather", "parted", "payload_sizes", "rebuild", "result_size", "split"]

Array = np.ndarray

SEED_BYTES = 16


def _size(tensor: Feed | Result) -> int:
    """Bytes of one packed share of the tensor."""
    return _size_of(tensor, prod(tensor.shape))


def _size_of(tensor: Feed | Result, n: int) -> int:
    """The same for so many elements of it."""
    return kernels.packed_size(n, tensor.bits) if tensor.domain is Domain.WORDS else kernels.planes_size(n, 1)


def payload_sizes(feeds: Sequence[Feed]) -> tuple[int, int]:
    """Bytes that p0 and p1 get for these feeds of one role and stage."""
    public = sum(_size(f) for f in feeds if f.public)
    secret = sum(_size(f) for f in feeds if not f.public)
    return (SEED_BYTES if secret else 0) + public, secret + public


def result_size(result: Result) -> int:
    """Bytes of one party's share of a result."""
    return _size(result)


def split(feeds: Sequence[Feed], values: Mapping[str, Array]) -> tuple[Array, Array]:
    """The payloads for p0 and p1. values: feed name -> encoded tensor (uint64 words; bits as 0 or 1)."""
    sizes = payload_sizes(feeds)
    payloads = np.empty(sizes[0], np.uint8), np.empty(sizes[1], np.uint8)
    at = [0, 0]
    seed = os.urandom(SEED_BYTES)
    prg = kernels.Prg(seed)
    if any(not f.public for f in feeds):
        payloads[0][:SEED_BYTES] = np.frombuffer(seed, np.uint8)
        at[0] = SEED_BYTES
    for stream, feed in enumerate(feeds):
        x = np.ascontiguousarray(values[feed.name], np.uint64).reshape(-1)
        size = _size(feed)
        packed = payloads[1][at[1] : at[1] + size]
        at[1] += size
        if feed.public:
            _pack_clear(feed, x, packed)
            payloads[0][at[0] : at[0] + size] = packed
            at[0] += size
        elif feed.domain is Domain.WORDS:
            kernels.share_pack(prg, stream, x, feed.bits, packed)
        else:
            kernels.planes_share_pack(prg, stream, kernels.bits_to_planes(x.astype(np.uint8)), x.size, packed)
    return payloads


def gather(feeds: Sequence[Feed], party: int, payload: Buffer, role: str) -> dict[str, Array]:
    """This party's share of each feed, in the tensor's shape: uint64 words, or 0/1 as uint8.

    Raises PeerError, naming the role, when the payload has another length than the plan says.
    """
    data = as_bytes(payload)
    expected = payload_sizes(feeds)[party]
    if data.nbytes != expected:
        raise PeerError(f"{role} sent {data.nbytes} bytes of shares, where the plan has {expected}", role)
    at = 0
    prg = None
    if party == 0 and any(not f.public for f in feeds):
        prg = kernels.Prg(bytes(data[:SEED_BYTES]))
        at = SEED_BYTES
    shares = {}
    for stream, feed in enumerate(feeds):
        n, words = prod(feed.shape), feed.domain is Domain.WORDS
        if prg is not None and not feed.public:
            flat = prg.words(stream, n) if words else kernels.planes_to_bits(kernels.planes_fill(prg, stream, n, 1), n)
        else:
            size = _size(feed)
            flat = _unpack(feed, data[at : at + size])
            at += size
        shares[feed.name] = flat.reshape(feed.shape)
    return shares


def parted(result: Result, payload: Buffer, axis: int, counts: Sequence[int]) -> list[Array]:
    """One party's share of a result, cut along an axis into pieces of so many entries; what is left behind is dropped.

    Each piece is packed as a result of its own, so that no two of them share a byte.
    """
    share = _unpack(result, as_bytes(payload)).reshape(result.shape)
    pieces = np.split(share, np.cumsum(counts), axis)[: len(counts)]
    return [_packed(result, piece) for piece in pieces]


def rebuild(result: Result, payload0: Buffer, payload1: Buffer) -> Array:
    """The result from both parties' shares: float64, int64 or bool. PeerError when a share has the wrong length."""
    shares, expected = [], _size(result)
    for party, payload in enumerate((payload0, payload1)):
        data = as_bytes(payload)
        if data.nbytes != expected:
            raise PeerError(
                f"p{party} sent {data.nbytes} bytes for {result.name}, where the plan has {expected}", f"p{party}"
            )
        shares.append(_unpack(result, data))
    words = shares[0] + shares[1] if result.domain is Domain.WORDS else (shares[0] ^ shares[1]).astype(np.uint64)
    return decode(words, result.bits, result.scale, result.kind).reshape(result.shape)


def _pack_clear(tensor: Feed | Result, x: Array, packed: Array) -> None:
    if tensor.domain is Domain.WORDS:
        kernels.pack(x, tensor.bits, packed)
    else:
        kernels.planes_pack(kernels.bits_to_planes(x.astype(np.uint8)), x.size, packed)


def _packed(result: Result, share: Array) -> Array:
    x = np.ascontiguousarray(share).reshape(-1)
    packed = np.empty(_size_of(result, x.size), np.uint8)
    _pack_clear(result, x, packed)
    return packed


def _unpack(tensor: Feed | Result, data: memoryview) -> Array:
    n = prod(tensor.shape)
    if tensor.domain is Domain.WORDS:
        return kernels.unpack(data, n, tensor.bits)
    return kernels.planes_to_bits(kernels.planes_unpack(data, n, 1), n)
