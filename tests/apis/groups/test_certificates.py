"""certificates.k8s.io/v1 against upstream's `pkg/apis/certificates/validation` and `pkg/registry/certificates`."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lakh.apis.groups.certificates import forbidden_subject
from tests.apis.groups.tables import Change, changed, findings

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "u")])
PEM = serialization.Encoding.PEM
_DAY = datetime.datetime(2026, 1, 1)


def text(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


REQUEST = text(
    x509.CertificateSigningRequestBuilder().subject_name(NAME).sign(KEY, hashes.SHA256()).public_bytes(PEM)
)
SIGNED = (
    x509.CertificateBuilder()
    .subject_name(NAME)
    .issuer_name(NAME)
    .public_key(KEY.public_key())
    .serial_number(1)
    .not_valid_before(_DAY)
    .not_valid_after(_DAY + datetime.timedelta(1))
    .sign(KEY, hashes.SHA256())
    .public_bytes(PEM)
)
CSR: dict[str, Any] = {"spec": {"request": REQUEST, "usages": ["client auth"], "signerName": "example.com/s"}}
FORM = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)

LONG = "c" * 318

# ValidateCertificateSigningRequestCreate and ValidateSignerName.
TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "ParseCSR",
        {"spec.request": text(SIGNED)},
        [f'spec.request: Invalid value: "{text(SIGNED)}": PEM block type must be CERTIFICATE REQUEST'],
    ),
    ("usages", {"spec.usages": []}, ["spec.usages: Required value"]),
    ("allowDuplicateUsages", {"spec.usages": ["any", "any"]}, ['spec.usages[1]: Duplicate value: "any"']),
    (
        "expirationSeconds",
        {"spec.expirationSeconds": 599},
        [
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"
        ],
    ),
    (
        "allowLegacySignerName",
        {"spec.signerName": "kubernetes.io/legacy-unknown"},
        [
            'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version'
        ],
    ),
    ("ValidateSignerName", {"spec.signerName": ""}, ["spec.signerName: Required value"]),
    (
        "ValidateSignerName",
        {"spec.signerName": "a.b/c/d"},
        [f'spec.signerName: Invalid value: "a.b/c/d": {FORM}'],
    ),
    (
        "ValidateSignerName",
        {"spec.signerName": "_/c"},
        [
            f'spec.signerName: Invalid value: "_": validating label "_": {LABEL}',
            'spec.signerName: Invalid value: "_": should be a domain with at least two segments separated by dots',
        ],
    ),
    (
        "ValidateSignerName",
        {"spec.signerName": f"a.b/{LONG}"},
        [
            f'spec.signerName: Invalid value: "{LONG}": validating label "{LONG}": must be no more than 253 bytes',
            "spec.signerName: Too long: may not be more than 317 bytes",
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), TABLE)
def test_requests(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("certificatesigningrequests").create_findings(changed(CSR, change))) == expected


def condition(kind: str, status: str = "True", **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": "R",
        "lastUpdateTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        **more,
    }


def with_status(**status: Any) -> dict[str, Any]:
    return {**CSR, "status": status}


APPROVED = with_status(conditions=[condition("Approved")])
PATH = "status.conditions"

# ValidateCertificateSigningRequestStatusUpdate.
STATUS_TABLE: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("good", APPROVED, with_status(conditions=[condition("Approved")], certificate=text(SIGNED)), []),
    (
        "preserveConditionInstances",
        APPROVED,
        with_status(conditions=[condition("Approved", reason="Other")]),
        [],
    ),
    (
        "validateConditions",
        CSR,
        with_status(conditions=[condition("", ""), condition("A", "Yes"), condition("Failed", "False")]),
        [
            f"{PATH}[0].type: Required value",
            f"{PATH}[0].status: Required value",
            f'{PATH}[1].status: Unsupported value: "Yes": supported values: "False", "True", "Unknown"',
            f'{PATH}[2].status: Unsupported value: "False": supported values: "True"',
        ],
    ),
    (
        "validateConditions",
        CSR,
        with_status(conditions=[condition("A"), condition("A")]),
        [f'{PATH}[1].type: Duplicate value: "A"'],
    ),
    ("updates", CSR, APPROVED, [f'{PATH}: Forbidden: updates may not add a condition of type "Approved"']),
    (
        "updates",
        APPROVED,
        with_status(conditions=[]),
        [f'{PATH}: Forbidden: updates may not remove a condition of type "Approved"'],
    ),
    (
        "updates",
        with_status(conditions=[condition("Failed")]),
        with_status(conditions=[]),
        [f'{PATH}: Forbidden: updates may not remove a condition of type "Failed"'],
    ),
    (
        "certificate",
        with_status(certificate=text(SIGNED)),
        with_status(certificate=text(SIGNED + SIGNED)),
        ["status.certificate: Forbidden: updates may not modify existing certificate content"],
    ),
    (
        "validateCertificate",
        CSR,
        with_status(certificate=text(b"x")),
        [
            'status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block'
        ],
    ),
    (
        "validateCertificate",
        CSR,
        with_status(certificate=REQUEST),
        [
            'status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE REQUEST"'
        ],
    ),
]


@pytest.mark.parametrize(("function", "old", "new", "expected"), STATUS_TABLE)
def test_status(
    kind: Any, function: str, old: dict[str, Any], new: dict[str, Any], expected: list[str]
) -> None:
    assert findings(kind("certificatesigningrequests").update_findings(old, new, "status")) == expected


# ValidateCertificateSigningRequestApprovalUpdate.
APPROVAL_TABLE: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (CSR, APPROVED, []),
    (
        APPROVED,
        with_status(conditions=[condition("Denied")]),
        [f'{PATH}: Forbidden: updates may not remove a condition of type "Approved"'],
    ),
    (
        APPROVED,
        with_status(conditions=[condition("Approved"), condition("Denied")]),
        [f'{PATH}: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), APPROVAL_TABLE)
def test_approval(kind: Any, old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    csrs = kind("certificatesigningrequests")
    assert (
        findings(csrs.strategy.validate_subresource(csrs.decode(new), csrs.decode(old), "approval"))
        == expected
    )


def test_times_of_conditions_are_filled_in(kind: Any) -> None:
    """Mirrors populateConditionTimestamps."""
    csrs = kind("certificatesigningrequests")
    bare = {"type": "Failed", "status": "True", "reason": "R"}
    old, new = (
        csrs.decode(with_status(conditions=[condition("Failed")])),
        csrs.decode(with_status(conditions=[bare])),
    )
    csrs.strategy.prepare_for_status_update(new, old)
    (made,) = new.status.conditions
    assert made.lastTransitionTime == "2026-01-01T00:00:00Z"
    assert made.lastUpdateTime > "2026-01-01T00:00:00Z"


def test_nobody_asks_to_become_an_administrator(kind: Any) -> None:
    """Mirrors the admission plugin CertificateSubjectRestriction."""
    client = "kubernetes.io/kube-apiserver-client"
    masters = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "system:masters")])
    request = text(
        x509.CertificateSigningRequestBuilder()
        .subject_name(masters)
        .sign(KEY, hashes.SHA256())
        .public_bytes(PEM)
    )
    csrs = kind("certificatesigningrequests")
    for change, why in (
        ({"spec.signerName": client}, ""),
        ({"spec.request": request}, ""),
        (
            {"spec.request": request, "spec.signerName": client},
            f"use of {client} signer with system:masters group is not allowed",
        ),
        (
            {"spec.request": text(SIGNED), "spec.signerName": client},
            "unable to parse CSR: PEM block type must be CERTIFICATE REQUEST",
        ),
    ):
        assert forbidden_subject(csrs.decode(changed(CSR, change)).spec) == why
