"""Secrets with tokens of service accounts; cases are those of upstream's tokens_controller_test.go."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fake_client import FakeClient, drain, make_context

from lakh.client.errors import ApiError
from lakh.client.resources import SECRETS, SERVICEACCOUNTS
from lakh.controllers.serviceaccounttoken import (
    NAME_ANNOTATION,
    TYPE,
    UID_ANNOTATION,
    ServiceAccountTokenController,
)

CA = b"CA Data"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


FULL = {"ca.crt": encoded(CA), "namespace": encoded(b"default"), "token": encoded(b"ABC")}


class World:
    """A server that gives tokens, with the account `default` unless a test says otherwise."""

    def __init__(self, client: FakeClient, account: bool = True) -> None:
        self.client = client
        self.asked: list[dict[str, Any]] = []
        create = client.create

        async def answer(resource: Any, obj: Any, namespace: Any = None, **options: Any) -> Any:
            if options.get("subresource") != "token":
                return await create(resource, obj, namespace, **options)
            self.asked.append(obj)
            return FakeClient._as({**obj, "status": {"token": "fresh"}}, options["type"])

        client.create = answer  # type: ignore[method-assign]
        if account:
            references = {"secrets": [{"name": "s"}, {"name": "other"}]}
            self.account = client.put(SERVICEACCOUNTS, {"metadata": {"name": "default"}, **references})
        self.controller = ServiceAccountTokenController(make_context(client, root_ca=CA))

    def secret(self, data: dict[str, str] | None = None, **annotations: str) -> dict[str, Any]:
        named = {NAME_ANNOTATION: "default", **annotations}
        return self.client.put(
            SECRETS, {"metadata": {"name": "s", "annotations": named}, "type": TYPE, "data": data or {}}
        )


@pytest.mark.parametrize("lacks", [(), ("token",), ("ca.crt",), ("namespace",), tuple(FULL)])
async def test_what_is_lacking_is_put_in(client: FakeClient, lacks: tuple[str, ...]) -> None:
    world = World(client)
    secret = world.secret({key: value for key, value in FULL.items() if key not in lacks})
    await drain(world.controller)
    found = client.one(SECRETS, "s", "default")
    assert found["data"] == {**FULL, **({"token": encoded(b"fresh")} if "token" in lacks else {})}
    if lacks:
        assert found["metadata"]["annotations"][UID_ANNOTATION] == world.account["metadata"]["uid"]
    bound = {"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": secret["metadata"]["uid"]}
    assert [o["spec"]["boundObjectRef"] for o in world.asked] == [bound] * ("token" in lacks)
    assert len([r for r in client.requests if r[0] == "patch"]) == bool(lacks)


async def test_another_certificate_is_replaced(client: FakeClient) -> None:
    world = World(client)
    world.secret({**FULL, "ca.crt": encoded(b"old")})
    await drain(world.controller)
    assert client.one(SECRETS, "s", "default")["data"] == FULL


@pytest.mark.parametrize(
    ("account", "annotations"), [(False, {}), (True, {UID_ANNOTATION: "of one that is gone"})]
)
async def test_without_its_account_it_is_deleted(
    client: FakeClient, account: bool, annotations: dict[str, str]
) -> None:
    world = World(client, account)
    world.secret(FULL, **annotations)
    await drain(world.controller)
    assert client.all(SECRETS) == []


async def test_a_name_that_no_account_can_have(client: FakeClient) -> None:
    world = World(client)
    world.secret(FULL, **{NAME_ANNOTATION: "a/b"})
    await drain(world.controller)
    assert client.all(SECRETS) == []


async def test_it_goes_with_its_account(client: FakeClient) -> None:
    world = World(client)
    world.secret()
    client.put(
        SECRETS,
        {
            "metadata": {"name": "s", "namespace": "elsewhere", "annotations": {NAME_ANNOTATION: "default"}},
            "type": TYPE,
        },
    )
    client.put(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "elsewhere"}})
    await drain(world.controller)
    client.remove(SERVICEACCOUNTS, "default")
    await drain(world.controller)
    assert [s["metadata"]["namespace"] for s in client.all(SECRETS)] == ["elsewhere"]


async def test_an_account_does_not_name_a_secret_that_is_gone(client: FakeClient) -> None:
    world = World(client)
    world.secret(FULL)
    await drain(world.controller)
    client.remove(SECRETS, "s")
    await drain(world.controller)
    assert client.one(SERVICEACCOUNTS, "default", "default")["secrets"] == [{"name": "other"}]


async def test_an_account_that_changes_meanwhile_is_written_again(client: FakeClient) -> None:
    world = World(client)
    world.secret(FULL)
    await drain(world.controller)
    get = client.get

    async def late(*args: Any, **options: Any) -> Any:
        found = await get(*args, **options)
        client.get = get  # type: ignore[method-assign]
        client.change(SERVICEACCOUNTS, "default", {"metadata": {"labels": {"x": "y"}}})
        return found

    client.get = late  # type: ignore[method-assign]
    client.remove(SECRETS, "s")
    with pytest.raises(ApiError, match="has been modified"):
        await drain(world.controller)
    await world.controller.reconcile("default/s/default")
    assert client.one(SERVICEACCOUNTS, "default", "default")["secrets"] == [{"name": "other"}]


async def test_an_old_version_is_not_written_over(client: FakeClient) -> None:
    world = World(client)
    client.hold()
    world.secret()
    client.release_some(1)
    client.change(SECRETS, "s", {"data": FULL})
    await drain(world.controller)
    assert client.one(SECRETS, "s", "default")["data"] == FULL
    client.release()
    await drain(world.controller)
    assert client.one(SECRETS, "s", "default")["data"] == FULL
