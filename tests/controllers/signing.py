"""Requests for certificates, and CAs, for tests."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def subject(common_name: str, *organizations: str) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    return x509.Name([*groups, *names])


def request(common_name: str, *organizations: str, names: tuple[x509.GeneralName, ...] = ()) -> str:
    """`spec.request`."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(common_name, *organizations))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def write_ca(directory: Path, now: float, *, days: int = 3650, name: str = "ca") -> tuple[Path, Path]:
    """A new CA's files: certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    begins = datetime.fromtimestamp(now, UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days + 1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / f"{name}.crt", directory / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def csr(name: str, signer: str, usages: list[str], encoded: str, **spec: Any) -> dict[str, Any]:
    """A CertificateSigningRequest."""
    return {
        "metadata": {"name": name},
        "spec": {"request": encoded, "signerName": signer, "usages": usages, **spec},
    }


def condition(type_: str, updated: str = "2023-11-14T22:13:20Z") -> dict[str, Any]:
    return {"type": type_, "status": "True", "lastUpdateTime": updated, "reason": "Test"}
