"""Resource claims: made from templates once, taken from pods that have ended, given back."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import FakeClient, drain, make_context

from lakh.client.resources import PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES
from lakh.controllers.resourceclaim import FINALIZER, ResourceClaimController

SPEC = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "chips", "count": 2}}]}}


def template(client: FakeClient) -> None:
    client.put(
        RESOURCECLAIMTEMPLATES,
        {"metadata": {"name": "two"}, "spec": {"metadata": {"labels": {"team": "a"}}, "spec": SPEC}},
    )


def pod(client: FakeClient, name: str = "p", **status: Any) -> dict[str, Any]:
    claims = [{"name": "chips", "resourceClaimTemplateName": "two"}]
    body = {
        "metadata": {"name": name},
        "spec": {"containers": [], "resourceClaims": claims},
        "status": {"phase": "Pending", **status},
    }
    return client.put(PODS, body)


async def test_a_pod_gets_its_claim_once(client: FakeClient) -> None:
    controller = ResourceClaimController(make_context(client))
    template(client)
    made = pod(client)
    await drain(controller)
    (claim,) = client.all(RESOURCECLAIMS)
    assert claim["spec"] == SPEC and claim["metadata"]["labels"] == {"team": "a"}
    assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/pod-claim-name": "chips"}
    owner = claim["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Pod", made["metadata"]["uid"], True)
    assert client.one(PODS, "p", "default")["status"]["resourceClaimStatuses"] == [
        {"name": "chips", "resourceClaimName": claim["metadata"]["name"]}
    ]
    controller.resync()
    await drain(controller)
    assert len(client.all(RESOURCECLAIMS)) == 1


async def test_a_crash_between_claim_and_status_makes_no_second_claim(client: FakeClient) -> None:
    controller = ResourceClaimController(make_context(client))
    template(client)
    client.fail = lambda verb, resource, name: RuntimeError("gone") if verb == "patch" else None
    pod(client)
    try:
        await drain(controller)
    except RuntimeError:
        pass
    client.fail = lambda verb, resource, name: None
    again = ResourceClaimController(make_context(client))
    again.resync()
    await drain(again)
    assert len(client.all(RESOURCECLAIMS)) == 1
    assert client.one(PODS, "p", "default")["status"]["resourceClaimStatuses"]


async def test_a_missing_template_is_said(client: FakeClient) -> None:
    context = make_context(client)
    controller = ResourceClaimController(context)
    pod(client)
    with pytest.raises(Exception, match='resource claim template "two"'):
        await drain(controller)
    assert context.recorder("resource_claim").reasons == ["FailedResourceClaimCreation"]  # type: ignore[attr-defined]
    template(client)
    await drain(controller)
    assert len(client.all(RESOURCECLAIMS)) == 1


def allocated(client: FakeClient, *uids: str, **metadata: Any) -> None:
    client.put(
        RESOURCECLAIMS,
        {
            "metadata": {"name": "shared", "finalizers": [FINALIZER], **metadata},
            "spec": SPEC,
            "status": {
                "allocation": {"devices": {}},
                "reservedFor": [{"resource": "pods", "name": uid, "uid": uid} for uid in uids],
            },
        },
    )


async def test_the_last_user_gives_the_devices_back(client: FakeClient) -> None:
    controller = ResourceClaimController(make_context(client))
    for name in ("a", "b"):
        body = {
            "metadata": {"name": name, "uid": name},
            "spec": {"resourceClaims": [{"name": "c", "resourceClaimName": "shared"}]},
        }
        client.put(PODS, body | {"status": {"phase": "Running"}})
    allocated(client, "a", "b")
    await drain(controller)
    client.change(PODS, "a", {"status": {"phase": "Succeeded"}})
    await drain(controller)
    status = client.one(RESOURCECLAIMS, "shared", "default")["status"]
    assert [c["uid"] for c in status["reservedFor"]] == ["b"] and "allocation" in status
    client.remove(PODS, "b")
    await drain(controller)
    claim = client.one(RESOURCECLAIMS, "shared", "default")
    assert claim["status"] == {} and not claim["metadata"].get("finalizers")


async def test_an_allocation_that_nobody_has_reserved_yet_stays(client: FakeClient) -> None:
    """The scheduler writes the finalizer first, then the allocation: between the two nothing is tidied."""
    controller = ResourceClaimController(make_context(client))
    client.put(RESOURCECLAIMS, {"metadata": {"name": "c", "finalizers": [FINALIZER]}, "spec": SPEC})
    await drain(controller)
    assert client.one(RESOURCECLAIMS, "c", "default")["metadata"]["finalizers"] == [FINALIZER]


async def test_a_pod_that_has_ended_loses_its_claim(client: FakeClient) -> None:
    controller = ResourceClaimController(make_context(client))
    template(client)
    pod(client)
    await drain(controller)
    client.change(PODS, "p", {"status": {"phase": "Failed"}})
    await drain(controller)
    assert client.all(RESOURCECLAIMS) == []


async def test_the_schedulers_claim_goes_with_its_pod(client: FakeClient) -> None:
    """A claim that serves a pod's extended resources: freed and deleted once the pod has ended, though the pod is still there."""
    controller = ResourceClaimController(make_context(client))
    status = {"phase": "Running", "extendedResourceClaimStatus": {"resourceClaimName": "shared"}}
    client.put(PODS, {"metadata": {"name": "p", "uid": "p"}, "spec": {}, "status": status})
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": True}
    annotations = {"resource.kubernetes.io/extended-resource-claim": "true"}
    allocated(client, "p", ownerReferences=[owner], annotations=annotations)
    await drain(controller)
    assert client.one(RESOURCECLAIMS, "shared", "default")["status"]["allocation"] is not None
    client.change(PODS, "p", {"status": {"phase": "Succeeded"}})
    await drain(controller)
    assert client.all(RESOURCECLAIMS) == []
