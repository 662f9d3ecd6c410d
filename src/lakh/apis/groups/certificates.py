"""certificates.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import status_of


class CertificateSigningRequestStrategy(GroupStrategy):
    """CertificateSigningRequest."""

    has_status = True


RESOURCES = (
    declare(
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        CertificateSigningRequestStrategy(),
        namespaced=False,
        short_names=("csr",),
        subresources={"approval": status_of("CertificateSigningRequest")},
    ),
)
