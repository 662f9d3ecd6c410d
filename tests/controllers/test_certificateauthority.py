"""What the CA puts into certificates, for how long they are good, and what it does about its files."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from signing import request, write_ca

from lakh.controllers.certificateauthority import (
    AuthorityError,
    CertificateAuthority,
    lifetime_seconds,
    validity,
)
from lakh.controllers.certificaterequests import RequestError, parse

NOW = 1_700_000_000.0
MOMENT = datetime.fromtimestamp(NOW, UTC)
YEAR = 365 * 86400


def test_lifetimes() -> None:
    assert lifetime_seconds(None) == YEAR
    assert lifetime_seconds(2 * YEAR) == YEAR
    assert lifetime_seconds(3600) == 3600
    assert lifetime_seconds(1) == 600
    assert lifetime_seconds(None, 7200) == lifetime_seconds(86400, 7200) == 7200


@pytest.mark.parametrize(
    ("seconds", "ends_after"),
    [(600, 600), (8 * 3600 - 1, 8 * 3600 - 1), (8 * 3600, 8 * 3600 - 300), (YEAR, 100 * 86400)],
)
def test_certificates_end_with_their_ca_at_the_latest(seconds: int, ends_after: int) -> None:
    begins, ends = validity(NOW + 0.7, seconds, MOMENT + timedelta(days=100))
    assert begins == MOMENT - timedelta(minutes=5)
    assert ends == MOMENT + timedelta(seconds=ends_after)


def test_an_expired_ca_signs_nothing() -> None:
    validity(NOW, 600, MOMENT + timedelta(seconds=1))
    with pytest.raises(AuthorityError, match="the signer has expired: NotAfter=2023-11-14 22:13:20"):
        validity(NOW, 600, MOMENT)


def test_a_certificate(tmp_path: Path) -> None:
    certificate_file, key_file = write_ca(tmp_path, NOW)
    names = (
        x509.DNSName("n1"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
        x509.DirectoryName(x509.Name([])),
    )
    asked = parse(request("system:node:n1", "system:nodes", names=names))
    authority = CertificateAuthority(certificate_file, key_file)
    signed = x509.load_pem_x509_certificate(
        authority.sign(asked, ["signing", "key encipherment", "client auth", "any"], 3600, NOW)
    )
    ca = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    signed.verify_directly_issued_by(ca)
    assert signed.public_key() == asked.public_key
    assert signed.subject == asked.subject
    assert signed.not_valid_after_utc == MOMENT + timedelta(seconds=3600)
    extensions = signed.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and usage.value.key_encipherment
    assert not usage.value.key_cert_sign and not usage.value.data_encipherment
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ]
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca
    # A kind of name that no rule knows is not vouched for.
    assert list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == list(names[:2])
    assert (
        extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        == ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )


def test_usages_that_cannot_be(tmp_path: Path) -> None:
    authority = CertificateAuthority(*write_ca(tmp_path, NOW))
    for usages, words in (
        (["dancing"], "unrecognized usage values"),
        (["encipher only"], "cannot be together"),
    ):
        with pytest.raises(RequestError, match=words):
            authority.sign(parse(request("jane")), usages, None, NOW)


def test_new_files_are_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = write_ca(tmp_path, NOW, name="first"), write_ca(tmp_path, NOW, name="second")
    authority = CertificateAuthority(*first)

    def issuer() -> str:
        signed = authority.sign(parse(request("jane")), ["client auth"], None, NOW)
        return x509.load_pem_x509_certificate(signed).issuer.rfc4514_string()

    assert issuer() == "CN=first"
    first[0].write_bytes(second[0].read_bytes())
    assert issuer() == "CN=first", "half of a pair is none"
    assert "is not the key of" in caplog.text and "going on with the CA" in caplog.text
    first[1].write_bytes(second[1].read_bytes())
    assert issuer() == "CN=second"


def test_files_that_are_no_ca(tmp_path: Path) -> None:
    certificate, key = write_ca(tmp_path, NOW)
    other_certificate, other_key = write_ca(tmp_path, NOW, name="other")
    both = tmp_path / "both.crt"
    both.write_bytes(certificate.read_bytes() + other_certificate.read_bytes())
    for files, words in (
        ((certificate, tmp_path / "none.key"), "cannot read .*none.key: No such file"),
        ((key, key), "is no certificate"),
        ((certificate, certificate), "is no private key without a passphrase"),
        ((certificate, other_key), "is not the key of"),
        ((both, key), "expected 1 certificate, found 2"),
    ):
        with pytest.raises(AuthorityError, match=words):
            CertificateAuthority(*files)
