"""Claims and volumes find each other and part; protection; ephemeral volumes."""

from __future__ import annotations

from typing import Any

from fake_client import FakeClient, drain, make_context

from lakh.client.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from lakh.controllers.persistentvolume import PersistentVolumeController
from lakh.controllers.volumeprotection import ClaimProtection, EphemeralVolumeController, VolumeProtection


def claim(client: FakeClient, name: str = "c", cls: str = "", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, **spec.pop("metadata", {})}
    body = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": cls,
        "resources": {"requests": {"storage": "2Gi"}},
        **spec,
    }
    return client.put(
        PERSISTENTVOLUMECLAIMS, {"metadata": metadata, "spec": body, "status": {"phase": "Pending"}}
    )


def volume(
    client: FakeClient, name: str = "v", size: str = "2Gi", cls: str = "", **spec: Any
) -> dict[str, Any]:
    metadata = {"name": name, **spec.pop("metadata", {})}
    body = {"accessModes": ["ReadWriteOnce"], "storageClassName": cls, "capacity": {"storage": size}, **spec}
    return client.put(PERSISTENTVOLUMES, {"metadata": metadata, "spec": body, "status": {"phase": "Pending"}})


def storage_class(client: FakeClient, mode: str, provisioner: str = "csi.example.com") -> None:
    client.put(
        STORAGECLASSES, {"metadata": {"name": "fast"}, "provisioner": provisioner, "volumeBindingMode": mode}
    )


async def test_an_immediate_claim_gets_the_smallest_volume(client: FakeClient) -> None:
    controller = PersistentVolumeController(make_context(client))
    volume(client, "big", "9Gi")
    volume(client, "right", "3Gi")
    volume(client, "small", "1Gi")
    await drain(controller)
    claim(client)
    await drain(controller)
    bound = client.one(PERSISTENTVOLUMECLAIMS, "c", "default")
    assert bound["spec"]["volumeName"] == "right"
    assert bound["status"] == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "3Gi"},
    }
    assert bound["metadata"]["annotations"] == {
        "pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes",
    }
    phases = {v["metadata"]["name"]: v["status"]["phase"] for v in client.all(PERSISTENTVOLUMES)}
    assert phases == {"big": "Available", "right": "Bound", "small": "Available"}


async def test_binding_is_taken_up_after_each_write(client: FakeClient) -> None:
    """A crash after any of the four writes leaves something that the next controller finishes."""
    for writes in range(4):
        one = FakeClient()
        volume(one)
        claim(one)
        first = PersistentVolumeController(make_context(one))
        left = writes + 1  # the volume becomes Available first

        def fail(verb: str, resource: Any, name: str) -> Exception | None:
            nonlocal left
            if verb != "patch":
                return None
            left -= 1
            return RuntimeError("crash") if left < 0 else None

        one.fail = fail
        first.resync()
        try:
            await drain(first)
        except RuntimeError:
            pass
        one.fail = lambda verb, resource, name: None
        second = PersistentVolumeController(make_context(one))
        second.resync()
        await drain(second)
        assert one.one(PERSISTENTVOLUMECLAIMS, "c", "default")["status"]["phase"] == "Bound"
        assert one.one(PERSISTENTVOLUMES, "v")["status"]["phase"] == "Bound"


async def test_a_claim_waits_for_its_first_consumer(client: FakeClient) -> None:
    context = make_context(client)
    controller = PersistentVolumeController(context)
    storage_class(client, "WaitForFirstConsumer")
    volume(client, cls="fast")
    made = claim(client, cls="fast")
    await drain(controller)
    assert client.one(PERSISTENTVOLUMECLAIMS, "c", "default")["status"]["phase"] == "Pending"
    assert "WaitForFirstConsumer" in context.recorder("persistentvolume-controller").reasons  # type: ignore[attr-defined]
    reference = {"namespace": "default", "name": "c", "uid": made["metadata"]["uid"]}
    client.change(PERSISTENTVOLUMES, "v", {"spec": {"claimRef": reference}})  # as the scheduler does
    await drain(controller)
    bound = client.one(PERSISTENTVOLUMECLAIMS, "c", "default")
    assert (bound["status"]["phase"], bound["spec"]["volumeName"]) == ("Bound", "v")


async def test_the_provisioner_is_asked_once_a_node_is_selected(client: FakeClient) -> None:
    controller = PersistentVolumeController(make_context(client))
    storage_class(client, "WaitForFirstConsumer")
    claim(client, cls="fast")
    await drain(controller)
    key = "volume.kubernetes.io/storage-provisioner"
    assert key not in client.one(PERSISTENTVOLUMECLAIMS, "c", "default")["metadata"].get("annotations", {})
    client.change(
        PERSISTENTVOLUMECLAIMS,
        "c",
        {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n"}}},
    )
    await drain(controller)
    found = client.one(PERSISTENTVOLUMECLAIMS, "c", "default")["metadata"]["annotations"]
    assert found[key] == "csi.example.com"


async def test_a_volume_is_released_when_its_claim_is_gone(client: FakeClient) -> None:
    controller = PersistentVolumeController(make_context(client))
    volume(client)
    claim(client)
    await drain(controller)
    client.remove(PERSISTENTVOLUMECLAIMS, "c")
    await drain(controller)
    assert client.one(PERSISTENTVOLUMES, "v")["status"]["phase"] == "Released"
    claim(client)  # another claim of the name does not get the data of the first
    await drain(controller)
    assert client.one(PERSISTENTVOLUMECLAIMS, "c", "default")["status"]["phase"] == "Pending"


async def test_a_claim_is_lost_with_its_volume(client: FakeClient) -> None:
    controller = PersistentVolumeController(make_context(client))
    volume(client)
    claim(client)
    await drain(controller)
    client.remove(PERSISTENTVOLUMES, "v")
    await drain(controller)
    assert client.one(PERSISTENTVOLUMECLAIMS, "c", "default")["status"]["phase"] == "Lost"


async def test_a_claim_in_use_stays(client: FakeClient) -> None:
    controller = ClaimProtection(make_context(client))
    spec = {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]}
    client.put(PODS, {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": "Running"}})
    claim(client, metadata={"finalizers": ["kubernetes.io/pvc-protection"]})
    await client.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
    await drain(controller)
    assert len(client.all(PERSISTENTVOLUMECLAIMS)) == 1
    client.change(PODS, "p", {"status": {"phase": "Succeeded"}})
    await drain(controller)
    assert client.all(PERSISTENTVOLUMECLAIMS) == []


async def test_a_bound_volume_stays(client: FakeClient) -> None:
    controller = VolumeProtection(make_context(client))
    volume(client, metadata={"finalizers": ["kubernetes.io/pv-protection"]})
    client.change(PERSISTENTVOLUMES, "v", {"status": {"phase": "Bound"}})
    await client.delete(PERSISTENTVOLUMES, "v")
    await drain(controller)
    assert len(client.all(PERSISTENTVOLUMES)) == 1
    client.change(PERSISTENTVOLUMES, "v", {"status": {"phase": "Released"}})
    await drain(controller)
    assert client.all(PERSISTENTVOLUMES) == []


async def test_ephemeral_volumes_get_claims(client: FakeClient) -> None:
    controller = EphemeralVolumeController(make_context(client))
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    spec = {"volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]}
    made = client.put(PODS, {"metadata": {"name": "p"}, "spec": spec})
    await drain(controller)
    (found,) = client.all(PERSISTENTVOLUMECLAIMS)
    assert found["metadata"]["name"] == "p-scratch" and found["metadata"]["labels"] == {"a": "b"}
    assert found["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert found["spec"] == template["spec"]
