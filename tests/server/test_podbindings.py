"""A binding that stays bytes is what any other binding makes of a pod."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import times
from lakh.server import podbindings
from tests.server.harness import PODS, Api

CONTAINER = {"name": "c", "image": "i"}
SPECS: list[dict[str, Any]] = [
    {},
    {"hostname": "a", "nodeSelector": {"nodeName": "x", "status": "y"}},
    {"overhead": None, "os": {"name": "linux"}, "tolerations": [{"operator": "Exists"}]},
    {"initContainers": [CONTAINER | {"name": "i"}], "subdomain": "s", "automountServiceAccountToken": False},
    {"volumes": [{"name": "v", "emptyDir": {}}], "imagePullSecrets": [{"name": "s"}]},
    {"containers": [{**CONTAINER, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]},
    {"containers": [{**CONTAINER, "args": ['},"spec":{', ',"status":{', '"deletionTimestamp":"']}]},
]
ODD: list[dict[str, Any]] = [
    {"nodeName": "there"},
    {"schedulingGates": [{"name": "a.b/c"}]},
]
NAMES = st.text('ab-.é"\\', min_size=1, max_size=6)

CONDITIONS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["PodScheduled", "PodScheduled", "a.b/c"]),
        "status": st.sampled_from(["False", "True"]),
    },
    optional={
        "reason": st.just("Unschedulable"),
        "message": NAMES,
        "observedGeneration": st.just(1),
        "lastProbeTime": st.sampled_from([None, "2026-01-01T00:00:00Z"]),
        "lastTransitionTime": st.just("2026-01-01T00:00:00Z"),
    },
)


@pytest.fixture(autouse=True)
def _one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "now", lambda: "2026-01-01T00:00:00Z")


async def both(
    pod: dict[str, Any], binding: dict[str, Any], *, status: dict[str, Any] | None = None, query: str = ""
) -> tuple[bool, Any, Any]:
    """Whether a binding stayed bytes, and what it makes of a pod with and without that: answers, and what is stored."""
    api = await Api.start()
    partition = api.server.cluster.partitions["pods"]
    made = await api.call("POST", PODS, pod)
    assert made.status == 201, made
    merge = "application/merge-patch+json"
    if status is not None:
        said = await api.call("PATCH", f"{PODS}/p/status", {"status": status}, content_type=merge)
        assert said.status == 200
    first = partition.get("pods/default/p")
    assert first is not None
    binding = copy.deepcopy(binding)
    if binding["metadata"].get("uid") == "its own":
        binding["metadata"]["uid"] = made.json["metadata"]["uid"]
    found: list[Any] = []
    stayed: list[bool] = []
    bound = podbindings.bound
    try:
        for plain in (False, True):

            def tried(*args: Any, plain: bool = plain) -> bytes | None:
                value = None if plain else bound(*args)
                stayed.append(value is not None)
                return value

            podbindings.bound = tried
            answer = await api.call("POST", f"{PODS}/p/binding{query}", binding)
            item = partition.get("pods/default/p")
            assert item is not None
            version = made.json["metadata"]["resourceVersion"]
            found.append((answer.status, answer.body.replace(version.encode(), b""), item.value, item.terms))
            await partition.put("pods/default/p", first.value, terms=first.terms)
    finally:
        podbindings.bound = bound
    await api.stop()
    return any(stayed), found[0], found[1]


@given(
    spec=st.sampled_from([*SPECS, *ODD]),
    labels=st.dictionaries(st.sampled_from(["a", "spec", "deletionTimestamp"]), st.sampled_from(["", "x"])),
    annotations=st.dictionaries(st.sampled_from(["a", "spec", "status"]), NAMES),
    uid=st.sampled_from([None, "", "its own", "another", "é"]),
    node=NAMES,
    status=st.none()
    | st.sampled_from(
        [{"phase": "Pending"}, {"message": "m"}, {"conditions": []}, {"nominatedNodeName": "n"}]
    )
    | st.fixed_dictionaries({"conditions": st.lists(CONDITIONS, max_size=2, unique_by=lambda c: c["type"])}),
    noted=st.none() | st.dictionaries(st.just("b"), NAMES),
)
def test_whatever_is_bound(
    spec: dict[str, Any],
    labels: dict[str, str],
    annotations: dict[str, str],
    uid: str | None,
    node: str,
    status: dict[str, Any] | None,
    noted: dict[str, str] | None,
) -> None:
    pod = {
        "metadata": {"name": "p", "labels": labels, "annotations": annotations},
        "spec": {"containers": [CONTAINER], **spec},
    }
    binding = {
        "metadata": {"name": "p", "uid": uid, "annotations": noted},
        "target": {"kind": "Node", "name": node},
    }
    _, fast, plain = asyncio.run(both(pod, binding, status=status))
    assert fast == plain


BINDING = {"metadata": {"name": "p", "uid": "its own"}, "target": {"kind": "Node", "name": "n"}}


@pytest.mark.parametrize("spec", SPECS)
def test_new_pods_stay_bytes(spec: dict[str, Any]) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER], **spec}}
    stayed, fast, plain = asyncio.run(both(pod, BINDING))
    assert stayed and fast == plain and fast[0] == 201
    assert fast[3] == ("spec.nodeName=n",)


@pytest.mark.parametrize("spec", ODD)
def test_others_do_not(spec: dict[str, Any]) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER], **spec}}
    stayed, fast, plain = asyncio.run(both(pod, BINDING))
    assert not stayed and fast == plain and fast[0] == 409


def test_pods_that_waited() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}}
    why = {"reason": "Unschedulable", "message": '0/3 nodes: "a", "status":"True"\\'}
    waited = {"conditions": [{"type": "PodScheduled", "status": "False", **why}]}
    stayed, fast, plain = asyncio.run(both(pod, BINDING, status=waited))
    assert stayed and fast == plain and fast[0] == 201
    stayed, fast, plain = asyncio.run(both(pod, BINDING, status={**waited, "nominatedNodeName": "m"}))
    assert not stayed and fast == plain and fast[0] == 201


def test_a_dry_run_and_a_pod_that_is_being_deleted() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}}
    stayed, fast, plain = asyncio.run(both(pod, BINDING, query="?dryRun=All"))
    assert not stayed and fast == plain and fast[0] == 201
    value = b'{"metadata":{"deletionTimestamp":"x","uid":"u"},"spec":{},"status":{"phase":"Pending","qosClass":"Burstable"}}'
    assert podbindings.bound(value, None, "n", "now") is None
    assert podbindings.bound(value.replace(b"deletion", b"creation"), None, "n", "now") is not None
