"""Answers as protobuf: the same objects as in JSON, single, in lists and in watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lakh.machinery import protobuf
from lakh.server import messages

from .harness import CONFIGMAPS, PODS, Api, FakeStream, configmap

ACCEPT = "application/vnd.kubernetes.protobuf,application/json"
ONLY = "application/vnd.kubernetes.protobuf"
PARTIAL = f"{ONLY};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIALS = f"{ONLY};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    server = await Api.start()
    yield server
    await server.stop()


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": "100m"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"containers": [container], **spec},
    }


def _plain(value: Any) -> Any:
    """Without what protobuf does not tell from nothing: nulls, empty lists and maps, and zeros of no pointers."""
    if isinstance(value, dict):
        return {
            k: found
            for k, v in value.items()
            if (found := _plain(v)) is not None and found not in ({}, [], "")
        }
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _same(message: bytes, json: Any) -> None:
    assert _plain(protobuf.decode(message)) == _plain(json)


async def test_objects(api: Api) -> None:
    made = await api.post(PODS, pod("a"), accept=ACCEPT)
    assert (made.status, made.content_type) == (201, ONLY)
    json = (await api.get(f"{PODS}/a")).json
    _same(made.body, json)
    got = await api.get(f"{PODS}/a", accept=ACCEPT)
    _same(got.body, json)
    assert protobuf.decode(got.body)["metadata"]["resourceVersion"] == json["metadata"]["resourceVersion"]
    changed = await api.patch(f"{PODS}/a", {"metadata": {"labels": {"b": "c"}}}, accept=ACCEPT)
    _same(changed.body, (await api.get(f"{PODS}/a")).json)
    gone = await api.delete(f"{PODS}/a?gracePeriodSeconds=0", accept=ACCEPT)
    assert protobuf.decode(gone.body)["kind"] == "Pod"


async def test_a_write_in_protobuf_is_answered_in_protobuf(api: Api) -> None:
    body = protobuf.encode({"apiVersion": "v1", "kind": "ConfigMap", **configmap("a", k="v")})
    made = await api.post(CONFIGMAPS, body, content_type=ONLY, accept=ONLY)
    _same(made.body, (await api.get(f"{CONFIGMAPS}/a")).json)
    dry = await api.post(f"{CONFIGMAPS}?dryRun=All", {**configmap("b")}, accept=ONLY)
    found = protobuf.decode(dry.body)
    assert found["metadata"]["name"] == "b" and "resourceVersion" not in found["metadata"]


async def test_errors_are_statuses_in_the_clients_form(api: Api) -> None:
    missing = await api.get(f"{PODS}/none", accept=ACCEPT)
    status = protobuf.decode(missing.body)
    assert (missing.status, missing.content_type) == (404, ONLY)
    assert (status["kind"], status["apiVersion"], status["reason"]) == ("Status", "v1", "NotFound")
    assert status["message"] == 'pods "none" not found'
    deleted = await api.post(CONFIGMAPS, configmap("a"))
    assert deleted.status == 201
    done = await api.delete(f"{CONFIGMAPS}/a", accept=ACCEPT)
    assert protobuf.decode(done.body)["status"] == "Success"


async def test_reviews_and_scale(api: Api) -> None:
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {}}
    review["spec"] = {"resourceAttributes": {"verb": "get", "resource": "pods"}}
    answer = await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, accept=ACCEPT)
    assert protobuf.decode(answer.body)["status"]["allowed"] is True


@pytest.mark.parametrize("kept", [messages.KEPT_BYTES, 20_000, 0])
async def test_lists_of_any_length(api: Api, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    # What is not kept is made twice: the bytes are the same.
    monkeypatch.setattr(messages, "KEPT_BYTES", kept)
    for n in range(300):
        await api.post(CONFIGMAPS, configmap(f"c{n:03}", k="v" * n))
    json = (await api.get(CONFIGMAPS)).json
    found = await api.get(CONFIGMAPS, accept=ACCEPT)
    assert found.content_type == ONLY
    _same(found.body, json)
    page = protobuf.decode((await api.get(f"{CONFIGMAPS}?limit=200", accept=ACCEPT)).body)
    assert len(page["items"]) == 200 and page["metadata"]["remainingItemCount"] == len(json["items"]) - 200
    token = page["metadata"]["continue"]
    rest = protobuf.decode((await api.get(f"{CONFIGMAPS}?continue={token}", accept=ACCEPT)).body)
    assert [i["metadata"]["name"] for i in page["items"] + rest["items"]] == [
        i["metadata"]["name"] for i in json["items"]
    ]
    partial = protobuf.decode((await api.get(CONFIGMAPS, accept=PARTIALS)).body)
    assert partial["kind"] == "PartialObjectMetadataList"
    assert [i["metadata"] for i in partial["items"]] == [i["metadata"] for i in json["items"]]


async def test_partial_metadata(api: Api) -> None:
    await api.post(PODS, pod("a"))
    json = (await api.get(f"{PODS}/a")).json
    got = await api.get(f"{PODS}/a", accept=PARTIAL)
    _same(
        got.body,
        {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": json["metadata"]},
    )


def _events(stream: FakeStream) -> list[tuple[str, dict[str, Any]]]:
    """The events of a watch, taken apart by hand."""
    data, found = stream.data, []
    while data:
        size = int.from_bytes(data[:4], "big")
        event, data = data[4 : 4 + size], data[4 + size :]
        parts = protobuf._parts(event)
        kind, extension = parts[1], parts[2]
        assert isinstance(kind, bytes) and isinstance(extension, bytes)
        raw = protobuf._parts(extension)[1]
        assert isinstance(raw, bytes)
        found.append((kind.decode(), protobuf.decode(raw)))
    return found


async def test_watch(api: Api) -> None:
    await api.post(CONFIGMAPS, configmap("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    stream = await api.watch(f"{CONFIGMAPS}?{query}", accept=f"{ONLY};stream=watch,application/json")
    partial = await api.watch(f"{CONFIGMAPS}?watch=1", accept=PARTIAL)
    made = await api.patch(f"{CONFIGMAPS}/a", {"data": {"k": "v"}})
    await api.delete(f"{CONFIGMAPS}/a")
    api.server.watching.flush()
    events = [e for e in _events(stream) if e[1]["metadata"].get("name") in (None, "a")]
    assert [kind for kind, _ in events] == ["ADDED", "BOOKMARK", "MODIFIED", "DELETED"]
    assert events[1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert events[1][1]["kind"] == "ConfigMap"
    assert _plain(events[2][1]) == _plain(made.json)
    shown = [e for e in _events(partial) if e[1]["metadata"].get("name") == "a"]
    assert [kind for kind, _ in shown] == ["ADDED", "MODIFIED", "DELETED"]
    assert shown[1][1] == {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": made.json["metadata"],
    }


async def test_a_watch_from_too_long_ago_ends_with_a_status(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = await api.raw(api.request("GET", f"{CONFIGMAPS}?watch=1&resourceVersion=1", accept=ONLY))
    assert response.content_type == b"application/vnd.kubernetes.protobuf;stream=watch"
    partition = api.server.cluster.named("", "v1", "configmaps").partition
    monkeypatch.setattr(partition._state.history, "oldest", 10**6)
    stream = FakeStream()
    done = response.start(stream)  # type: ignore[union-attr, arg-type]
    assert done is not None
    await done
    ((kind, status),) = _events(stream)
    assert (kind, status["reason"], status["code"]) == ("ERROR", "Expired", 410)


async def test_custom_resources_are_not_protobuf(api: Api) -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": True,
                            "properties": {
                                "spec": {"type": "object", "properties": {"a": {"type": "string"}}}
                            },
                        }
                    },
                }
            ],
        },
    }
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await api.post(crds, definition, accept=ONLY)).status == 201
    things = "/apis/example.com/v1/namespaces/default/things"
    async with asyncio.timeout(120):
        while (await api.get(things)).status != 200:
            await asyncio.sleep(0)
    _same(
        (await api.get(f"{crds}/things.example.com", accept=ONLY)).body,
        (await api.get(f"{crds}/things.example.com")).json,
    )
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"a": "b"}}
    assert (await api.post(things, thing, accept=ACCEPT)).content_type == "application/json"
    for path in (things, f"{things}/a", f"{things}?watch=1"):
        refused = await api.get(path, accept=ONLY)
        assert refused.status == 406
    assert (
        protobuf.decode((await api.get(f"{things}/a", accept=PARTIAL)).body)["kind"]
        == "PartialObjectMetadata"
    )
