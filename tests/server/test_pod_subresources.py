"""`pods/ephemeralcontainers` and `pods/resize` over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import PODS, Api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    server = await Api.start()
    yield server
    await server.stop()


def pod(name: str = "a", **container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", **container}]},
    }


def resources(cpu: str, **more: Any) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": "1Gi", **more}}


async def resize(api: Api, container: dict[str, Any]) -> Any:
    patch = {"spec": {"containers": [{"name": "c", **container}]}}
    return await api.patch(f"{PODS}/a/resize", patch, "strategic-merge-patch+json")


async def debug(api: Api, *containers: dict[str, Any]) -> Any:
    patch = {"spec": {"ephemeralContainers": list(containers)}}
    return await api.patch(f"{PODS}/a/ephemeralcontainers", patch, "strategic-merge-patch+json")


async def test_resize(api: Api) -> None:
    await api.post(PODS, pod(resources=resources("1")))
    done = await resize(api, {"resources": resources("2"), "image": "other"})
    assert done.status == 200, done
    container = done.json["spec"]["containers"][0]
    assert container["resources"]["requests"]["cpu"] == "2"
    # Everything else is left as it was.
    assert container["image"] == "i"
    assert done.json["metadata"]["generation"] == 2
    entry = next(m for m in done.json["metadata"]["managedFields"] if m.get("subresource") == "resize")
    assert "f:spec" in entry["fieldsV1"]
    # The pod itself is not resized by an ordinary update.
    refused = await api.patch(
        f"{PODS}/a",
        {"spec": {"containers": [{"name": "c", "resources": resources("3")}]}},
        "strategic-merge-patch+json",
    )
    assert refused.status == 422
    assert (await api.get(f"{PODS}/a/resize")).json["spec"] == done.json["spec"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resources": {"$patch": "replace"}}, "Pod QOS Class may not change as a result of resizing"),
        (
            {"resources": {"requests": {"memory": None}}},
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            {"resources": resources("1", **{"ephemeral-storage": "1Gi"})},
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        ({"resources": {"requests": {"cpu": "-1"}}}, "must be greater than or equal to 0"),
    ],
)
async def test_resizes_that_are_refused(api: Api, change: dict[str, Any], message: str) -> None:
    await api.post(PODS, pod(resources=resources("1")))
    refused = await resize(api, change)
    assert refused.status == 422, refused
    assert message in refused.json["message"]
    assert (await api.get(f"{PODS}/a")).json["metadata"]["generation"] == 1


async def test_containers_may_not_come_or_go_by_a_resize(api: Api) -> None:
    made = (await api.post(PODS, pod(resources=resources("1")))).json
    made["spec"]["containers"].append({**made["spec"]["containers"][0], "name": "d"})
    refused = await api.put(f"{PODS}/a/resize", made)
    assert (
        "spec.containers: Forbidden: containers may not be added or removed on resize"
        in refused.json["message"]
    )


async def test_a_node_that_cannot_resize(api: Api) -> None:
    await api.post(PODS, pod(resources=resources("1")))
    status = {
        "containerStatuses": [
            {
                "name": "c",
                "ready": True,
                "restartCount": 0,
                "image": "i",
                "imageID": "",
                "state": {"running": {}},
            }
        ]
    }
    assert (await api.patch(f"{PODS}/a/status", {"status": status})).status == 200
    refused = await resize(api, {"resources": resources("2")})
    assert "spec: Forbidden: Pod running on node without support for resize" in refused.json["message"]


async def test_ephemeral_containers(api: Api) -> None:
    assert (await api.post(PODS, pod())).status == 201
    done = await debug(api, {"name": "debug", "image": "busybox", "targetContainerName": "c"})
    assert done.status == 200, done
    (container,) = done.json["spec"]["ephemeralContainers"]
    assert container["terminationMessagePolicy"] == "File" and container["imagePullPolicy"] == "Always"
    assert done.json["metadata"]["generation"] == 2
    more = await debug(api, {"name": "two", "image": "busybox"})
    assert {c["name"] for c in more.json["spec"]["ephemeralContainers"]} == {"debug", "two"}
    # Ordinary updates still work, and leave them alone.
    labelled = await api.patch(f"{PODS}/a", {"metadata": {"labels": {"a": "b"}}})
    assert labelled.status == 200 and len(labelled.json["spec"]["ephemeralContainers"]) == 2


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"name": "c", "image": "b"}, 'spec.ephemeralContainers[0].name: Duplicate value: "c"'),
        (
            {"name": "d", "image": "b", "targetContainerName": "x"},
            'spec.ephemeralContainers[0].targetContainerName: Not found: "x"',
        ),
        (
            {"name": "d", "image": "b", "ports": [{"containerPort": 1}]},
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        ),
        (
            {"name": "d", "image": "b", "resources": {"limits": {"cpu": "1"}}},
            "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
        ),
        ({"name": "d"}, "spec.ephemeralContainers[0].image: Required value"),
    ],
)
async def test_ephemeral_containers_that_are_refused(
    api: Api, container: dict[str, Any], message: str
) -> None:
    await api.post(PODS, pod())
    refused = await debug(api, container)
    assert refused.status == 422, refused
    assert message in refused.json["message"]


async def test_ephemeral_containers_stay(api: Api) -> None:
    await api.post(PODS, pod())
    await debug(api, {"name": "debug", "image": "busybox"})
    changed = await debug(api, {"name": "debug", "image": "other"})
    assert 'existing ephemeral containers "debug" may not be changed' in changed.json["message"]
    live = (await api.get(f"{PODS}/a")).json
    live["spec"]["ephemeralContainers"] = []
    removed = await api.put(f"{PODS}/a/ephemeralcontainers", live)
    assert 'existing ephemeral containers "debug" may not be removed' in removed.json["message"]
