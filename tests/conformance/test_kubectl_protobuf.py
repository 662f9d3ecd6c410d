"""kubectl's typed commands send protobuf: what is stored is what the same command's JSON would store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .cluster import Kubectl, Server

# NAME is replaced; what a command makes is read back as its kind and name.
COMMANDS = {
    "clusterrole": "clusterrole NAME --verb=get,list --resource=pods,deployments.apps",
    "clusterrolebinding": "clusterrolebinding NAME --clusterrole=view --user=u --group=g --serviceaccount=default:a",
    "configmap": "configmap NAME --from-literal=k=v --from-literal=empty=",
    "cronjob": "cronjob NAME --image=busybox --schedule=*/5,*,*,*,* -- date",
    "deployment": "deployment NAME --image=nginx --replicas=2 --port=80",
    "ingress": "ingress NAME --class=c --rule=a.example/b*=web:80,tls=cert --default-backend=web:http",
    "job": "job NAME --image=busybox -- echo hi",
    "namespace": "namespace NAME",
    "poddisruptionbudget": "poddisruptionbudget NAME --selector=app=web --min-available=50%",
    "priorityclass": "priorityclass NAME --value=0 --description=d --preemption-policy=Never",
    "resourcequota": "quota NAME --hard=cpu=1,memory=1Gi,pods=2 --scopes=NotTerminating",
    "role": "role NAME --verb=get --resource=pods --resource-name=one",
    "rolebinding": "rolebinding NAME --role=r --user=u",
    "secret": "secret generic NAME --from-literal=k=v",
    "service": "service nodeport NAME --tcp=80:http --tcp=443",
    "serviceaccount": "serviceaccount NAME",
}
# What differs from one object to the next.
OWN = ("uid", "creationTimestamp", "resourceVersion", "managedFields")
FREE = re.compile(r'"(nodePort|clusterIP)": ?("[^"]*"|\d+)|"clusterIPs": ?\[[^]]*\]')


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl on an API server alone."""
    if not Kubectl.available():
        pytest.skip("kubectl is not on PATH: install it (1.30 or newer) to run these tests")
    server = Server(tmp_path_factory.mktemp("protobuf")).ready()
    try:
        yield Kubectl(server.kubeconfig, tmp_path_factory.mktemp("home"))
    finally:
        server.stop()


def _line(name: str, kind: str, *flags: str) -> list[str]:
    """A command's arguments; a cron schedule has its blanks as commas."""
    words = COMMANDS[kind].replace("NAME", name).split(" ")
    return ["create", *flags, *(w.replace(",", " ") if w.startswith("--schedule") else w for w in words)]


def _form(obj: dict[str, Any], name: str) -> Any:
    for key in OWN:
        obj["metadata"].pop(key, None)
    for labels in (obj, obj.get("spec", {}).get("template", {})):
        metadata = labels.get("metadata", {})
        for key in list(metadata.get("labels", {})):
            if "controller-uid" in key:
                del metadata["labels"][key]
    if obj["kind"] == "Job":
        obj["spec"].pop("selector", None)
    text = FREE.sub('"free": 0', json.dumps(obj)).replace(name, "NAME")
    return json.loads(text)


def test_create_stores_what_json_would(kubectl: Kubectl) -> None:
    manifests = []
    for kind in COMMANDS:
        kubectl(*_line("typed", kind))
        manifests.append(json.loads(kubectl(*_line("plain", kind, "--dry-run=client", "-o=json")).stdout))
    kubectl("create", "-f", "-", input=manifests)
    asked = [f"{kind}/{name}" for kind in COMMANDS for name in ("typed", "plain")]
    found = kubectl.json("get", *asked)["items"]
    assert len(found) == 2 * len(COMMANDS)
    for typed, plain in zip(found[::2], found[1::2], strict=True):
        assert (typed["metadata"]["name"], plain["metadata"]["name"]) == ("typed", "plain")
        assert _form(typed, "typed") == _form(plain, "plain")


def test_reviews(kubectl: Kubectl) -> None:
    who = kubectl.json("auth", "whoami")
    assert who["status"]["userInfo"]["username"]
    assert kubectl("auth", "can-i", "create", "pods").stdout == "yes\n"
