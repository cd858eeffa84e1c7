"""Keys of machines and roles (Ed25519), and TLS 1.3 between machines that know each other by them.

A key pair is two Z85 strings of 40 characters. There are no authorities and no names in certificates: a machine proves
that it has the secret half of a public key, and the other end looks the public key up in a list of its own.

TLS wants certificates, so each machine makes one when it starts: for its key, issued by the name of that key. Whoever
knows the public half makes a trust anchor of it by itself: the same name and the same key. OpenSSL thereby refuses all
other keys during the handshake, and `peer_key` compares the key of the certificate once more. Dates play no part, so
neither does a wrong clock. Leaves files and configuration to `deployment/cluster.py`.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from zmq.utils import z85

from ..errors import InputError

__all__ = [
    "Z85_KEY_LENGTH",
    "KeyPair",
    "calling_context",
    "check_public",
    "fingerprint",
    "hosting_context",
    "peer_key",
]

Z85_KEY_LENGTH = 40
KEY_BYTES = 32
FINGERPRINT_DIGITS = 32  # 128 bits: nobody finds another key that has them
_HANDSHAKE, _CERTIFICATE = 22, 11  # of TLS
_ALWAYS = datetime(1970, 1, 1), datetime(9999, 12, 31)
_BEARER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mpc")])


@dataclass(frozen=True)
class KeyPair:
    """An Ed25519 key pair, both halves in Z85."""

    public: str
    secret: str

    @staticmethod
    def generate() -> KeyPair:
        return KeyPair._of(Ed25519PrivateKey.generate())

    @staticmethod
    def from_secret(secret: str) -> KeyPair:
        """The pair of a secret key; `InputError` when it is no Z85 key."""
        return KeyPair._of(Ed25519PrivateKey.from_private_bytes(_decoded(secret, "a secret key")))

    @staticmethod
    def _of(key: Ed25519PrivateKey) -> KeyPair:
        return KeyPair(_encoded(key.public_key()), z85.encode(key.private_bytes_raw()).decode())

    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(z85.decode(self.secret))

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"  # a secret key belongs in no log


def check_public(key: str) -> str:
    """The key; `InputError` when it is no public key in Z85."""
    Ed25519PublicKey.from_public_bytes(_decoded(key, "a public key"))
    return key


def fingerprint(public: str) -> str:
    """Of a public key, to be compared by people: groups of four hexadecimal digits."""
    digits = hashlib.sha256(_decoded(public, "a public key")).hexdigest()[:FINGERPRINT_DIGITS]
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def _decoded(key: str, what: str) -> bytes:
    try:
        raw = z85.decode(key.encode("ascii")) if len(key) == Z85_KEY_LENGTH else b""
    except (ValueError, KeyError, struct.error):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise InputError(f"expected {what} of {Z85_KEY_LENGTH} Z85 characters")
    return raw


def _encoded(key: Ed25519PublicKey) -> str:
    return str(z85.encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode())


# -- TLS ---------------------------------------------------------------------------------------------------------------


def hosting_context(
    keys: KeyPair, allowed: Iterable[str], shown: Callable[[str], None] | None = None
) -> ssl.SSLContext:
    """For connections that are made to us, by the holders of these public keys only.

    shown: called with the key of each certificate that is shown, before it is verified; with "" if it is no key of
    ours.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, keys, allowed)
    context.num_tickets = 0  # each connection proves its key anew
    if shown is not None:
        _show_certificates(context, shown)
    return context


def _show_certificates(context: ssl.SSLContext, shown: Callable[[str], None]) -> None:
    """Python has no public way to learn what was refused. Without this one, keys are refused as well, unnamed."""

    def look(_: object, direction: str, __: object, content: int, kind: int, data: bytes) -> None:
        if direction == "read" and content == _HANDSHAKE and kind == _CERTIFICATE:
            start = 8 + data[4] if len(data) > 4 else 0  # behind a context and the length of the list
            size = int.from_bytes(data[start : start + 3], "big")
            try:
                shown(_key_of(data[start + 3 : start + 3 + size]))
            except ValueError:
                shown("")

    looks = getattr(ssl.SSLContext.__base__, "_msg_callback", None)
    if looks is not None:  # of the class below, as Python's own makes enumerations of the numbers of every record
        looks.__set__(context, look)


def calling_context(keys: KeyPair, host: str) -> ssl.SSLContext:
    """For connections that we make to the holder of this public key."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, keys, [host])


def peer_key(connection: ssl.SSLSocket) -> str:
    """The public key that the other end of a connection has proved to hold; empty if it is no key of ours."""
    return _key_of(connection.getpeercert(binary_form=True) or b"")


def _key_of(certificate: bytes) -> str:
    """The public key of a certificate in DER, ValueError when it is none; empty if it is no key of ours."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except UnsupportedAlgorithm:
        return ""
    return _encoded(key) if isinstance(key, Ed25519PublicKey) else ""


def _context(protocol: int, keys: KeyPair, trusted: Iterable[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False  # a key is the name
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    anchors = b"".join(_anchor(key) for key in trusted)
    if anchors:
        context.load_verify_locations(cadata=anchors)
    _present(context, keys)
    return context


def _present(context: ssl.SSLContext, keys: KeyPair) -> None:
    """Has the context prove this key. Python reads keys from files only: what touches the disk is encrypted."""
    key = keys.private()
    certificate = _certificate(_BEARER, key.public_key(), _name(keys.public), key, authority=False)
    password = os.urandom(KEY_BYTES).hex().encode()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    descriptor, file = tempfile.mkstemp(prefix="mpc-")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(certificate.public_bytes(Encoding.PEM) + secret)
        context.load_cert_chain(file, password=password)
    finally:
        Path(file).unlink()


def _anchor(public: str) -> bytes:
    """A trust anchor for one public key, in DER. An anchor's own signature is not looked at; nobody but the key's
    holder could make it."""
    key = Ed25519PublicKey.from_public_bytes(_decoded(public, "a public key"))
    name = _name(public)
    return _certificate(name, key, name, Ed25519PrivateKey.generate(), authority=True).public_bytes(Encoding.DER)


def _name(public: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, public)])


def _certificate(
    subject: x509.Name, key: Ed25519PublicKey, issuer: x509.Name, signer: Ed25519PrivateKey, *, authority: bool
) -> x509.Certificate:
    path_length = 0 if authority else None  # an anchor vouches for nobody who would vouch for others
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_ALWAYS[0])
        .not_valid_after(_ALWAYS[1])
        .add_extension(x509.BasicConstraints(authority, path_length), critical=True)
        .sign(signer, None)
    )
