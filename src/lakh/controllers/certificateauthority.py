"""The CA that signs for the cluster: a certificate and a key in files, which are read again when they change.

The key stays in this process; its file is only read. What a certificate gets from a request is its subject, its key and its alternative
names; usages and lifetime come from the CertificateSigningRequest, all else is the CA's (upstream's pkg/controller/certificates/authority).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from .certificaterequests import ParsedRequest, RequestError

log = logging.getLogger(__name__)

SIGNING_SECONDS = 365 * 24 * 3600
"""How long a certificate lives unless its request asks for less (upstream's --cluster-signing-duration)."""
MIN_SECONDS = 600
"""The shortest life; twice as long as certificates are backdated."""
BACKDATE_SECONDS = 300
"""Certificates begin a little in the past, for who has a slow clock."""
SHORT_SECONDS = 8 * 3600
"""A shorter life than this is not made shorter still by the backdating."""

_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
# In the order in which certificates have them.
_EXTENDED_USAGES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": ObjectIdentifier("2.16.840.1.113730.4.1"),
}


class AuthorityError(Exception):
    """The CA's files cannot be used, or the CA has expired."""


def lifetime_seconds(wanted: int | None, longest: int = SIGNING_SECONDS) -> int:
    """For how long a certificate is good whose request says `expirationSeconds: wanted`."""
    if wanted is None or wanted > longest:
        return longest
    return max(wanted, MIN_SECONDS)


def validity(now: float, seconds: int, authority_ends: datetime) -> tuple[datetime, datetime]:
    """From when to when a certificate is good. It never outlives its CA. Raises AuthorityError when that has expired."""
    moment = datetime.fromtimestamp(int(now), UTC)
    if moment >= authority_ends:
        raise AuthorityError(f"the signer has expired: NotAfter={authority_ends:%Y-%m-%d %H:%M:%S %z %Z}")
    begins = moment - timedelta(seconds=BACKDATE_SECONDS)
    ends = (moment if seconds < SHORT_SECONDS else begins) + timedelta(seconds=seconds)
    return begins, min(ends, authority_ends)


class CertificateAuthority:
    """A CA in two PEM files: one certificate, and its key, which no passphrase protects."""

    def __init__(
        self, certificate_file: Path, key_file: Path, *, longest_seconds: int = SIGNING_SECONDS
    ) -> None:
        """Reads the files. Raises AuthorityError."""
        self.certificate_file = certificate_file
        self.key_file = key_file
        self.longest_seconds = longest_seconds
        self._read: tuple[bytes, bytes] = (b"", b"")
        self._certificate, self._key = self._load()

    def __repr__(self) -> str:
        return f"<CertificateAuthority {self._certificate.subject.rfc4514_string()}>"

    def _load(self) -> tuple[x509.Certificate, CertificateIssuerPrivateKeyTypes]:
        contents = []
        for file in (self.certificate_file, self.key_file):
            try:
                contents.append(file.read_bytes())
            except OSError as error:
                raise AuthorityError(f"cannot read {file}: {error.strerror}") from error
        if (contents[0], contents[1]) == self._read:
            return self._certificate, self._key
        try:
            certificates = x509.load_pem_x509_certificates(contents[0])
        except ValueError as error:
            raise AuthorityError(f"{self.certificate_file} is no certificate: {error}") from error
        if len(certificates) != 1:
            raise AuthorityError(
                f"{self.certificate_file}: expected 1 certificate, found {len(certificates)}"
            )
        try:
            key = serialization.load_pem_private_key(contents[1], None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Without what the library says: nothing of a key belongs into a log.
            raise AuthorityError(f"{self.key_file} is no private key without a passphrase") from None
        if not isinstance(
            key,
            ec.EllipticCurvePrivateKey
            | rsa.RSAPrivateKey
            | ed25519.Ed25519PrivateKey
            | ed448.Ed448PrivateKey,
        ):
            raise AuthorityError(f"{self.key_file} is of a kind that signs no certificates")
        if certificates[0].public_key() != key.public_key():
            raise AuthorityError(f"{self.key_file} is not the key of {self.certificate_file}")
        self._read = (contents[0], contents[1])
        return certificates[0], key

    def _refresh(self) -> None:
        try:
            self._certificate, self._key = self._load()
        except AuthorityError as error:  # half of the files may be replaced
            log.warning("%s: going on with the CA that was there before", error)

    def sign(
        self, request: ParsedRequest, usages: Collection[str], expiration_seconds: int | None, now: float
    ) -> bytes:
        """A certificate (PEM). `now`: seconds since the epoch.

        Raises RequestError for usages that cannot be, AuthorityError when the CA has expired.
        """
        self._refresh()
        seconds = lifetime_seconds(expiration_seconds, self.longest_seconds)
        begins, ends = validity(now, seconds, self._certificate.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._certificate.subject)
            .public_key(request.public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )
        extensions = [*_extensions(request, usages), (_authority_key(self._certificate), False)]
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        try:
            certificate = builder.sign(self._key, _hash(self._key))
        except ValueError as error:
            raise RequestError(f"failed to sign certificate: {error}") from error
        return certificate.public_bytes(serialization.Encoding.PEM)


def _extensions(request: ParsedRequest, usages: Collection[str]) -> list[tuple[x509.ExtensionType, bool]]:
    """Usages, that it is no CA, and alternative names; each with whether it is critical."""
    unknown = [usage for usage in usages if usage not in _KEY_USAGES and usage not in _EXTENDED_USAGES]
    if unknown:
        raise RequestError(f"unrecognized usage values: {unknown}")
    found: list[tuple[x509.ExtensionType, bool]] = []
    bits = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
    if bits:
        try:
            found.append((x509.KeyUsage(**{bit: bit in bits for bit in _KEY_USAGES.values()}), True))
        except (
            ValueError
        ) as error:  # only with a key agreement there is something to encipher or decipher only
            raise RequestError(f"usages that cannot be together: {error}") from error
    purposes = dict.fromkeys(oid for usage, oid in _EXTENDED_USAGES.items() if usage in usages)
    if purposes:
        found.append((x509.ExtendedKeyUsage(purposes), False))
    found.append((x509.BasicConstraints(ca=False, path_length=None), True))
    if request.names:
        found.append((x509.SubjectAlternativeName(request.names), not request.subject.rdns))
    return found


def _authority_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        known = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(certificate.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known.value)


def _hash(key: CertificateIssuerPrivateKeyTypes) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """As strong as the key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.key_size > 384:
            return hashes.SHA512()
        return hashes.SHA384() if key.key_size > 256 else hashes.SHA256()
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None
