"""What Kubernetes' own signers sign, what is approved by itself, and when requests are removed."""

from __future__ import annotations

import base64
import ipaddress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from signing import condition, request, write_ca

from lakh.controllers import certificaterequests as rules
from lakh.controllers import clock

NOW = 1_700_000_000.0
CLIENT = ["digital signature", "key encipherment", "client auth"]
SERVING = ["digital signature", "key encipherment", "server auth"]
DNS = x509.DNSName("n1")
IP = x509.IPAddress(ipaddress.ip_address("10.0.0.1"))
EMAIL = x509.RFC822Name("a@example.com")
URI = x509.UniformResourceIdentifier("spiffe://a")
NODE = ("system:node:n1", "system:nodes")


def why(signer: str, usages: list[str], *names: str, alternatives: tuple[x509.GeneralName, ...] = ()) -> str:
    return rules.SIGNERS[signer](rules.parse(request(*names, names=alternatives)), usages)


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        (["client auth"], ""),
        (CLIENT, ""),
        (["client auth", "server auth"], "invalid usage for client certificate: server auth"),
        (["digital signature"], "missing required usage for client certificate: client auth"),
    ],
)
def test_clients(usages: list[str], expected: str) -> None:
    assert why("kubernetes.io/kube-apiserver-client", usages, "jane", "dev", alternatives=(DNS,)) == expected


@pytest.mark.parametrize(
    ("usages", "names", "alternatives", "expected"),
    [
        (CLIENT, NODE, (), ""),
        (["client auth", "digital signature"], NODE, (), ""),
        (CLIENT, ("system:node:n1",), (), "subject organization is not system:nodes"),
        (CLIENT, (*NODE, "system:masters"), (), "subject organization is not system:nodes"),
        (CLIENT, ("n1", "system:nodes"), (), "subject common name does not begin with system:node:"),
        (CLIENT, ("", "system:nodes"), (), "subject common name does not begin with system:node:"),
        (CLIENT, NODE, (DNS,), "DNS subjectAltNames are not allowed"),
        (CLIENT, NODE, (IP,), "IP subjectAltNames are not allowed"),
        (CLIENT, NODE, (EMAIL,), "Email subjectAltNames are not allowed"),
        (CLIENT, NODE, (URI,), "URI subjectAltNames are not allowed"),
        (SERVING, NODE, (), "usages did not match [client auth digital signature key encipherment]"),
        (["client auth"], NODE, (), "usages did not match [client auth digital signature key encipherment]"),
    ],
)
def test_kubelets_as_clients(
    usages: list[str], names: tuple[str, ...], alternatives: tuple[x509.GeneralName, ...], expected: str
) -> None:
    signer = "kubernetes.io/kube-apiserver-client-kubelet"
    assert why(signer, usages, *names, alternatives=alternatives) == expected


@pytest.mark.parametrize(
    ("usages", "names", "alternatives", "expected"),
    [
        (SERVING, NODE, (DNS,), ""),
        (["server auth", "digital signature"], NODE, (IP, DNS), ""),
        (SERVING, NODE, (), "DNS or IP subjectAltName is required"),
        (SERVING, NODE, (DNS, EMAIL), "Email subjectAltNames are not allowed"),
        (SERVING, NODE, (DNS, URI), "URI subjectAltNames are not allowed"),
        (SERVING, ("system:node:n1", "dev"), (DNS,), "subject organization is not system:nodes"),
        (
            SERVING,
            ("n1", "system:nodes"),
            (DNS,),
            "subject common name does not begin with system:node:",
        ),
        (CLIENT, NODE, (DNS,), "usages did not match [digital signature key encipherment server auth]"),
    ],
)
def test_kubelets_as_servers(
    usages: list[str], names: tuple[str, ...], alternatives: tuple[x509.GeneralName, ...], expected: str
) -> None:
    assert why("kubernetes.io/kubelet-serving", usages, *names, alternatives=alternatives) == expected


def test_the_legacy_signer_signs_anything() -> None:
    assert why("kubernetes.io/legacy-unknown", ["any"], "x", alternatives=(URI,)) == ""


def test_requests_that_cannot_be_read() -> None:
    with pytest.raises(rules.RequestError, match="unable to parse certificate request"):
        rules.parse("bm9uZQ==")
    with pytest.raises(rules.RequestError, match="unable to parse certificate request"):
        rules.parse("%")
    # Its last byte belongs to the signature.
    der = x509.load_pem_x509_csr(base64.b64decode(request("jane"))).public_bytes(Encoding.DER)
    body = base64.encodebytes(der[:-1] + bytes([der[-1] ^ 1]))
    forged = b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(rules.RequestError, match="unable to verify certificate request signature"):
        rules.parse(base64.b64encode(forged).decode())


def as_view(**csr: Any) -> rules.CertificateSigningRequest:
    return msgspec.convert({"metadata": {"name": "a"}, **csr}, rules.CertificateSigningRequest)


@pytest.mark.parametrize(
    ("signer", "user", "usages", "expected"),
    [
        ("kubernetes.io/kube-apiserver-client-kubelet", "system:node:n1", CLIENT, ["selfnodeclient", "nodeclient"]),
        ("kubernetes.io/kube-apiserver-client-kubelet", "system:bootstrap:a", CLIENT, ["nodeclient"]),
        ("kubernetes.io/kube-apiserver-client-kubelet", "system:node:n1", SERVING, []),
        ("kubernetes.io/kube-apiserver-client", "system:node:n1", CLIENT, []),
        ("kubernetes.io/kubelet-serving", "system:node:n1", SERVING, []),
    ],
)  # fmt: skip
def test_what_is_approved_by_itself(signer: str, user: str, usages: list[str], expected: list[str]) -> None:
    found = rules.approvals(
        as_view(spec={"signerName": signer, "username": user, "usages": usages}),
        rules.parse(request(*NODE)),
    )
    assert [subresource for subresource, _ in found] == expected
    if found:
        assert found[-1][1] == "Auto approving kubelet client certificate after SubjectAccessReview."


HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("type_", "issued", "age", "due"),
    [
        ("Approved", True, HOUR, False),
        ("Approved", True, HOUR + 1, True),
        ("Approved", False, 30 * DAY, False),
        ("Denied", False, HOUR, False),
        ("Denied", False, HOUR + 1, True),
        ("Failed", False, HOUR + 1, True),
        ("", False, DAY, False),
        ("", False, DAY + 1, True),
    ],
)
def test_what_is_removed(type_: str, issued: bool, age: int, due: bool) -> None:
    since = clock.stamp(NOW - age)
    status = {
        "conditions": [condition(type_, since)] if type_ else [],
        "certificate": "bm9uZQ==" if issued else None,
    }
    assert (
        rules.is_due(as_view(metadata={"name": "a", "creationTimestamp": since}, status=status), NOW) is due
    )


def test_expired_certificates_are_removed(tmp_path: Path) -> None:
    pem = write_ca(tmp_path, NOW, days=1)[0].read_bytes()
    status = {
        "conditions": [condition("Approved", clock.stamp(NOW + DAY))],
        "certificate": base64.b64encode(pem).decode(),
    }
    assert not rules.is_due(as_view(status=status), NOW + DAY)
    assert rules.is_due(as_view(status=status), NOW + DAY + 1)
