"""A renewal of a lease, which is not looked at again, is what any other update would have made of it."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.apis.groups.coordination import LeaseStrategy
from lakh.machinery import times
from lakh.server import ownership
from tests.server.harness import LEASES, Api

FIRST, SECOND, THIRD = (f"2026-01-01T00:00:0{n}.000000Z" for n in range(3))


@pytest.fixture(autouse=True)
def _one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Managers are in the order of their times, to the second: one that begins between two writes changes it."""
    monkeypatch.setattr(times, "now", lambda: "2026-01-01T00:00:00Z")


def lease(time: str | None = SECOND, **spec: Any) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1d1b4bb7-0d2c-4bd9-a3c6-6b5a2f7f3c11"}
    return {
        "metadata": {"name": "n", "ownerReferences": [owner]},
        "spec": {"holderIdentity": "n", "leaseDurationSeconds": 40, "renewTime": time, **spec},
    }


def without(made: dict[str, Any], *names: str) -> dict[str, Any]:
    return {n: v for n, v in made["metadata"].items() if n not in names}


UPDATES = {
    "renewed": lambda made: {**made, "spec": {**made["spec"], "renewTime": SECOND}},
    "the same time": lambda made: made,
    "no time": lambda made: {**made, "spec": {**made["spec"], "renewTime": None}},
    "malformed time": lambda made: {**made, "spec": {**made["spec"], "renewTime": "soon"}},
    "another holder": lambda made: {
        **made,
        "spec": {**made["spec"], "renewTime": SECOND, "holderIdentity": "m"},
    },
    "invalid beside it": lambda made: {
        **made,
        "spec": {**made["spec"], "renewTime": SECOND, "leaseDurationSeconds": 0},
    },
    "labelled": lambda made: {
        "metadata": {**made["metadata"], "labels": {"a": "b"}},
        "spec": {**made["spec"], "renewTime": SECOND},
    },
    "no owner": lambda made: {
        "metadata": without(made, "ownerReferences"),
        "spec": {**made["spec"], "renewTime": SECOND},
    },
    "no managers sent": lambda made: {
        "metadata": without(made, "managedFields"),
        "spec": {**made["spec"], "renewTime": SECOND},
    },
    "managers reset": lambda made: {
        "metadata": {**made["metadata"], "managedFields": []},
        "spec": {**made["spec"], "renewTime": SECOND},
    },
    "another uid": lambda made: {
        "metadata": {**made["metadata"], "uid": "0"},
        "spec": {**made["spec"], "renewTime": SECOND},
    },
    "no version": lambda made: {
        "metadata": without(made, "resourceVersion"),
        "spec": {**made["spec"], "renewTime": SECOND},
    },
    "an older version": lambda made: {
        "metadata": {**made["metadata"], "resourceVersion": "1"},
        "spec": {**made["spec"], "renewTime": SECOND},
    },
    "a finalizer": lambda made: {
        "metadata": {**made["metadata"], "finalizers": ["example.com/f"]},
        "spec": {**made["spec"], "renewTime": SECOND},
    },
}


def settled(answer: Any) -> Any:
    """What must not depend on how it was made."""
    body = answer.json
    for name in ("uid", "creationTimestamp"):
        body.get("metadata", {}).pop(name, None)
    for entry in body.get("metadata", {}).get("managedFields", ()):
        entry.pop("time")
    return answer.status, {k: v for k, v in body.items() if k not in ("message", "details")}


async def updated(name: str, manager: str, again: bool) -> list[Any]:
    """The answers to an update, perhaps another one by somebody else before."""
    api = await Api.start()
    try:
        made = (await api.post(f"{LEASES}?fieldManager=kubelet", lease(FIRST))).json
        if again:
            between = {**made, "spec": {**made["spec"], "renewTime": THIRD}}
            made = (await api.put(f"{LEASES}/n?fieldManager=other", between)).json
        done = await api.put(f"{LEASES}/n?fieldManager={manager}", UPDATES[name](made))
        return [settled(done), settled(await api.get(f"{LEASES}/n"))]
    finally:
        await api.stop()


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("manager", ["kubelet", "other"])
@pytest.mark.parametrize("name", UPDATES)
async def test_as_any_update(name: str, manager: str, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await updated(name, manager, again)
    monkeypatch.setattr(LeaseStrategy, "renewed", lambda self, new, old: "")
    assert found == await updated(name, manager, again)


async def test_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(old: Any, *others: Any) -> Any:
        spec = getattr(old, "spec", None)
        assert not hasattr(spec, "renewTime"), "a renewal was compared"
        return update(old, *others)

    update = ownership.update_at_rest
    monkeypatch.setattr(ownership, "update_at_rest", compare)
    status, body = (await updated("renewed", "kubelet", False))[0]
    assert status == 200
    assert body["spec"]["renewTime"] == SECOND
    [entry] = body["metadata"]["managedFields"]
    assert entry["fieldsV1"]["f:spec"]["f:renewTime"] == {}
