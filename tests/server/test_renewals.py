"""A renewal of a lease, which is not looked at again, is what any other update would have made of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.groups.coordination import LeaseStrategy
from lakh.machinery import protobuf, times
from lakh.machinery.errors import StatusError
from lakh.server import ownership, renewals
from lakh.server.codec import read_body
from lakh.server.context import Context
from lakh.server.storage import ResourceStore
from lakh.store.state import Item
from tests.server.harness import ADMIN, LEASES, Api

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


# From bytes to bytes

Change = Callable[[dict[str, Any]], dict[str, Any]]
EARLIER, NOW = "2025-01-01T00:00:00Z", "2026-05-05T05:05:05Z"


def meta(**fields: Any) -> Change:
    return lambda made: {**made, "metadata": {**made["metadata"], **fields}}


def spec(**fields: Any) -> Change:
    return lambda made: {**made, "spec": {**made["spec"], **fields}}


def owned(**fields: Any) -> Change:
    return lambda made: meta(ownerReferences=[{**made["metadata"]["ownerReferences"][0], **fields}])(made)


def less(*names: str) -> Change:
    return lambda made: {**made, "metadata": without(made, *names)}


def as_go(made: dict[str, Any]) -> dict[str, Any]:
    """As Go's clients order the fields."""
    order = ("manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1")
    metadata = dict(sorted(made["metadata"].items(), key=lambda item: (item[0] == "managedFields", item[0])))
    if metadata.get("managedFields"):
        entries = [{n: entry[n] for n in order if n in entry} for entry in metadata["managedFields"]]
        metadata["managedFields"] = entries
    return {**made, "metadata": metadata}


def other_managers(**fields: Any) -> Change:
    def change(made: dict[str, Any]) -> dict[str, Any]:
        entries = made["metadata"].get("managedFields")
        return meta(managedFields=[{**e, **fields} for e in entries])(made) if entries else made

    return change


# What a holder may leave out, or send as it has read it.
HARMLESS = (
    less(),
    as_go,
    less("managedFields"),
    less("uid", "creationTimestamp"),
    lambda made: {n: v for n, v in made.items() if n not in ("apiVersion", "kind")},
    # As they were once.
    other_managers(time=EARLIER),
    lambda made: as_go(other_managers(time=EARLIER)(made)),
)
CHANGES: tuple[Change, ...] = (
    *HARMLESS,
    spec(renewTime=SECOND),
    spec(renewTime=THIRD),
    spec(renewTime=None),
    spec(renewTime="2026-01-01T00:00:01Z"),
    spec(renewTime="2026-02-30T00:00:01.000000Z"),
    spec(renewTime=1),
    spec(holderIdentity="m"),
    spec(holderIdentity='"renewTime":"'),
    spec(holderIdentity=""),
    spec(leaseDurationSeconds=40.0),
    spec(leaseDurationSeconds=41),
    spec(leaseTransitions=1),
    spec(acquireTime=FIRST),
    spec(strategy="OldestEmulationVersion"),
    spec(unknown=1),
    meta(name="m"),
    meta(namespace="kube-system"),
    meta(namespace=None),
    meta(labels={"a": "b"}),
    meta(labels={}),
    meta(annotations={"a": "b"}),
    meta(finalizers=["example.com/f"]),
    meta(ownerReferences=[]),
    meta(ownerReferences=None),
    owned(uid="0"),
    owned(controller=True),
    meta(uid="0"),
    meta(resourceVersion="1"),
    meta(resourceVersion=""),
    meta(resourceVersion="x"),
    meta(creationTimestamp=FIRST),
    meta(deletionTimestamp="2026-01-01T00:00:00Z"),
    meta(managedFields=[]),
    meta(managedFields=None),
    meta(managedFields=[{"manager": "m", "operation": "Update"}]),
    lambda made: as_go(other_managers(manager="kubeles")(made)),
    lambda made: as_go(other_managers(time=NOW)(made)),
    other_managers(manager="kubeles"),
    other_managers(time=NOW),
    other_managers(time="2025-02-30T00:00:00Z"),
    other_managers(time="0001-01-01T00:00:00Z"),
    other_managers(time='"},{"manager":"x","t'),
    other_managers(time=None),
    other_managers(operation="Update", time="2025-01-01T01:00:00+01:00"),
    meta(generation=3),
    less("resourceVersion"),
    less("ownerReferences"),
    lambda made: {**made, "kind": "Node"},
    lambda made: {**made, "apiVersion": "v1"},
    lambda made: {**made, "status": {}},
    lambda made: {"spec": made["spec"]},
    lambda made: {"metadata": made["metadata"]},
)
TEXTS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: text.replace(",", ", ", 1),
    lambda text: text.replace('"spec":{', '"spec":{"holderIdentity":"m",'),
    lambda text: text.replace('"name":"n"', '"name":"\\u006e"'),
    lambda text: text.replace('"name":"n"', '"name":"n","name":"n"'),
    lambda text: text[:-1],
    lambda text: text + " ",
    lambda text: "[" + text + "]",
)
BEFORE: tuple[Change, ...] = (
    less(),
    spec(holderIdentity='},"spec":{'),
    spec(holderIdentity='"renewTime":"'),
    spec(holderIdentity='],"name":"'),
    spec(renewTime=None),
    spec(leaseTransitions=2, acquireTime=FIRST),
    meta(labels={"renewTime": "spec"}),
    meta(annotations={"uid": '","managedFields":'}),
    meta(finalizers=["example.com/f"]),
    meta(ownerReferences=None),
    owned(name='"uid":"', uid='","managedFields":['),
)


def as_any_update(
    store: ResourceStore, item: Item, body: bytes, manager: str
) -> tuple[bytes, list[str]] | int:
    """What is stored then, and the warnings; else the code of the refusal."""
    context = Context(ADMIN, manager=manager)
    context.now = NOW
    try:
        new = store.codec.decode(body, context.validation, context.warnings)
        store.check_name(new.metadata, "default", "n")
        old, managers = store.split(item)
        store._check_identity(new.metadata, old.metadata, "default", "n")
        value, _, _ = store._prepare_update(context, new, old, "", managers)
    except StatusError as error:
        return error.code
    return value, context.warnings


Stored = dict[tuple[int, bool], tuple[ResourceStore, Item, dict[str, Any]]]


async def _stored() -> Stored:
    found: Stored = {}
    api = await Api.start()
    try:
        store = api.server.cluster.named("coordination.k8s.io", "v1", "leases")
        for number, before in enumerate(BEFORE):
            for twice in (False, True):
                made = await api.post(f"{LEASES}?fieldManager=kubelet", before(lease(FIRST)))
                assert made.status == 201, made
                if twice:
                    between = {**made.json, "spec": {**made.json["spec"], "leaseDurationSeconds": 9}}
                    made = await api.put(f"{LEASES}/n?fieldManager=other", between)
                found[number, twice] = store, store.get("default", "n"), made.json
                if made.json["metadata"].get("finalizers"):
                    await api.patch(f"{LEASES}/n", {"metadata": {"finalizers": None}})
                await api.delete(f"{LEASES}/n")
        return found
    finally:
        await api.stop()


@pytest.fixture(scope="module")
def stored() -> Stored:
    """Leases at rest and as they were answered, by `BEFORE` and whether two wrote them."""
    return asyncio.run(_stored())


def check(
    stored: Stored,
    before: int,
    twice: bool,
    changes: Sequence[Change],
    text: Callable[[str], str] = TEXTS[0],
    manager: str = "kubelet",
) -> bool:
    """Whether it is a renewal, which then is what any update would have made of it."""
    store, item, made = stored[before, twice]
    for change in changes:
        if {"metadata", "spec"} <= made.keys() and (
            made["metadata"].get("ownerReferences") or change not in OWNER_CHANGES
        ):
            made = change(made)
    body = text(json.dumps(made, separators=(",", ":"))).encode()
    found = renewals.renewal(item, body, manager, NOW)
    if found is not None:
        assert (found, []) == as_any_update(store, item, body, manager)
    return found is not None


OWNER_CHANGES = [change for change in CHANGES if change.__qualname__.startswith("owned")]
RENEWED = spec(renewTime=SECOND)


def test_each_change(stored: Stored) -> None:
    for change in CHANGES:
        for before, twice in stored:
            check(stored, before, twice, (RENEWED, change))
        for text in TEXTS:
            check(stored, 0, False, (RENEWED, change), text)
        for manager in ("other", ""):
            check(stored, 0, False, (RENEWED, change), manager=manager)


@given(
    st.integers(0, len(BEFORE) - 1),
    st.booleans(),
    st.lists(st.sampled_from(CHANGES), max_size=3),
    st.sampled_from(TEXTS),
    st.sampled_from(("kubelet", "other")),
)
def test_changes_together(
    stored: Stored,
    before: int,
    twice: bool,
    changes: list[Change],
    text: Callable[[str], str],
    manager: str,
) -> None:
    check(stored, before, twice, (RENEWED, *changes), text, manager)


@pytest.mark.parametrize("before", [0, 2, 3, 5, 9])
def test_a_renewal(stored: Stored, before: int) -> None:
    for change in HARMLESS:
        assert check(stored, before, False, (RENEWED, change))
        assert not check(stored, before, False, (RENEWED, change), manager="other")
        assert not check(stored, before, True, (RENEWED, change))


def test_a_renewal_in_protobuf(stored: Stored) -> None:
    """As kubelets send it."""
    store, item, made = stored[0, False]
    body = read_body(protobuf.encode(RENEWED(made)), protobuf.MEDIA_TYPE)
    found = renewals.renewal(item, body, "kubelet", NOW)
    assert found is not None
    assert (found, []) == as_any_update(store, item, body, "kubelet")


async def test_a_renewal_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    api = await Api.start()
    try:
        made = (await api.post(LEASES, lease(FIRST), user_agent="kubelet/1")).json
        with monkeypatch.context() as patch:
            patch.setattr(ResourceStore, "split", None)
            done = await api.put(f"{LEASES}/n", spec(renewTime=SECOND)(made), user_agent="kubelet/1")
        assert done.status == 200
        assert done.json["metadata"]["resourceVersion"] > made["metadata"]["resourceVersion"]
        assert done.json["spec"]["renewTime"] == SECOND
        assert (await api.get(f"{LEASES}/n")).json == done.json
        stale = await api.put(f"{LEASES}/n", spec(renewTime=THIRD)(made), user_agent="kubelet/1")
        assert stale.status == 409
    finally:
        await api.stop()
