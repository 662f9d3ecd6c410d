"""kubectl as an administrator uses it: what stays, what comes back, what is said on the way."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from . import manifests
from .cluster import Kubectl, eventually

pytestmark = pytest.mark.xdist_group("conformance")


class TestWhatTheClusterLivesIn:
    def test_namespaces_stay(self, kubectl_everywhere: Kubectl) -> None:
        names = ("default", "kube-system", "kube-public")
        refused = kubectl_everywhere("delete", "namespace", *names, "--wait=false", code=1)
        assert refused.stdout == ""
        assert refused.stderr.splitlines() == [
            f'Error from server (Forbidden): namespaces "{name}" is forbidden: this namespace may not be deleted'
            for name in names
        ]

    def test_the_service_comes_back(self, kubectl_everywhere: Kubectl) -> None:
        def service() -> Any:
            return kubectl_everywhere.json("get", "service", "kubernetes", "-n", "default")

        before = service()
        kubectl_everywhere("delete", "service", "kubernetes", "-n", "default")
        eventually(
            lambda: (
                "service/kubernetes" in kubectl_everywhere("get", "svc", "-n", "default", "-o", "name").lines
            )
        )
        assert service()["spec"] == before["spec"]

    def test_flow_schemas_lead_somewhere(self, kubectl_everywhere: Kubectl) -> None:
        shown = kubectl_everywhere("get", "flowschemas")
        assert shown.header[-1] == "MISSINGPL"
        assert {row[-1] for row in shown.rows} == {"False"}


class TestHistories:
    @pytest.mark.parametrize("kind", ["daemonset", "statefulset"])
    def test_revisions_say_why(self, kubectl: Kubectl, kind: str) -> None:
        template = manifests.pod_template("agent", nodeSelector={"nobody": "matches"})
        spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "agent"}}, "template": template}
        if kind == "statefulset":
            spec |= {"serviceName": "agent", "replicas": 0}
        made = {"apiVersion": "apps/v1", "kind": kind.capitalize().replace("set", "Set"), "spec": spec}
        for image, why in (("agent:1", "the first"), ("agent:2", "a newer one")):
            template["spec"]["containers"][0]["image"] = image
            metadata = {"name": "agent", "annotations": {"kubernetes.io/change-cause": why}}
            kubectl("apply", "-f", "-", input={**made, "metadata": metadata})
            eventually(lambda why=why: why in kubectl("rollout", "history", f"{kind}/agent").stdout)  # type: ignore[misc]
        history = kubectl("rollout", "history", f"{kind}/agent").lines[2:]
        assert [line.split(maxsplit=1) for line in history if line] == [
            ["1", "the first"],
            ["2", "a newer one"],
        ]
        kubectl("rollout", "undo", f"{kind}/agent")
        live = kubectl.json("get", kind, "agent")
        assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "agent:1"


class TestEvents:
    def test_a_schedule_that_never_strikes(self, kubectl: Kubectl) -> None:
        kubectl("create", "cronjob", "never", "--schedule=0 0 31 2 *", "--image=busybox", "--", "date")
        eventually(lambda: "InvalidSchedule" in kubectl("events", "--for=cronjob/never").stdout)
        shown = kubectl("events", "--for=cronjob/never", "--types=Warning", "--no-headers").stdout
        assert "Warning" in shown and "CronJob/never" in shown
        assert kubectl("events", "--for=cronjob/never", "--types=Normal").stdout == ""
        found = json.loads(kubectl("events", "--for=cronjob/never", "-o", "json").stdout)
        assert [event["reason"] for event in found["items"]] == ["InvalidSchedule"]


class TestPatches:
    @pytest.mark.parametrize(
        ("patch", "why"),
        [
            ({"metadata": {"labels": "none"}}, "cannot restore map from string"),
            ({"data": [1]}, "cannot restore map from slice"),
            ({"data": {"a": 1}}, "cannot convert int64 to string"),
            ({"immutable": "yes"}, "unrecognized type: bool"),
        ],
    )
    def test_wrong_types(self, kubectl: Kubectl, patch: dict[str, Any], why: str) -> None:
        kubectl("create", "configmap", "settings")
        refused = kubectl("patch", "configmap", "settings", "-p", json.dumps(patch), code=1)
        assert refused.stderr.startswith('The request is invalid: patch: Invalid value: "map[')
        assert refused.stderr.endswith(f": {why}\n")


class TestListsOfCustomResources:
    """kubectl checks a List by itself, by the OpenAPI v2 schemas."""

    def test_unknown_fields_that_are_kept(self, kubectl: Kubectl) -> None:
        kept = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        kubectl(
            "apply",
            "-f",
            "-",
            input={
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": "notes.admin.example.com"},
                "spec": {
                    "group": "admin.example.com",
                    "scope": "Namespaced",
                    "names": {"plural": "notes", "kind": "Note"},
                    "versions": [
                        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": kept}}
                    ],
                },
            },
        )
        try:
            kubectl("wait", "crd/notes.admin.example.com", "--for=condition=Established")
            notes = [
                {
                    "apiVersion": "admin.example.com/v1",
                    "kind": "Note",
                    "metadata": {"name": name},
                    "text": {"title": name},
                }
                for name in ("a", "b")
            ]
            done = eventually(
                lambda: (
                    made if (made := kubectl("apply", "-f", "-", input=notes, code=None)).code == 0 else None
                )
            )
            assert done.stdout == "note.admin.example.com/a created\nnote.admin.example.com/b created\n", done
            shown = kubectl("get", "notes", "-o", "jsonpath={.items[*].text.title}").stdout
            assert shown == "a b"
        finally:
            kubectl("delete", "crd", "notes.admin.example.com")


class TestActingAsOthers:
    def who(self, kubectl: Kubectl, *arguments: str) -> Any:
        return kubectl.json("auth", "whoami", *arguments)["status"]["userInfo"]

    def test_who_one_is(self, kubectl_everywhere: Kubectl) -> None:
        flags = ("--as=jane", "--as-group=dev", "--as-group=qa", "--as-uid=7")
        assert self.who(kubectl_everywhere, *flags) == {
            "username": "jane",
            "uid": "7",
            "groups": ["dev", "qa", "system:authenticated"],
        }
        account = self.who(kubectl_everywhere, "--as=system:serviceaccount:web:api")
        assert account["groups"] == [
            "system:serviceaccounts",
            "system:serviceaccounts:web",
            "system:authenticated",
        ]

    def test_who_asks_for_a_certificate(self, kubectl_everywhere: Kubectl) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        asked = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": "jane-"},
            "spec": {
                "request": base64.b64encode(request.public_bytes(Encoding.PEM)).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        }
        jane = ("--as=jane", "--as-group=dev", "--as-uid=7")
        made = kubectl_everywhere("create", "-f", "-", "-o", "json", *jane, input=asked)
        spec = json.loads(made.stdout)["spec"]
        assert (spec["username"], spec["uid"], spec["groups"]) == (
            "jane",
            "7",
            ["dev", "system:authenticated"],
        )

    def test_nobody_may_nothing(self, kubectl_everywhere: Kubectl) -> None:
        refused = kubectl_everywhere("get", "nodes", "--as=system:anonymous", code=1)
        assert refused.stderr.strip() == (
            'Error from server (Forbidden): nodes is forbidden: User "system:anonymous" cannot list resource "nodes" '
            'in API group "" at the cluster scope'
        )
