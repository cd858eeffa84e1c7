"""Certificates as somebody makes them who has a key and wants more."""

from __future__ import annotations

import ssl
import tempfile
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

__all__ = ["certificate", "present"]


def certificate(
    subject: str, key: Ed25519PrivateKey, issuer: str, signer: Ed25519PrivateKey, authority: bool = False
) -> x509.Certificate:
    """For a key, under the name `subject`, issued in the name `issuer`."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1))
        .not_valid_after(datetime(9999, 12, 31))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .sign(signer, None)
    )


def present(context: ssl.SSLContext, chain: list[x509.Certificate], key: Ed25519PrivateKey) -> None:
    """Has connections of this context show these certificates, the first of which is of the key."""
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chain.pem"
        file.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain) + secret)
        context.load_cert_chain(file)
