"""What every namespace gets."""

from __future__ import annotations

from fake_client import FakeClient, drain, make_context

from lakh.client.resources import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS
from lakh.controllers.serviceaccount import RootCAPublisher, ServiceAccountController


async def test_default_account_comes_back(client: FakeClient) -> None:
    controller = ServiceAccountController(make_context(client))
    client.put(NAMESPACES, {"metadata": {"name": "team"}})
    client.put(NAMESPACES, {"metadata": {"name": "gone", "deletionTimestamp": "2023-11-14T22:13:20Z"}})
    await drain(controller)
    assert [one["metadata"]["namespace"] for one in client.all(SERVICEACCOUNTS)] == ["team"]
    client.remove(SERVICEACCOUNTS, "default", "team")
    await drain(controller)
    assert len(client.all(SERVICEACCOUNTS)) == 1


async def test_root_ca_is_kept(client: FakeClient) -> None:
    controller = RootCAPublisher(make_context(client, root_ca=b"PEM"))
    client.put(NAMESPACES, {"metadata": {"name": "team"}})
    await drain(controller)
    assert client.one(CONFIGMAPS, "kube-root-ca.crt", "team")["data"] == {"ca.crt": "PEM"}
    client.change(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "evil", "more": "x"}}, "team")
    await drain(controller)
    assert client.one(CONFIGMAPS, "kube-root-ca.crt", "team")["data"] == {"ca.crt": "PEM"}
    client.remove(CONFIGMAPS, "kube-root-ca.crt", "team")
    await drain(controller)
    assert len(client.all(CONFIGMAPS)) == 1
