"""Webhook conversion of custom resources, by a real little HTTPS server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ..certificates import self_signed
from .harness import Api
from .test_custom_resources import DEFINITIONS, TABLE, define

V1, V2 = (f"/apis/example.com/{v}/namespaces/default/hosts" for v in ("v1", "v2"))
TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


def schema(**properties: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": properties}
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}


def definition(hook: Hook, **client_config: Any) -> dict[str, Any]:
    """Hosts: v1, which is stored, has `spec.hostPort`; v2 has `spec.host` and `spec.port`."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "hosts", "kind": "Host"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": schema(hostPort=TEXT)},
                {
                    "name": "v2",
                    "served": True,
                    "storage": False,
                    "schema": schema(host={**TEXT, "maxLength": 9}, port={**NUMBER, "default": 80}),
                    "additionalPrinterColumns": [
                        {"name": "Port", "type": "integer", "jsonPath": ".spec.port"}
                    ],
                },
            ],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {
                    "conversionReviewVersions": ["v9", "v1"],
                    "clientConfig": client_config
                    or {"url": f"https://127.0.0.1:{hook.port}/convert", "caBundle": hook.ca_bundle},
                },
            },
        },
    }


def host(version: str, name: str = "a", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{version}", "kind": "Host", "metadata": {"name": name}, "spec": spec}


def convert(review: dict[str, Any]) -> dict[str, Any]:
    """A good webhook."""
    request = review["request"]
    found = []
    for obj in request["objects"]:
        # It also gets objects without what a manager gave up.
        spec = obj.get("spec", {})
        if request["desiredAPIVersion"].endswith("/v2"):
            name, _, port = spec.get("hostPort", ":").partition(":")
            spec = {"host": name, "port": int(port or 0)}
        else:
            spec = {"hostPort": f"{spec.get('host', '')}:{spec.get('port', '')}"}
        found.append({**obj, "apiVersion": request["desiredAPIVersion"], "spec": spec})
    return {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": found}


class Hook:
    """An HTTPS server with a certificate of its own that answers reviews with `answer`."""

    def __init__(self, directory: Path) -> None:
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] = convert
        self.reviews: list[dict[str, Any]] = []
        self.port = 0
        self.status = 200
        pem, key = self_signed("hook.default.svc")
        self.ca_bundle = base64.b64encode(pem).decode()
        file = directory / "hook.pem"
        file.write_bytes(pem + key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(file)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            review = msgspec.json.decode(await reader.readexactly(size))
            self.reviews.append(review)
            answer = {k: review[k] for k in ("kind", "apiVersion")} | {"response": self.answer(review)}
            body = msgspec.json.encode(answer)
            writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s" % (self.status, len(body), body))
        writer.close()

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Hook]:
    made = Hook(tmp_path)
    await made.start()
    yield made
    made.stop()


@pytest.fixture
async def api(hook: Hook) -> AsyncIterator[Api]:
    server = await Api.start()
    await define(server, definition(hook))
    yield server
    await server.stop()


async def test_reads(api: Api, hook: Hook) -> None:
    for name in ("a", "b"):
        assert (await api.post(V1, host("v1", name, hostPort=f"{name}:1"))).status == 201
    assert not hook.reviews
    got = (await api.get(f"{V2}/a")).json
    assert got["apiVersion"] == "example.com/v2" and got["spec"] == {"host": "a", "port": 1}
    assert got["metadata"] == (await api.get(f"{V1}/a")).json["metadata"]
    review = hook.reviews[0]
    assert (review["kind"], review["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
    assert review["request"]["desiredAPIVersion"] == "example.com/v2"
    listed = (await api.get(V2)).json
    assert (listed["apiVersion"], listed["kind"]) == ("example.com/v2", "HostList")
    assert [i["spec"] for i in listed["items"]] == [{"host": "a", "port": 1}, {"host": "b", "port": 1}]
    # One review for all.
    assert len(hook.reviews) == 2
    page = (await api.get(f"{V2}?limit=1")).json
    assert len(page["items"]) == 1 and page["metadata"]["continue"]
    table = (await api.get(V2, accept=TABLE)).json
    assert [row["cells"] for row in table["rows"]] == [["a", 1], ["b", 1]]
    assert (await api.get(f"{V2}/none")).status == 404


async def test_writes(api: Api, hook: Hook) -> None:
    made = await api.post(V2, host("v2", host="h"))
    assert made.status == 201, made
    # Defaulted in the client's version, stored in the other.
    assert made.json["spec"] == {"host": "h", "port": 80} and made.json["apiVersion"] == "example.com/v2"
    assert (await api.get(f"{V1}/a")).json["spec"] == {"hostPort": "h:80"}
    changed = made.json
    changed["spec"]["port"] = 81
    assert (await api.put(f"{V2}/a", changed)).json["spec"]["port"] == 81
    stale = await api.put(f"{V2}/a", changed)
    assert stale.status == 409
    patched = await api.patch(f"{V2}/a", {"spec": {"port": 82}, "metadata": {"labels": {"x": "y"}}})
    assert patched.json["spec"] == {"host": "h", "port": 82}
    assert (await api.get(f"{V1}/a")).json["spec"] == {"hostPort": "h:82"}
    assert (await api.get(f"{V1}/a")).json["metadata"]["labels"] == {"x": "y"}
    refused = await api.post(V2, host("v2", "b", host="much too long"))
    assert refused.status == 422 and "spec.host: Too long" in refused.json["message"]
    gone = await api.delete(f"{V2}/a")
    assert gone.json["status"] == "Success"
    assert (await api.get(f"{V1}/a")).status == 404


def fields(answer: Any) -> dict[str, Any]:
    """The fields of spec by manager and version, of those who hold any."""
    held = {
        (e["manager"], e["apiVersion"].rpartition("/")[2]): sorted({*e["fieldsV1"].get("f:spec", ())} - {"."})
        for e in answer.json["metadata"]["managedFields"]
    }
    return {manager: names for manager, names in held.items() if names}


async def test_server_side_apply_in_both_versions(api: Api, hook: Hook) -> None:
    """structured-merge-diff's merge.Updater: managers hold fields of their own versions, and conflicts are found in those."""
    made = await api.apply(f"{V2}/a", host("v2", host="h", port=1), "two")
    assert made.status == 201 and made.json["spec"] == {"host": "h", "port": 1}
    assert fields(made) == {("two", "v2"): ["f:host", "f:port"]}
    # Both fields of v2 are one of v1: who changes that takes both.
    refused = await api.apply(f"{V1}/a", host("v1", hostPort="h:2"), "one")
    assert refused.status == 409
    assert [c["field"] for c in refused.json["details"]["causes"]] == [".spec.port"]
    same = await api.apply(f"{V1}/a", host("v1", hostPort="h:1"), "one")
    assert fields(same) == {("two", "v2"): ["f:host", "f:port"], ("one", "v1"): ["f:hostPort"]}
    taken = await api.apply(f"{V1}/a", host("v1", hostPort="h:2"), "one", force=True)
    assert fields(taken) == {("two", "v2"): ["f:host"], ("one", "v1"): ["f:hostPort"]}
    # An update of the stored version takes from who applied in the other.
    changed = await api.patch(f"{V1}/a", {"spec": {"hostPort": "i:2"}})
    assert fields(changed) == {("tests", "v1"): ["f:hostPort"]}
    conflict = await api.apply(f"{V2}/a", host("v2", host="j"), "two")
    assert (
        conflict.status == 409
        and 'conflict with "tests" using example.com/v1: .spec.hostPort' in (conflict.json["message"])
    )
    forced = await api.apply(f"{V2}/a", host("v2", host="j"), "two", force=True)
    assert forced.json["spec"] == {"host": "j", "port": 2}
    assert fields(forced) == {("two", "v2"): ["f:host"]}
    # The same manager goes on in the other version, and what it stated before in its own is what it gives up.
    moved = await api.apply(f"{V1}/a", host("v1", hostPort="j:2"), "two")
    assert fields(moved) == {("two", "v1"): ["f:hostPort"]}
    missing = await api.apply(f"{V2}/none/status", host("v2", "none", host="h"), "two")
    assert missing.status == 404
    dry = await api.apply(f"{V2}/dry", host("v2", "dry", host="h"), "two", query="&dryRun=All")
    assert dry.status == 201 and dry.json["spec"] == {"host": "h", "port": 80}
    assert (await api.get(f"{V2}/dry")).status == 404


async def test_updates_hold_fields_of_their_version(api: Api, hook: Hook) -> None:
    made = await api.post(V2, host("v2", host="h"))
    assert fields(made) == {("tests", "v2"): ["f:host", "f:port"]}
    changed = made.json
    changed["spec"]["port"] = 81
    put = await api.put(f"{V2}/a", changed, user_agent="putter/1")
    assert fields(put) == {("tests", "v2"): ["f:host"], ("putter", "v2"): ["f:port"]}
    patched = await api.patch(f"{V2}/a", {"spec": {"host": "i"}}, user_agent="patcher/1")
    assert fields(patched) == {("putter", "v2"): ["f:port"], ("patcher", "v2"): ["f:host"]}
    # The stored version's own writers take the fields of both, and are taken from.
    stored = await api.patch(f"{V1}/a", {"spec": {"hostPort": "j:82"}}, user_agent="stored/1")
    assert fields(stored) == {("stored", "v1"): ["f:hostPort"]}
    back = await api.patch(f"{V2}/a", {"spec": {"port": 83}}, user_agent="patcher/1")
    assert fields(back) == {("patcher", "v2"): ["f:port"]}
    assert back.json["spec"] == {"host": "j", "port": 83}
    dry = await api.put(f"{V2}/a?dryRun=All", back.json)
    assert dry.status == 200 and dry.json["apiVersion"] == "example.com/v2"
    assert (await api.put(f"{V2}/none", host("v2", "none", host="h"))).status == 404
    assert (await api.put(f"{V2}/a", host("v2", "b", host="h"))).status == 400
    assert (await api.put(f"{V2}/a", host("v2", host="h"))).status == 422


async def test_a_watch_converts_event_by_event(api: Api) -> None:
    await api.post(V1, host("v1", hostPort="a:1"))
    response = await api.raw(api.request("GET", f"{V2}?watch=1"))
    from .harness import FakeStream

    stream = FakeStream()
    task = asyncio.ensure_future(response.start(stream))  # type: ignore[union-attr, arg-type]
    await stream.until(1)
    await api.patch(f"{V1}/a", {"spec": {"hostPort": "a:2"}})
    await api.delete(f"{V1}/a")
    events = await stream.until(3)
    assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert [e["object"]["spec"]["port"] for e in events] == [1, 2, 2]
    assert {e["object"]["apiVersion"] for e in events} == {"example.com/v2"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # The stored version's watch has ended with it.
    assert len(api.server.watching) == 0


def _result(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda review: {**convert(review), **fields}


def _renamed(review: dict[str, Any]) -> dict[str, Any]:
    found = convert(review)
    found["convertedObjects"][0]["metadata"] = {"name": "other"}
    return found


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_result(uid="x"), 'failed: expected response.uid="'),
        (_result(result={"status": "Failure", "message": "no way"}), "failed: no way"),
        (_result(result={}), "failed: response.result.status was '', not 'Success'"),
        (_result(convertedObjects=[]), "returned 0 objects, expected 1"),
        (
            _renamed,
            "returned invalid converted object at index 0: must have the same name: a != other",
        ),
        (
            lambda review: {**convert(review), "convertedObjects": review["request"]["objects"]},
            "index 0: invalid groupVersion (expected example.com/v2, received example.com/v1)",
        ),
    ],
)
async def test_what_a_webhook_may_not_answer(api: Api, hook: Hook, answer: Any, message: str) -> None:
    await api.post(V1, host("v1", hostPort="a:1"))
    hook.answer = answer
    refused = await api.get(f"{V2}/a")
    assert refused.status == 500
    text = refused.json["message"]
    assert text.startswith("conversion webhook for example.com/v1, Kind=Host ") and message in text


async def test_only_labels_and_annotations_of_metadata_are_the_webhooks(api: Api, hook: Hook) -> None:
    await api.post(V1, host("v1", hostPort="a:1"))

    def tamper(review: dict[str, Any]) -> dict[str, Any]:
        found = convert(review)
        metadata = found["convertedObjects"][0]["metadata"]
        metadata.update(labels={"x": "y"}, finalizers=["a.b/c"], generation=99)
        return found

    hook.answer = tamper
    metadata = (await api.get(f"{V2}/a")).json["metadata"]
    assert metadata["labels"] == {"x": "y"}
    assert "finalizers" not in metadata and metadata["generation"] == 1


async def test_a_webhook_that_is_not_there(api: Api, hook: Hook) -> None:
    await api.post(V1, host("v1", hostPort="a:1"))
    hook.status = 503
    assert "failed: " in (await api.get(f"{V2}/a")).json["message"]
    hook.stop()
    message = (await api.get(f"{V2}/a")).json["message"]
    assert f'failed: Post "https://127.0.0.1:{hook.port}/convert?timeout=30s": dial tcp' in message
    # The stored version needs no webhook.
    assert (await api.get(f"{V1}/a")).status == 200


async def test_a_certificate_of_somebody_else(api: Api, hook: Hook, tmp_path: Path) -> None:
    await api.post(V1, host("v1", hostPort="a:1"))
    other = Hook(tmp_path)
    path = f"{DEFINITIONS}/hosts.example.com"
    config = {"url": f"https://127.0.0.1:{hook.port}/", "caBundle": other.ca_bundle}
    change = {"spec": {"conversion": {"webhook": {"clientConfig": config}}}}
    assert (await api.patch(path, change)).status == 200
    assert "failed: Post" in (await api.get(f"{V2}/a")).json["message"]


async def test_a_service_is_found_by_its_endpoints(api: Api, hook: Hook) -> None:
    ports = [{"port": 443, "name": "hook"}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}, "spec": {"ports": ports}}
    assert (await api.post("/api/v1/namespaces/default/services", service)).status == 201
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "ports": [{"name": "hook", "port": hook.port}],
        # Slices may not have loopback addresses; where it leads to is told by the dial below.
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    }
    made = await api.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
    assert made.status == 201, made
    connect = api.server.handlers.subresources.connect
    assert connect.endpoint("default", "hook", "443") == ("10.0.0.1", hook.port)
    connect.endpoint = lambda namespace, name, port: ("127.0.0.1", hook.port)  # type: ignore[method-assign]
    await api.post(V1, host("v1", hostPort="a:1"))
    config = {
        "service": {"name": "hook", "namespace": "default", "path": "/c"},
        "caBundle": hook.ca_bundle,
        "url": None,
    }
    change = {"spec": {"conversion": {"webhook": {"clientConfig": config}}}}
    assert (await api.patch(f"{DEFINITIONS}/hosts.example.com", change)).status == 200
    assert (await api.get(f"{V2}/a")).json["spec"] == {"host": "a", "port": 1}


async def test_the_storage_version_stays_while_there_are_objects(api: Api) -> None:
    await api.post(V1, host("v1", hostPort="a:1"))
    path = f"{DEFINITIONS}/hosts.example.com"
    versions = (await api.get(path)).json["spec"]["versions"]
    for each in versions:
        each["storage"] = not each["storage"]
    refused = await api.patch(path, {"spec": {"versions": versions}})
    assert refused.status == 422 and "the storage version may not change" in refused.json["message"]
    await api.delete(f"{V1}/a")
    assert (await api.patch(path, {"spec": {"versions": versions}})).status == 200
