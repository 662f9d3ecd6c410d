"""The words are those of Go's crypto/tls (tls.go, X509KeyPair)."""

from __future__ import annotations

import datetime
import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from lakh.apis.keypairs import why_no_pair

KEY, OTHER, EDWARDS = (
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP256R1()),
    ed25519.Ed25519PrivateKey.generate(),
)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
DAY = datetime.datetime(2026, 1, 1)
CERTIFICATE = (
    x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 1, DAY, DAY + datetime.timedelta(1))
    .sign(KEY, hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
)


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, form: str = "PKCS8") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), serialization.NoEncryption()
    )


def block(kind: str, text: str = "YWJj") -> bytes:
    return f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n".encode()


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_a_pair(form: str) -> None:
    assert why_no_pair(b"text before\n" + CERTIFICATE + CERTIFICATE, b"and after\n" + pem(KEY, form)) == ""


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        (b"", pem(KEY), "tls: failed to find any PEM data in certificate input"),
        (CERTIFICATE, b"-----BEGIN PRIVATE KEY-----", "tls: failed to find any PEM data in key input"),
        (
            CERTIFICATE,
            CERTIFICATE,
            "tls: found a certificate rather than a key in the PEM for the private key",
        ),
        (
            pem(KEY),
            CERTIFICATE,
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
            "PEM inputs may have been switched",
        ),
        (
            block("A") + block("B"),
            pem(KEY),
            'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the following types: [A B]',
        ),
        (
            CERTIFICATE,
            block("A"),
            'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the following types: [A]',
        ),
        (CERTIFICATE, pem(OTHER), "tls: private key does not match public key"),
        (CERTIFICATE, pem(EDWARDS), "tls: private key type does not match public key type"),
        (CERTIFICATE, block("EC PRIVATE KEY"), "tls: failed to parse private key"),
        (block("CERTIFICATE"), pem(KEY), "x509: malformed certificate"),
    ],
    # The keys are new in each process: names that hold them would be, too.
    ids=itertools.count(),
)
def test_no_pair(certificate: bytes, key: bytes, why: str) -> None:
    assert why_no_pair(certificate, key) == why
