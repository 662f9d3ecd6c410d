"""certificates.k8s.io/v1: certificate signing requests."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, status_of
from lakh.machinery import names, times
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
)

GROUP = "certificates.k8s.io"

MIN_EXPIRATION_SECONDS = 600
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
MASTERS = "system:masters"
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
DECISIONS = ("Approved", "Denied")
# A subdomain, and behind the slash a label, a dot and a subdomain.
MAX_DOMAIN_BYTES = 253
MAX_SIGNER_PATH_BYTES = 253 + 63 + 1

_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)

_FIELDS: Mapping[str, Callable[[Any], str]] = {"spec.signerName": lambda csr: csr.spec.signerName or ""}


class CertificateSigningRequestStrategy(GroupStrategy):
    """Certificate signing requests. The server fills in who asks."""

    has_status = True
    resets: Mapping[str, tuple[str, ...]] = {
        "": ("spec",),
        "status": ("status.conditions",),
        "approval": ("spec", "status.certificate"),
    }
    selectable_fields = _FIELDS
    columns = (
        NAME_COLUMN,
        AGE_COLUMN,
        Column("SignerName", description="The requested signer."),
        Column("Requestor", description="The name of the user that created the request."),
        Column("RequestedDuration", description="The requested duration of validity."),
        Column("Condition", description="Conditions applied to the request."),
    )

    def validate_name(self, name: str) -> list[str]:
        """Any segment of a path."""
        return names.path_segment_name(name)

    def validate(self, obj: Any) -> list[FieldError]:
        """A new request."""
        spec = obj.spec
        found: list[FieldError] = []
        error = _request_error(spec.request)
        if error:
            found.append(invalid_value("spec.request", spec.request or "", error))
        if not spec.usages:
            found.append(required("spec.usages"))
        seen: set[str] = set()
        for index, usage in enumerate(spec.usages or ()):
            if usage not in _USAGES:
                found.append(not_supported(f"spec.usages[{index}]", usage, _USAGES))
        for index, usage in enumerate(spec.usages or ()):
            if usage in seen:
                found.append(duplicate(f"spec.usages[{index}]", usage))
            seen.add(usage)
        _validate_signer(spec.signerName or "", found)
        seconds = spec.expirationSeconds
        if seconds is not None and seconds < MIN_EXPIRATION_SECONDS:
            found.append(
                invalid_value(
                    "spec.expirationSeconds",
                    seconds,
                    "may not specify a duration less than 600 seconds (10 minutes)",
                )
            )
        return found

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """The request stays."""
        super().prepare_for_update(new, old)
        new.spec = old.spec

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Only metadata changes."""
        return []

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """The request stays, and so do decisions: those go through `approval`."""
        super().prepare_for_status_update(new, old)
        if new.status is None:
            self.reset_status(new)
        for kind in DECISIONS:
            before, after = _of_type(old, kind), _of_type(new, kind)
            # What was added or taken away stays so, and validation says it.
            if len(before) == len(after):
                kept = iter(before)
                new.status.conditions = [
                    next(kept) if c.type == kind else c for c in new.status.conditions or ()
                ] or None
        fill_times(new, old)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Whole conditions, a certificate that is one; decisions are left alone."""
        found = _validate_status(new, old)
        for kind in DECISIONS:
            before, after = _of_type(old, kind), _of_type(new, kind)
            if len(after) > len(before):
                found.append(_forbidden(f'updates may not add a condition of type "{kind}"'))
            elif len(after) == len(before) and not meta.same(after, before):
                found.append(_forbidden(f'updates may not modify a condition of type "{kind}"'))
        if _certificate(new) != _certificate(old) and _certificate(old):
            found.append(
                forbidden_field("status.certificate", "updates may not modify existing certificate content")
            )
        return found

    def validate_subresource(self, new: Any, old: Any, subresource: str) -> list[FieldError]:
        """Decisions: whole conditions, none of which goes."""
        return _validate_status(new, old)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get csr` shows it."""
        spec, status = obj.spec, obj.status
        kinds = {c.type for c in (status.conditions if status is not None else None) or ()}
        text = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
        if "Failed" in kinds:
            text += ",Failed"
        if status is not None and status.certificate:
            text += ",Issued"
        seconds = spec.expirationSeconds
        return [
            obj.metadata.name,
            printing.age(obj, now),
            spec.signerName or printing.NONE,
            spec.username or "",
            printing.NONE if seconds is None else times.human_duration(seconds),
            text,
        ]


def _request_error(request: str | None) -> str:
    try:
        pem = base64.b64decode(request or "", validate=True)
        if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
            return "PEM block type must be CERTIFICATE REQUEST"
        parsed = x509.load_pem_x509_csr(pem)
    except (ValueError, binascii.Error) as error:
        return str(error)
    return "" if parsed.is_signature_valid else "signature of the request is not valid"


def forbidden_subject(spec: Any) -> str:
    """Why nobody may ask for a certificate with this subject from this signer; "" when one may (CertificateSubjectRestriction)."""
    if spec.signerName != CLIENT_SIGNER:
        return ""
    error = _request_error(spec.request)
    if error:
        return f"unable to parse CSR: {error}"
    subject = x509.load_pem_x509_csr(base64.b64decode(spec.request)).subject
    groups = (a.value for a in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME))
    if MASTERS in groups:
        return f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
    return ""


def _conditions(csr: Any) -> list[Any]:
    return (csr.status.conditions if csr.status is not None else None) or []


def _certificate(csr: Any) -> str:
    return (csr.status.certificate if csr.status is not None else None) or ""


def _of_type(csr: Any, kind: str) -> list[Any]:
    return [c for c in _conditions(csr) if c.type == kind]


def _forbidden(why: str) -> FieldError:
    return forbidden_field("status.conditions", why)


def fill_times(new: Any, old: Any) -> None:
    """Conditions without times get them: now, or when they became what they are."""
    now = times.now()
    for condition in _conditions(new):
        if not condition.lastUpdateTime:
            condition.lastUpdateTime = now
        if not condition.lastTransitionTime:
            condition.lastTransitionTime = next(
                (
                    known.lastTransitionTime
                    for known in _of_type(old, condition.type)
                    if known.status == condition.status and known.lastTransitionTime
                ),
                now,
            )


def _validate_status(new: Any, old: Any) -> list[FieldError]:
    """What an update of any part of the status must keep to; what was wrong before may stay so."""
    found: list[FieldError] = []
    _validate_conditions(new, old, found)
    certificate = _certificate(new)
    if certificate and certificate != _certificate(old) and not _certificate_error(_certificate(old)):
        error = _certificate_error(certificate)
        if error:
            found.append(invalid_value("status.certificate", "<certificate data>", error))
    for kind in (*DECISIONS, "Failed"):
        if len(_of_type(new, kind)) < len(_of_type(old, kind)):
            found.append(_forbidden(f'updates may not remove a condition of type "{kind}"'))
    return found


def _validate_conditions(new: Any, old: Any, found: list[FieldError]) -> None:
    kinds = [c.type or "" for c in _conditions(old)]
    both_before = set(DECISIONS) <= set(kinds)
    twice_before = len(set(kinds)) < len(kinds)
    seen: set[str] = set()
    for index, condition in enumerate(_conditions(new)):
        path, kind = f"status.conditions[{index}]", condition.type or ""
        if not kind and "" not in kinds:
            found.append(required(f"{path}.type"))
        allowed = ("True",) if kind in (*DECISIONS, "Failed") else ("False", "True", "Unknown")
        if not condition.status:
            found.append(required(f"{path}.status"))
        elif condition.status not in allowed:
            found.append(not_supported(f"{path}.status", condition.status, allowed))
        if kind in DECISIONS and not both_before and set(DECISIONS) - {kind} <= seen:
            why = "Approved and Denied conditions are mutually exclusive"
            found.append(invalid_value("status.conditions", kind, why))
        if kind in seen and not twice_before:
            found.append(duplicate(f"{path}.type", kind))
        seen.add(kind)


_PEM = re.compile(rb"-----BEGIN ([^-]*)-----\s(.*?)-----END \1-----", re.DOTALL)


def _certificate_error(text: str) -> str:
    """What is wrong with a signed certificate: PEM blocks, all of them certificates; "" when nothing is."""
    try:
        pem = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        return str(error)
    if not pem:
        return ""
    blocks = _PEM.findall(pem)
    for kind, body in blocks:
        if kind != b"CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{kind.decode(errors="replace")}"'
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(body))
        except ValueError as error:
            return str(error)
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def _validate_signer(name: str, found: list[FieldError]) -> None:
    path = "spec.signerName"
    if name == LEGACY_SIGNER:
        found.append(invalid_value(path, name, "the legacy signerName is not allowed via this API version"))
        return
    if not name:
        found.append(required(path))
        return
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        found.append(
            invalid_value(
                path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"
            )
        )
        return
    if len(domain.encode()) > MAX_DOMAIN_BYTES:
        found.append(too_long(path, MAX_DOMAIN_BYTES))
    _validate_labels(domain, names.dns_label, path, found)
    if "." not in domain:
        found.append(
            invalid_value(path, domain, "should be a domain with at least two segments separated by dots")
        )
    _validate_labels(rest, names.dns_subdomain, path, found)
    for part, longest in (
        (rest, MAX_SIGNER_PATH_BYTES),
        (name, MAX_DOMAIN_BYTES + MAX_SIGNER_PATH_BYTES + 1),
    ):
        if len(part.encode()) > longest:
            found.append(too_long(path, longest))


def _validate_labels(text: str, rule: Callable[[str], list[str]], path: str, found: list[FieldError]) -> None:
    """The first part between dots with which something is wrong."""
    for label in text.split("."):
        if messages := rule(label):
            found += [
                invalid_value(path, text, f'validating label "{label}": {message}') for message in messages
            ]
            return


RESOURCES = (
    declare(
        GROUP,
        "v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        CertificateSigningRequestStrategy(),
        namespaced=False,
        short_names=("csr",),
        subresources={"approval": status_of("CertificateSigningRequest")},
    ),
)
