from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import msgspec
import pytest

from lakh.client import errors
from lakh.client.client import APPLY, BACKGROUND_CONNECTIONS, STRATEGIC, Client
from lakh.client.kubeconfig import Config
from lakh.client.resources import DEPLOYMENTS, NODES, PODS
from lakh.client.types import ObjectMeta, ObjectView


class View(msgspec.Struct):
    metadata: ObjectMeta
    spec: dict[str, int]


async def test_verbs_round_trip(api):
    async with api.client() as client:
        made = await client.create(PODS, {"metadata": {"name": "a", "namespace": "ns"}, "spec": {"n": 1}})
        assert made["metadata"]["uid"]
        view = await client.get(PODS, "a", "ns", type=View)
        assert (view.metadata.name, view.spec) == ("a", {"n": 1})
        view.spec["n"] = 2
        changed = await client.update(PODS, view, type=View)
        assert changed.spec == {"n": 2}
        patched = await client.patch(PODS, "a", {"spec": {"n": 3}}, "ns", type=View)
        assert patched.spec == {"n": 3}
        page = await client.list(PODS, type=View)
        assert [item.metadata.name for item in page.items] == ["a"]
        assert page.metadata.resourceVersion == str(api.revision)
        assert (await client.get(PODS, "a", "ns", type=bytes)).startswith(b"{")
        assert (await client.list(PODS, "ns", type=bytes)).items[0].startswith(b"{")
        await client.delete(PODS, "a", "ns")
        assert (await client.list(PODS)).items == []


async def test_requests_as_sent(api):
    async with api.client() as client:
        api.put("nodes", "n1")
        api.put("pods", "ns/a")
        await client.patch(
            NODES, "n1", {}, patch_type=APPLY, field_manager="me", force=True, params={"dryRun": "All"}
        )
        await client.patch(NODES, "n1", b"{}", patch_type=STRATEGIC, subresource="status")
        await client.create(PODS, {"target": {}}, "ns", name="a", subresource="binding")
        await client.list(PODS, label_selector="a=b,c in (d)", field_selector="spec.nodeName=n1", limit=5)
        await client.delete(PODS, "a", "ns", grace_period_seconds=0, propagation_policy="Orphan", uid="u")
        await client.delete_collection(PODS, "ns", label_selector="x=y")
    apply, strategic, binding, listed, deleted, collection = api.requests
    assert apply.headers["content-type"] == "application/apply-patch+yaml"
    assert apply.query == {"fieldManager": "me", "force": "true", "dryRun": "All"}
    assert apply.headers["user-agent"] == "test/1"
    assert strategic.path == "/api/v1/nodes/n1/status"
    assert (binding.method, binding.path) == ("POST", "/api/v1/namespaces/ns/pods/a/binding")
    assert listed.query == {
        "labelSelector": "a=b,c in (d)",
        "fieldSelector": "spec.nodeName=n1",
        "limit": "5",
    }
    assert json.loads(deleted.body) == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Orphan",
        "preconditions": {"uid": "u"},
    }
    assert collection.method == "DELETE"
    assert collection.query == {"labelSelector": "x=y"}


async def test_errors_have_one_shape(api):
    async with api.client() as client:
        with pytest.raises(errors.ApiError) as caught:
            await client.get(PODS, "gone", "ns")
        assert errors.is_not_found(caught.value)
        assert (caught.value.code, caught.value.reason) == (404, "NotFound")
        api.put("pods", "ns/a")
        with pytest.raises(errors.ApiError) as caught:
            await client.create(PODS, {"metadata": {"name": "a", "namespace": "ns"}})
        assert errors.is_already_exists(caught.value)
        assert not errors.is_conflict(caught.value)
        with pytest.raises(errors.ApiError) as caught:
            await client.update(PODS, {"metadata": {"name": "a", "namespace": "ns", "resourceVersion": "1"}})
        assert errors.is_conflict(caught.value)
        api.faults.append(api.Reply(502, b"<html>bad gateway</html>"))
        with pytest.raises(errors.ApiError, match="bad gateway") as caught:
            await client.get(PODS, "a", "ns")
        assert caught.value.code == 502
        api.faults.append(api.Reply(200, b"no json"))
        with pytest.raises(errors.BadResponse):
            await client.get(PODS, "a", "ns")
        api.faults.append(api.Reply(500))
        with pytest.raises(errors.ApiError, match="500 InternalError"):
            await client.get(PODS, "a", "ns")


async def test_missing_arguments_are_refused_before_anything_is_sent(api):
    async with api.client() as client:
        with pytest.raises(ValueError, match="namespace is required"):
            await client.get(PODS, "a")
        with pytest.raises(ValueError, match="namespace is required"):
            await client.create(PODS, {"metadata": {"name": "a"}})
        with pytest.raises(ValueError, match="namespace is required"):
            await client.delete_collection(DEPLOYMENTS)
        with pytest.raises(ValueError, match="name is required"):
            await client.update(NODES, {})
        with pytest.raises(ValueError, match="fieldManager is required"):
            await client.patch(NODES, "n", {}, patch_type=APPLY)
    assert api.requests == []


@pytest.mark.parametrize("code", [429, 503])
async def test_retry_after_is_obeyed_and_bounded(api, code):
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    busy = api.Reply(code, b"", (("Retry-After", "2"),))
    async with Client(Config(api.url), user_agent="t", max_retries=2, sleep=sleep) as client:
        api.put("nodes", "n")
        api.faults += [busy, busy]
        await client.get(NODES, "n")
        assert [round(s) for s in slept] == [2, 2]
        api.faults += [busy, busy, busy]
        with pytest.raises(errors.ApiError) as caught:
            await client.create(NODES, {"metadata": {"name": "m"}})
        assert caught.value.code == code
        assert caught.value.retry_after_seconds == 2
        slept.clear()
        api.faults.append(api.Reply(code))
        with pytest.raises(errors.ApiError):
            await client.get(NODES, "n")
        assert slept == []


async def test_watch_yields_events_and_ends_with_an_error(api):
    async with api.client() as client:
        api.put("nodes", "a")
        start = str(api.revision)
        api.put("nodes", "a", x=1)
        api.remove("nodes", "a")
        got = []
        with pytest.raises(errors.ApiError) as caught:  # noqa: PT012
            async with aclosing(client.watch(NODES, type=ObjectView, resource_version=start)) as events:
                async for event in events:
                    got.append((event.type, event.object.metadata.resourceVersion))
                    if event.type == "DELETED":
                        api.say({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "99"}}})
                    if event.type == "BOOKMARK":
                        status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}
                        api.say({"type": "ERROR", "object": status})
        assert errors.is_expired(caught.value)
        assert got == [("MODIFIED", "3"), ("DELETED", "4"), ("BOOKMARK", "99")]
        await api.until(lambda: not api.watchers)


async def test_watch_that_is_left_closes_its_connection(api):
    async with api.client() as client:
        api.put("nodes", "a")
        async with aclosing(client.watch(NODES, resource_version="1")) as events:
            async for event in events:
                assert event.object["metadata"]["name"] == "a"
                break
        await api.until(lambda: not api.watchers)


async def test_closed_client(api):
    client = api.client()
    api.faults.append(api.HANG)
    request = asyncio.ensure_future(client.get(NODES, "n"))
    await api.until(lambda: api.requests)
    await client.close()
    with pytest.raises(errors.ClientClosed):
        await request
    with pytest.raises(errors.ClientClosed):
        await client.get(NODES, "n")


async def test_what_may_wait_goes_beside_the_rest(api):
    async with api.client(max_connections=3) as client:
        assert client.background is client.background
        await asyncio.gather(
            *(client.background.get(NODES, f"n{n}") for n in range(9)), return_exceptions=True
        )
        assert api.connections == BACKGROUND_CONNECTIONS
        async with client.beside(1) as other:
            assert other.user_agent == client.user_agent
    with pytest.raises(errors.ClientClosed):
        await client.background.get(NODES, "n")
