"""Certificates from the cluster's own signers: asked for, approved, issued, and logged in with."""

from __future__ import annotations

import base64
import itertools
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from .cluster import Cluster, Kubectl, eventually

pytestmark = pytest.mark.xdist_group("conformance")

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
_numbers = itertools.count(1)


class Applicant:
    """Somebody with a new key who asks for a certificate."""

    def __init__(self, kubectl: Kubectl, user: str, *groups: str, rsa_key: bool = False) -> None:
        self.kubectl = kubectl
        self.name = f"certificate-{next(_numbers)}"
        self.key: Any = (
            rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        )
        self.subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(NameOID.COMMON_NAME, user),
            ]
        )

    def ask(self, signer: str, *usages: str, names: tuple[str, ...] = (), **spec: Any) -> None:
        """Creates the request."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(self.subject)
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        pem = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        csr = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": self.name},
            "spec": {
                "request": base64.b64encode(pem).decode(),
                "signerName": signer,
                "usages": list(usages),
                **spec,
            },
        }
        self.kubectl("create", "-f", "-", input=csr)

    def condition(self) -> str:
        """What `kubectl get csr` shows."""
        return self.kubectl("get", "csr", self.name).rows[0][-1]

    def certificate(self) -> bytes:
        """The issued certificate (PEM), once it is there."""
        path = "jsonpath={.status.certificate}"
        return base64.b64decode(
            eventually(lambda: self.kubectl("get", "csr", self.name, "-o", path).stdout, "a certificate")
        )

    def logged_in(self, directory: Path) -> Kubectl:
        """kubectl with the certificate and nothing else."""
        config = yaml.safe_load(self.kubectl.kubeconfig.read_text())
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        config["users"][0]["user"] = {
            "client-certificate-data": base64.b64encode(self.certificate()).decode(),
            "client-key-data": base64.b64encode(key).decode(),
        }
        file = directory / f"{self.name}.kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return Kubectl(file, self.kubectl.home)


@pytest.fixture
def kubectl(kubectl_everywhere: Kubectl) -> Iterator[Kubectl]:
    yield kubectl_everywhere
    kubectl_everywhere("delete", "csr", "--all")


@pytest.mark.parametrize("rsa_key", [False, True])
def test_a_user(kubectl: Kubectl, tmp_path: Path, rsa_key: bool) -> None:
    jane = Applicant(kubectl, "jane", "dev", "ops", rsa_key=rsa_key)
    jane.ask(CLIENT, "client auth", expirationSeconds=86400)
    assert jane.condition() == "Pending"
    approved = kubectl("certificate", "approve", jane.name)
    assert approved.lines == [f"certificatesigningrequest.certificates.k8s.io/{jane.name} approved"]
    certificate = x509.load_pem_x509_certificate(jane.certificate())
    assert jane.condition() == "Approved,Issued"
    assert certificate.subject == jane.subject
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life.total_seconds() == 86400, "it begins five minutes ago and ends as much earlier"
    who = jane.logged_in(tmp_path).json("auth", "whoami")["status"]["userInfo"]
    assert who["username"] == "jane"
    assert who["groups"] == ["dev", "ops", "system:authenticated"]
    assert jane.logged_in(tmp_path)("get", "nodes", "-o", "name").lines


def test_a_denied_user_gets_none(kubectl: Kubectl) -> None:
    joe, jane = Applicant(kubectl, "joe"), Applicant(kubectl, "jane")
    joe.ask(CLIENT, "client auth")
    kubectl("certificate", "deny", joe.name)
    jane.ask(CLIENT, "client auth")
    kubectl("certificate", "approve", jane.name)
    assert jane.certificate()
    assert joe.condition() == "Denied"


def test_a_kubelet(kubectl: Kubectl, tmp_path: Path) -> None:
    """Its client certificate needs nobody's approval, that of its server does."""
    kubelet = Applicant(kubectl, "system:node:new", "system:nodes")
    kubelet.ask(KUBELET, "digital signature", "client auth")
    who = kubelet.logged_in(tmp_path).json("auth", "whoami")["status"]["userInfo"]
    assert who["username"] == "system:node:new"
    csr = kubectl.json("get", "csr", kubelet.name)
    (condition,) = csr["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Approved", "AutoApproved")
    assert condition["message"] == "Auto approving kubelet client certificate after SubjectAccessReview."
    server = Applicant(kubectl, "system:node:new", "system:nodes")
    server.ask(SERVING, "digital signature", "server auth", names=("new",))
    assert server.condition() == "Pending"
    kubectl("certificate", "approve", server.name)
    certificate = x509.load_pem_x509_certificate(server.certificate())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["new"]


def test_what_a_signer_refuses(kubectl: Kubectl) -> None:
    server = Applicant(kubectl, "system:node:new", "system:nodes")
    server.ask(SERVING, "digital signature", "server auth")
    kubectl("certificate", "approve", server.name)
    eventually(lambda: server.condition() == "Approved,Failed")
    failed = kubectl.json("get", "csr", server.name)["status"]["conditions"][-1]
    assert failed["reason"] == "SignerValidationFailure"
    assert failed["message"] == "DNS or IP subjectAltName is required"


def test_nobody_else_reads_the_key(cluster: Cluster) -> None:
    key = cluster.data / "pki" / "ca.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    secret = key.read_text().splitlines()[1]
    for log in (cluster.data / "logs").iterdir():
        assert secret not in log.read_text(errors="replace")
