"""certificates.k8s.io/v1: certificate signing requests."""

from __future__ import annotations

import base64
import binascii
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
    invalid_value,
    not_supported,
    required,
)

GROUP = "certificates.k8s.io"

MIN_EXPIRATION_SECONDS = 600

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
        decided = ("Approved", "Denied")
        kept = [c for c in (old.status.conditions if old.status else None) or () if c.type in decided]
        others = [c for c in new.status.conditions or () if c.type not in decided]
        new.status.conditions = [*kept, *others] or None

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Conditions are whole, and approval and denial exclude each other."""
        found: list[FieldError] = []
        conditions = (new.status.conditions if new.status is not None else None) or ()
        kinds: set[str] = set()
        for index, condition in enumerate(conditions):
            path = f"status.conditions[{index}]"
            if not condition.type:
                found.append(required(f"{path}.type"))
            if not condition.status:
                found.append(required(f"{path}.status"))
            elif condition.status not in ("False", "True", "Unknown"):
                found.append(not_supported(f"{path}.status", condition.status, ("False", "True", "Unknown")))
            elif condition.type in ("Approved", "Denied", "Failed") and condition.status != "True":
                found.append(not_supported(f"{path}.status", condition.status, ("True",)))
            if condition.type in kinds:
                found.append(duplicate(f"{path}.type", condition.type))
            kinds.add(condition.type or "")
            if {"Approved", "Denied"} <= kinds and condition.type in ("Approved", "Denied"):
                found.append(
                    invalid_value(
                        f"{path}.type",
                        condition.type,
                        "Approved and Denied conditions are mutually exclusive",
                    )
                )
        return found

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


def _validate_signer(name: str, found: list[FieldError]) -> None:
    path = "spec.signerName"
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
    if "." not in domain:
        found.append(
            invalid_value(path, domain, "should be a domain with at least two segments separated by dots")
        )
    else:
        meta.report(names.dns_subdomain(domain), path, domain, found)
    for label in rest.split("."):
        meta.report(names.dns_label(label), path, rest, found)


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
