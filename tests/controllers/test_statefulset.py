"""StatefulSets: order, updates, identity."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fake_client import NOW, FakeClient, drain, make_context, ready_pod, template

from lakh.client.resources import PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from lakh.controllers.claimretention import owners
from lakh.controllers.statefulset import StatefulSetController, decide
from lakh.controllers.views import Condition, Meta, Pod, PodSpec, PodStatus, StatefulSet
from lakh.machinery.volumes import ClaimView


def put(client: FakeClient, replicas: int = 3, **spec: Any) -> None:
    client.put(
        STATEFULSETS,
        {
            "metadata": {"name": "db"},
            "spec": {
                "replicas": replicas,
                "serviceName": "db",
                "selector": {"matchLabels": {"app": "db"}},
                "template": template({"app": "db"}),
                "updateStrategy": {"type": "RollingUpdate"},
                **spec,
            },
        },
    )


def names(client: FakeClient) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in client.all(PODS))


async def test_ordered_start_and_scale_down(client: FakeClient) -> None:
    controller = StatefulSetController(make_context(client))
    put(
        client,
        volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
    )
    for expected in (["db-0"], ["db-0", "db-1"], ["db-0", "db-1", "db-2"]):
        await drain(controller)
        assert names(client) == expected
        ready_pod(client, expected[-1])
    await drain(controller)
    pod = client.one(PODS, "db-1", "default")
    assert pod["spec"]["hostname"] == "db-1"
    assert pod["spec"]["subdomain"] == "db"
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "data-db-1"
    assert len(client.all(PERSISTENTVOLUMECLAIMS)) == 3
    status = client.one(STATEFULSETS, "db", "default")["status"]
    assert status["readyReplicas"] == status["updatedReplicas"] == 3
    client.change(STATEFULSETS, "db", {"spec": {"replicas": 1}})
    await drain(controller)
    assert names(client) == ["db-0"]


async def test_parallel(client: FakeClient) -> None:
    controller = StatefulSetController(make_context(client))
    put(client, podManagementPolicy="Parallel")
    await drain(controller)
    assert names(client) == ["db-0", "db-1", "db-2"]


@pytest.mark.parametrize(("partition", "updated"), [(0, {"db-0", "db-1", "db-2"}), (2, {"db-2"})])
async def test_update_from_the_top(client: FakeClient, partition: int, updated: set[str]) -> None:
    controller = StatefulSetController(make_context(client))
    put(client, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": partition}})
    seen: list[str] = []

    async def settle() -> None:
        for _ in range(20):
            await drain(controller)
            for pod in client.all(PODS):
                if pod["status"]["phase"] == "Pending":
                    seen.append(pod["metadata"]["name"])
                    ready_pod(client, pod["metadata"]["name"])

    await settle()
    assert seen == ["db-0", "db-1", "db-2"]
    containers = [{"name": "main", "image": "v2"}]
    client.change(STATEFULSETS, "db", {"spec": {"template": {"spec": {"containers": containers}}}})
    await settle()
    new = {p["metadata"]["name"] for p in client.all(PODS) if p["spec"]["containers"][0]["image"] == "v2"}
    assert new == updated
    assert seen[3:] == sorted(updated, reverse=True)
    status = client.one(STATEFULSETS, "db", "default")["status"]
    assert (status["currentRevision"] == status["updateRevision"]) == (partition == 0)


def db_pod(ordinal: int, *, ready: bool = True, revision: str = "new", deleted: bool = False) -> Pod:
    return Pod(
        Meta(
            name=f"db-{ordinal}",
            uid=f"db-{ordinal}",
            labels={"controller-revision-hash": revision},
            deletionTimestamp="2023-11-14T22:13:20Z" if deleted else None,
        ),
        PodSpec(),
        PodStatus(phase="Running", conditions=[Condition(type="Ready", status="True" if ready else "False")]),
    )


def set_view(**spec: Any) -> StatefulSet:
    return msgspec.convert({"metadata": {"name": "db"}, "spec": spec}, StatefulSet)


@pytest.mark.parametrize(
    ("replicas", "pods", "deleted"),
    [
        (0, [db_pod(0, ready=False), db_pod(1, ready=False)], []),
        (0, [db_pod(0, ready=False), db_pod(1)], ["db-1"]),
        (0, [db_pod(0), db_pod(1, ready=False)], ["db-1"]),
        (0, [db_pod(0), db_pod(1, deleted=True)], []),
        (1, [db_pod(0, ready=False), db_pod(1)], []),
        (1, [db_pod(0), db_pod(1), db_pod(2)], ["db-2"]),
    ],
)
def test_scaling_down_halts_at_broken_pods(replicas: int, pods: list[Pod], deleted: list[str]) -> None:
    plan = decide(set_view(replicas=replicas), pods, "new", "new", NOW)
    assert [pod.metadata.name for pod in plan.delete] == deleted


@pytest.mark.parametrize(
    ("unavailable", "partition", "broken", "deleted"),
    [
        (None, 0, (), ["db-4"]),
        (2, 0, (), ["db-4", "db-3"]),
        ("50%", 0, (), ["db-4", "db-3"]),
        ("1%", 0, (), ["db-4"]),
        (3, 3, (), ["db-4", "db-3"]),
        (3, 0, (0,), ["db-4", "db-3"]),
        (2, 0, (0, 1), []),
    ],
)
def test_max_unavailable(
    unavailable: int | str | None, partition: int, broken: tuple[int, ...], deleted: list[str]
) -> None:
    rolling: dict[str, Any] = {"partition": partition}
    if unavailable is not None:
        rolling["maxUnavailable"] = unavailable
    stateful = set_view(
        replicas=5,
        podManagementPolicy="Parallel",
        updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling},
    )
    pods = [db_pod(n, revision="old", ready=n not in broken) for n in range(5)]
    plan = decide(stateful, pods, "old", "new", NOW)
    assert [pod.metadata.name for pod in plan.delete] == deleted


RETENTION = [
    ("Retain", "Retain", [], []),
    ("Delete", "Retain", ["StatefulSet"], ["StatefulSet"]),
    ("Retain", "Delete", [], ["Pod"]),
    ("Delete", "Delete", ["StatefulSet"], ["Pod"]),
]


@pytest.mark.parametrize(("deleted", "scaled", "wanted", "surplus"), RETENTION)
async def test_claims_are_owned_by_whom_they_go_with(
    client: FakeClient, deleted: str, scaled: str, wanted: list[str], surplus: list[str]
) -> None:
    def owner(name: str) -> list[str]:
        found = client.one(PERSISTENTVOLUMECLAIMS, name, "default")["metadata"]
        return [reference["kind"] for reference in found.get("ownerReferences") or ()]

    controller = StatefulSetController(make_context(client))
    put(
        client,
        replicas=2,
        podManagementPolicy="Parallel",
        volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}],
        persistentVolumeClaimRetentionPolicy={"whenDeleted": deleted, "whenScaled": scaled},
    )
    await drain(controller)
    for name in ("db-0", "db-1"):
        ready_pod(client, name)
    await drain(controller)
    assert owner("data-db-0") == owner("data-db-1") == wanted
    client.change(STATEFULSETS, "db", {"spec": {"replicas": 1}})
    await drain(controller)
    assert names(client) == ["db-0"]
    assert (owner("data-db-0"), owner("data-db-1")) == (wanted, surplus)
    # A pod of that name comes back only when the claims of the last one are gone.
    client.change(STATEFULSETS, "db", {"spec": {"replicas": 2}})
    await drain(controller)
    assert names(client) == (["db-0"] if scaled == "Delete" else ["db-0", "db-1"])
    if scaled == "Delete":
        client.remove(PERSISTENTVOLUMECLAIMS, "data-db-1")
        controller.resync()
        await drain(controller)
        assert names(client) == ["db-0", "db-1"]
        assert owner("data-db-1") == wanted


def test_claims_of_others_are_left_alone() -> None:
    stateful = set_view(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"})
    stateful.metadata.uid = "new"

    def claim(*references: dict[str, Any]) -> ClaimView:
        return msgspec.convert(
            {"metadata": {"name": "data-db-0", "ownerReferences": list(references)}}, ClaimView
        )

    pod = db_pod(0).metadata
    earlier = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "old", "controller": True}
    assert owners(claim(earlier), stateful, pod, surplus=False) is None
    other = {"apiVersion": "v1", "kind": "Thing", "name": "t", "uid": "t", "controller": True}
    assert owners(claim(other), stateful, pod, surplus=False) is None
    ours = {**earlier, "uid": "new"}
    assert owners(claim(other, ours), stateful, pod, surplus=False) == [other]
    weak = {**other, "controller": False}
    found = owners(claim(weak), stateful, pod, surplus=False)
    assert found is not None
    assert [reference["uid"] for reference in found] == ["t", "new"]


async def test_claims_that_a_pending_pod_waits_for_come_back(client: FakeClient) -> None:
    controller = StatefulSetController(make_context(client))
    put(client, replicas=1, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}])
    await drain(controller)
    client.remove(PERSISTENTVOLUMECLAIMS, "data-db-0")
    controller.resync()
    await drain(controller)
    assert [one["metadata"]["name"] for one in client.all(PERSISTENTVOLUMECLAIMS)] == ["data-db-0"]
    ready_pod(client, "db-0")
    client.remove(PERSISTENTVOLUMECLAIMS, "data-db-0")
    controller.resync()
    await drain(controller)
    assert client.all(PERSISTENTVOLUMECLAIMS) == []
