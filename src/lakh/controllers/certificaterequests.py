"""What may be signed: CertificateSigningRequests, the PKCS #10 requests in them, and the rules of Kubernetes' own signers.

Nothing here does I/O. The rules and their words are those of upstream's pkg/apis/certificates/helpers.go and
pkg/controller/certificates/signer; times after which requests are removed those of pkg/controller/certificates/cleaner.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from . import clock
from .views import Condition, Meta, View

KUBE_APISERVER_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBE_APISERVER_CLIENT_KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"

NODES_GROUP = "system:nodes"
NODE_USER_PREFIX = "system:node:"

ISSUED_KEPT_SECONDS = 3600.0
"""How long a request stays after its approval when it has a certificate."""
REFUSED_KEPT_SECONDS = 3600.0
"""How long one stays that was denied, or that failed."""
PENDING_KEPT_SECONDS = 24 * 3600.0
"""How long one stays that nobody decides."""


class RequestError(ValueError):
    """A request cannot be read, or its signer's rules do not allow it; the text is for who asked."""


class SigningRequestSpec(View):
    """`certificates.k8s.io/v1.CertificateSigningRequestSpec`; `request` is base64 of PEM."""

    request: str = ""
    signerName: str = ""
    expirationSeconds: int | None = None
    usages: list[str] | None = None
    username: str | None = None
    uid: str | None = None
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class SigningRequestStatus(View):
    """`certificates.k8s.io/v1.CertificateSigningRequestStatus`; `certificate` is base64 of PEM."""

    conditions: list[Condition] | None = None
    certificate: str | None = None


class CertificateSigningRequest(View):
    """A request for a certificate."""

    metadata: Meta
    spec: SigningRequestSpec = msgspec.field(default_factory=SigningRequestSpec)
    status: SigningRequestStatus = msgspec.field(default_factory=SigningRequestStatus)

    def has(self, *types: str) -> bool:
        """Whether it has a condition of one of these types. Their status is True always."""
        return any(condition.type in types for condition in self.status.conditions or ())


SIGNED_NAMES = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)
"""Alternative names that get into a certificate; others in a request do not."""


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """What a PKCS #10 request asks for; `names` are its alternative ones."""

    subject: x509.Name
    public_key: CertificatePublicKeyTypes
    names: tuple[x509.GeneralName, ...] = ()

    def has(self, kind: type[x509.GeneralName]) -> bool:
        """Whether there are alternative names of this kind."""
        return any(isinstance(name, kind) for name in self.names)

    @property
    def common_name(self) -> str:
        """The last one counts, as for who reads the certificate later."""
        names = self.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[-1].value) if names else ""

    @property
    def organizations(self) -> list[str]:
        """All of them: groups of a client certificate."""
        return [str(each.value) for each in self.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def parse(request: str) -> ParsedRequest:
    """The PKCS #10 request in `spec.request`, whose signature is verified. Raises RequestError."""
    try:
        found = x509.load_pem_x509_csr(base64.b64decode(request, validate=True))
        if not found.is_signature_valid:
            raise RequestError("unable to verify certificate request signature")
        names = tuple(
            name
            for extension in found.extensions
            if isinstance(extension.value, x509.SubjectAlternativeName)
            for name in extension.value
            if isinstance(name, SIGNED_NAMES)
        )
        return ParsedRequest(found.subject, found.public_key(), names)
    except RequestError:
        raise
    except (ValueError, binascii.Error, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise RequestError(f"unable to parse certificate request: {error}") from error


# Rules: each says why its signer refuses, or nothing.


def _usages_differ(usages: Collection[str], purpose: str) -> str:
    wanted = {"digital signature", "key encipherment", purpose}
    # Keys other than RSA's encipher no other keys.
    if set(usages) in (wanted, wanted - {"key encipherment"}):
        return ""
    return f"usages did not match [{' '.join(sorted(wanted))}]"


def why_no_kubelet_client(request: ParsedRequest, usages: Collection[str]) -> str:
    """Why this is no client certificate of a kubelet; empty when it is one."""
    if request.organizations != [NODES_GROUP]:
        return f"subject organization is not {NODES_GROUP}"
    for kind, name in (
        ("DNS", x509.DNSName),
        ("Email", x509.RFC822Name),
        ("IP", x509.IPAddress),
        ("URI", x509.UniformResourceIdentifier),
    ):
        if request.has(name):
            return f"{kind} subjectAltNames are not allowed"
    if not request.common_name.startswith(NODE_USER_PREFIX):
        return f"subject common name does not begin with {NODE_USER_PREFIX}"
    return _usages_differ(usages, "client auth")


def why_no_kubelet_serving(request: ParsedRequest, usages: Collection[str]) -> str:
    """Why this is no server certificate of a kubelet; empty when it is one."""
    if request.organizations != [NODES_GROUP]:
        return f"subject organization is not {NODES_GROUP}"
    if not request.has(x509.DNSName) and not request.has(x509.IPAddress):
        return "DNS or IP subjectAltName is required"
    if request.has(x509.RFC822Name):
        return "Email subjectAltNames are not allowed"
    if request.has(x509.UniformResourceIdentifier):
        return "URI subjectAltNames are not allowed"
    why = _usages_differ(usages, "server auth")
    if not why and not request.common_name.startswith(NODE_USER_PREFIX):
        why = f"subject common name does not begin with {NODE_USER_PREFIX}"
    return why


def why_no_client(request: ParsedRequest, usages: Collection[str]) -> str:
    """Why this is no client certificate for the API server; empty when it is one. Any subject will do."""
    for usage in usages:
        if usage not in ("digital signature", "key encipherment", "client auth"):
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


SIGNERS: Mapping[str, Callable[[ParsedRequest, Collection[str]], str]] = {
    KUBE_APISERVER_CLIENT: why_no_client,
    KUBE_APISERVER_CLIENT_KUBELET: why_no_kubelet_client,
    KUBELET_SERVING: why_no_kubelet_serving,
    LEGACY_UNKNOWN: lambda request, usages: "",
}
"""The signers of which Kubernetes itself signs, and their rules."""


def approvals(csr: CertificateSigningRequest, request: ParsedRequest) -> list[tuple[str, str]]:
    """What lets a request be approved by itself: subresources of which one must be allowed to whoever asked, each with its message."""
    if csr.spec.signerName != KUBE_APISERVER_CLIENT_KUBELET:
        return []
    if why_no_kubelet_client(request, csr.spec.usages or ()):
        return []
    found = [("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
    if csr.spec.username == request.common_name:
        found.insert(
            0, ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
        )
    return found


def is_due(csr: CertificateSigningRequest, now: float) -> bool:
    """Whether a request is to be removed: decided or forgotten long ago, or its certificate has expired."""
    conditions = csr.status.conditions or ()
    if not conditions:
        return _older(csr.metadata.creationTimestamp, PENDING_KEPT_SECONDS, now)
    for condition in conditions:
        if condition.type in ("Denied", "Failed"):
            if _older(condition.lastUpdateTime, REFUSED_KEPT_SECONDS, now):
                return True
        elif condition.type == "Approved" and csr.status.certificate:
            if _older(condition.lastUpdateTime, ISSUED_KEPT_SECONDS, now):
                return True
            if _has_expired(csr.status.certificate, now):
                return True
    return False


def _older(text: str | None, seconds: float, now: float) -> bool:
    since = clock.parse(text)
    return since is not None and now - since > seconds


def _has_expired(certificate: str, now: float) -> bool:
    try:
        found = x509.load_pem_x509_certificate(base64.b64decode(certificate))
    except ValueError:
        return False
    return found.not_valid_after_utc.timestamp() < now
