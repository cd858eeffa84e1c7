"""Keys and TLS: who is let in is who has proved a key, and nobody can speak for the holder of another."""

from __future__ import annotations

import socket
import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from mpc_runtime.errors import InputError
from mpc_runtime.transport.identity import KeyPair, calling_context, check_public, hosting_context, peer_key
from tests.certificates import certificate, present
from tests.waiting import at_once

HOST, ALICE, BOB, MALLORY = (KeyPair.generate() for _ in range(4))


def met(host: ssl.SSLContext, caller: ssl.SSLContext) -> tuple[object, object]:
    """What both ends of a connection find: the other's key, or an error."""
    near, far = socket.socketpair()

    def hosting() -> str:
        with host.wrap_socket(near, server_side=True) as connection:
            connection.sendall(b"!")
            return peer_key(connection)

    def calling() -> str:
        with caller.wrap_socket(far) as connection:
            if connection.recv(1) != b"!":
                raise ConnectionError
            return peer_key(connection)

    first, second = at_once(hosting, calling)
    return first, second


def test_both_ends_learn_each_other_s_key() -> None:
    assert met(hosting_context(HOST, [ALICE.public, BOB.public]), calling_context(BOB, HOST.public)) == (
        BOB.public,
        HOST.public,
    )


def test_a_key_that_is_not_listed_and_a_host_that_is_another_are_refused() -> None:
    host = hosting_context(HOST, [ALICE.public, BOB.public])
    assert all(isinstance(end, OSError) for end in met(host, calling_context(MALLORY, HOST.public)))
    assert all(isinstance(end, OSError) for end in met(host, calling_context(ALICE, BOB.public)))


def test_where_nobody_is_listed_nobody_is_let_in() -> None:
    assert isinstance(met(hosting_context(HOST, []), calling_context(ALICE, HOST.public))[0], OSError)


def test_older_versions_of_tls_are_refused() -> None:
    caller = calling_context(ALICE, HOST.public)
    caller.minimum_version = caller.maximum_version = ssl.TLSVersion.TLSv1_2
    assert all(isinstance(end, OSError) for end in met(hosting_context(HOST, [ALICE.public]), caller))


def certified(chain: list[x509.Certificate], key: Ed25519PrivateKey) -> ssl.SSLContext:
    """A caller that presents these certificates."""
    context = calling_context(MALLORY, HOST.public)
    present(context, chain, key)
    return context


@pytest.mark.parametrize("through", ["own name", "name of another"])
def test_a_listed_key_cannot_vouch_for_another(through: str) -> None:
    """ALICE is listed and makes certificates as she likes: she is let in as herself or not at all."""
    own, made = ALICE.private(), Ed25519PrivateKey.generate()
    chain = {
        "own name": [certificate("mpc", made, ALICE.public, own)],
        "name of another": [
            certificate("mpc", made, BOB.public, made),
            certificate(BOB.public, made, ALICE.public, own, authority=True),
        ],
    }[through]
    found, _ = met(hosting_context(HOST, [ALICE.public, BOB.public]), certified(chain, made))
    assert found not in (ALICE.public, BOB.public)


def test_keys_survive_their_text() -> None:
    pair = KeyPair.generate()
    assert KeyPair.from_secret(pair.secret) == pair
    assert check_public(pair.public) == pair.public
    assert pair.secret not in repr(pair)


@given(st.text(max_size=45) | st.text(alphabet="0123456789abcdefghijABC#%!", min_size=40, max_size=40))
def test_what_is_no_key_is_refused(text: str) -> None:
    try:
        assert len(check_public(text)) == 40
        assert KeyPair.from_secret(text).secret == text
    except InputError as error:
        assert "of 40 Z85 characters" in str(error)


def test_no_secret_is_left_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    written: list[bytes] = []
    monkeypatch.setattr(Path, "unlink", lambda path: written.append(path.read_bytes()) or path.write_bytes(b""))
    calling_context(ALICE, HOST.public)
    assert len(written) == 1 and b"ENCRYPTED" in written[0]
    assert ALICE.private().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())[30:60] not in written[0]
