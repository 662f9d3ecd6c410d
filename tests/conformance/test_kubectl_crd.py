"""kubectl and custom resources: define, wait, create, explain, scale, apply, delete; across a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .cluster import Kubectl, Server, eventually

pytestmark = pytest.mark.xdist_group("conformance")

DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "trainings.ml.example.com"},
    "spec": {
        "group": "ml.example.com",
        "scope": "Namespaced",
        "names": {
            "plural": "trainings",
            "kind": "Training",
            "shortNames": ["trn"],
            "categories": ["all"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.workers",
                        "statusReplicasPath": ".status.workers",
                    },
                },
                "additionalPrinterColumns": [
                    {"name": "Workers", "type": "integer", "jsonPath": ".spec.workers"},
                    {
                        "name": "Ready",
                        "type": "string",
                        "jsonPath": '.status.conditions[?(@.type=="Ready")].status',
                    },
                    {"name": "Image", "type": "string", "jsonPath": ".spec.image", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.image"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "A training run.",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "description": "What is wanted.",
                                "required": ["image"],
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "self.workers <= self.limit",
                                        "message": "more workers than the limit",
                                    }
                                ],
                                "properties": {
                                    "image": {"type": "string", "minLength": 1},
                                    "workers": {"type": "integer", "default": 1, "description": "How many."},
                                    "limit": {"type": "integer", "default": 8},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def training(name: str, **spec: Any) -> dict[str, Any]:
    """An instance."""
    return {
        "apiVersion": "ml.example.com/v1",
        "kind": "Training",
        "metadata": {"name": name},
        "spec": {"image": "a", **spec},
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its data."""
    return tmp_path_factory.mktemp("crd")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    """An API server alone."""
    started = Server(directory).ready()
    yield started
    assert started.stop() == 0, started.evidence()


@pytest.fixture
def kubectl(server: Server, home: Path) -> Iterator[Kubectl]:
    """kubectl on it, with the definition established."""
    if not Kubectl.available():
        pytest.skip("kubectl is not on PATH: install it (1.30 or newer) to run these tests")
    kubectl = Kubectl(server.kubeconfig, home, "default")
    kubectl("apply", "-f", "-", input=DEFINITION)
    kubectl("wait", "--for=condition=Established", "crd/trainings.ml.example.com", "--timeout=240s")
    yield kubectl
    kubectl("delete", "crd", "trainings.ml.example.com", "--ignore-not-found", "--timeout=240s")


def test_life(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=training("one", workers=2))
    assert "unchanged" in kubectl("apply", "-f", "-", input=training("one", workers=2)).stdout
    assert "configured" in kubectl("apply", "-f", "-", input=training("one", workers=3)).stdout
    plain = kubectl("get", "trn")
    assert plain.header == ["NAME", "WORKERS", "READY", "AGE"]
    assert plain.rows[0][:2] == ["one", "3"]
    assert kubectl("get", "trainings", "-o", "wide").header == ["NAME", "WORKERS", "READY", "IMAGE", "AGE"]
    assert "training.ml.example.com/one" in kubectl("get", "all", "-o", "name").lines
    kubectl(
        "patch",
        "trn/one",
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}',
    )
    kubectl("wait", "--for=condition=Ready", "trn/one", "--timeout=240s")
    kubectl("scale", "trn/one", "--replicas=5")
    assert kubectl.json("get", "trn", "one")["spec"] == {"image": "a", "limit": 8, "workers": 5}
    kubectl("apply", "--server-side", "--field-manager=b", "-f", "-", input=training("two", image="b"))
    assert kubectl("get", "trn", "--field-selector=spec.image=b", "-o", "name").lines == [
        "training.ml.example.com/two"
    ]
    kubectl("label", "trn/two", "tier=gold")
    kubectl("annotate", "trn/two", "note=x")
    assert "Tier" not in kubectl("describe", "trn/two").stdout
    kubectl("delete", "trn", "--all", "--timeout=240s")
    assert kubectl("get", "trn", "-o", "name").lines == []


def test_what_is_refused(kubectl: Kubectl) -> None:
    unknown = kubectl("create", "-f", "-", input=training("bad", color="red"), code=1)
    assert 'unknown field "spec.color"' in unknown.stderr
    wrong = kubectl("create", "-f", "-", input=training("bad", workers="x"), code=1)
    assert 'spec.workers in body must be of type integer: "string"' in wrong.stderr
    rule = kubectl("create", "-f", "-", input=training("bad", workers=9), code=1)
    assert "more workers than the limit" in rule.stderr
    broken = {**DEFINITION, "spec": {**DEFINITION["spec"], "versions": []}}
    assert (
        "must have exactly one version marked as storage version"
        in kubectl("apply", "-f", "-", input=broken, code=1).stderr
    )


def test_explain_and_discovery(kubectl: Kubectl) -> None:
    # kubectl keeps discovery on its disk; it looks again for a name it does not know, but not for a short name.
    kubectl("get", "trainings")
    text = kubectl("explain", "trn.spec").stdout
    assert "What is wanted." in text
    assert "workers\t<integer>" in text
    assert "limit" in kubectl("explain", "trainings", "--recursive").stdout
    listed = kubectl("api-resources", "--api-group=ml.example.com").rows
    assert listed[0][:3] == ["trainings", "trn", "ml.example.com/v1"]


def test_restart(kubectl: Kubectl, server: Server, directory: Path) -> None:
    kubectl("apply", "-f", "-", input=training("kept"))
    server.kill()
    again = Server(directory, server.port).ready()
    server.process = again.process
    assert eventually(lambda: kubectl.json("get", "trn", "kept"))["spec"]["workers"] == 1
    kubectl("delete", "crd", "trainings.ml.example.com", "--timeout=240s")
    gone = kubectl("get", "trainings.ml.example.com", code=1)
    assert "the server doesn't have a resource type" in gone.stderr
