"""Approving, signing and removing CertificateSigningRequests."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from fake_client import NOW, FakeClient, drain, make_context
from signing import condition, csr, request, write_ca

from lakh.client.errors import ApiError
from lakh.client.resources import CERTIFICATESIGNINGREQUESTS as CSRS
from lakh.client.resources import SUBJECTACCESSREVIEWS, Resource
from lakh.controllers.certificateauthority import CertificateAuthority
from lakh.controllers.certificates import (
    CertificateApprovingController,
    CertificateCleaner,
    CertificateSigningController,
)

KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
CLIENT = "kubernetes.io/kube-apiserver-client"
USAGES = ["digital signature", "client auth"]


class Reviewing(FakeClient):
    """Answers access reviews: allowed are the subresources in `allowed`."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed: set[str] = set()
        self.reviews: list[dict[str, Any]] = []

    async def create(self, resource: Resource, obj: Any, namespace: str | None = None, **options: Any) -> Any:
        if resource != SUBJECTACCESSREVIEWS:
            return await super().create(resource, obj, namespace, **options)
        await asyncio.sleep(0)
        self.reviews.append(obj["spec"])
        allowed = obj["spec"]["resourceAttributes"]["subresource"] in self.allowed
        return msgspec.convert({"status": {"allowed": allowed}}, options["type"])


@pytest.fixture
def client() -> Reviewing:
    return Reviewing()


def put(client: FakeClient, name: str, signer: str, *names: str, **spec: Any) -> None:
    client.put(CSRS, csr(name, signer, USAGES, request(*names), **spec))


def status(client: FakeClient, name: str) -> dict[str, Any]:
    return client.one(CSRS, name).get("status", {})


class TestApproving:
    async def test_a_kubelet_renews_its_certificate(self, client: Reviewing) -> None:
        client.allowed = {"selfnodeclient"}
        controller = CertificateApprovingController(make_context(client))
        who = {"username": "system:node:n1", "groups": ["system:nodes"], "extra": {"a": ["b"]}}
        put(client, "a", KUBELET, "system:node:n1", "system:nodes", **who)
        await drain(controller)
        (approved,) = status(client, "a")["conditions"]
        assert approved == {
            "type": "Approved",
            "status": "True",
            "reason": "AutoApproved",
            "message": "Auto approving self kubelet client certificate after SubjectAccessReview.",
            "lastUpdateTime": "2023-11-14T22:13:20Z",
        }
        assert ("patch", CSRS.plural, "a/approval") in client.requests
        assert client.reviews == [
            {
                "user": "system:node:n1",
                "groups": ["system:nodes"],
                "extra": {"a": ["b"]},
                "resourceAttributes": {
                    "group": "certificates.k8s.io",
                    "resource": "certificatesigningrequests",
                    "subresource": "selfnodeclient",
                    "verb": "create",
                },
            }
        ]
        controller.resync()
        await drain(controller)
        assert len(client.reviews) == 1

    async def test_a_node_starts(self, client: Reviewing) -> None:
        client.allowed = {"nodeclient"}
        controller = CertificateApprovingController(make_context(client))
        put(client, "a", KUBELET, "system:node:n1", "system:nodes", username="system:bootstrap:abcdef")
        await drain(controller)
        (approved,) = status(client, "a")["conditions"]
        assert approved["message"] == "Auto approving kubelet client certificate after SubjectAccessReview."

    async def test_others_wait(self, client: Reviewing) -> None:
        controller = CertificateApprovingController(make_context(client))
        put(client, "refused", KUBELET, "system:node:n1", "system:nodes", username="system:node:n1")
        await drain(controller)
        assert [r["resourceAttributes"]["subresource"] for r in client.reviews] == [
            "selfnodeclient",
            "nodeclient",
        ]
        assert controller.queue.delayed == 1, "who asked may be allowed to later"
        client.allowed = {"selfnodeclient", "nodeclient"}
        put(client, "client", CLIENT, "system:node:n1", "system:nodes", username="system:node:n1")
        put(client, "denied", KUBELET, "system:node:n1", "system:nodes", username="system:node:n1")
        client.change(CSRS, "denied", {"status": {"conditions": [condition("Denied")]}})
        client.put(CSRS, csr("damaged", KUBELET, USAGES, "bm9uZQ=="))
        await drain(controller)
        assert len(client.reviews) == 2
        assert status(client, "client") == status(client, "damaged") == {}


class TestSigning:
    @pytest.fixture
    def controller(self, client: Reviewing, tmp_path: Path) -> CertificateSigningController:
        authority = CertificateAuthority(*write_ca(tmp_path, NOW))
        return CertificateSigningController(make_context(client, certificate_authority=authority))

    def approve(self, client: FakeClient, name: str, *types: str) -> None:
        conditions = [condition(type_) for type_ in ("Approved", *types)]
        client.change(CSRS, name, {"status": {"conditions": conditions}})

    async def test_what_is_approved_is_signed(
        self, client: Reviewing, controller: CertificateSigningController
    ) -> None:
        put(client, "a", CLIENT, "jane", "dev", expirationSeconds=3600)
        await drain(controller)
        assert status(client, "a") == {}
        self.approve(client, "a")
        await drain(controller)
        signed = x509.load_pem_x509_certificate(base64.b64decode(status(client, "a")["certificate"]))
        assert signed.subject.rfc4514_string() == "CN=jane,O=dev"
        assert signed.not_valid_after_utc.timestamp() == NOW + 3600
        assert client.requests == [("patch", CSRS.plural, "a/status")]
        controller.resync()
        await drain(controller)
        assert len(client.requests) == 1, "a certificate is signed once"

    async def test_what_breaks_the_rules_fails(
        self, client: Reviewing, controller: CertificateSigningController
    ) -> None:
        put(client, "a", KUBELET, "jane", "dev")
        client.put(CSRS, csr("damaged", CLIENT, USAGES, "bm9uZQ=="))
        for name in ("a", "damaged"):
            self.approve(client, name)
        await drain(controller)
        approved, failed = status(client, "a")["conditions"]
        assert approved == condition("Approved")
        assert (failed["type"], failed["status"]) == ("Failed", "True")
        assert failed["reason"] == "SignerValidationFailure"
        assert failed["message"] == "subject organization is not system:nodes"
        assert "unable to parse" in status(client, "damaged")["conditions"][1]["message"]
        assert len(client.requests) == 2, "failed for good"
        assert "certificate" not in status(client, "a")

    async def test_others_are_left_alone(
        self, client: Reviewing, controller: CertificateSigningController
    ) -> None:
        put(client, "theirs", "example.com/signer", "jane")
        put(client, "both", CLIENT, "jane")
        put(client, "failed", CLIENT, "jane")
        self.approve(client, "theirs")
        self.approve(client, "both", "Denied")
        self.approve(client, "failed", "Failed")
        await drain(controller)
        assert client.requests == []

    async def test_a_decision_is_not_overwritten(
        self, client: Reviewing, controller: CertificateSigningController
    ) -> None:
        put(client, "a", CLIENT, "jane")
        self.approve(client, "a")
        client.hold()
        client.change(CSRS, "a", {"metadata": {"labels": {"newer": "true"}}})
        with pytest.raises(ApiError) as refused:
            await drain(controller)
        assert refused.value.reason == "Conflict"
        client.release()
        await drain(controller)
        assert status(client, "a")["certificate"]

    async def test_without_a_ca_it_says_so_once(
        self, client: Reviewing, caplog: pytest.LogCaptureFixture
    ) -> None:
        controller = CertificateSigningController(make_context(client))
        put(client, "a", CLIENT, "jane")
        self.approve(client, "a")
        assert len(controller.queue) == 0
        task = asyncio.create_task(controller.run())
        await asyncio.sleep(0)
        assert caplog.text.count("no certificates are signed") == 1
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cleaning(client: Reviewing) -> None:
    cleaner = CertificateCleaner(make_context(client))
    put(client, "old", CLIENT, "jane")
    put(client, "denied", CLIENT, "jane")
    put(client, "changed", CLIENT, "jane")
    client.one(CSRS, "denied")["metadata"]["creationTimestamp"] = "2023-11-12T00:00:00Z"
    for name in ("old", "changed"):
        client.change(CSRS, name, {"metadata": {"creationTimestamp": "2023-11-12T00:00:00Z"}})
    client.change(CSRS, "denied", {"status": {"conditions": [condition("Denied", "2023-11-14T22:13:00Z")]}})
    client.hold()
    client.change(CSRS, "changed", {"metadata": {"labels": {"newer": "true"}}})
    await cleaner.clean()
    assert {obj["metadata"]["name"] for obj in client.all(CSRS)} == {"denied", "changed"}
    client.release()
    await cleaner.clean()
    assert [obj["metadata"]["name"] for obj in client.all(CSRS)] == ["denied"]
    client.now += 3600
    await cleaner.clean()
    assert client.all(CSRS) == []
