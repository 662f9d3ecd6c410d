"""Heartbeats of nodes: what is not looked at again is as it would be if it were."""

from __future__ import annotations

from typing import Any
from unittest import mock

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.apis.registry import Strategy
from lakh.machinery.errors import StatusError
from lakh.server.authn import User
from lakh.server.context import Context
from lakh.server.patches import STRATEGIC_PATCH, change_of, load_patch, patched_parts
from lakh.server.storage import ResourceStore
from lakh.store.state import Item

NODES = registry().get("", "v1", "nodes")
assert NODES is not None
STORE = ResourceStore(NODES, None)  # type: ignore[arg-type]
TIMES = tuple(f"2026-01-01T00:00:0{second}Z" for second in range(3))

times = st.sampled_from(TIMES)
types = st.sampled_from(("Ready", "DiskPressure", "x" * 300, ""))
conditions = st.lists(
    st.fixed_dictionaries(
        {"type": types, "status": st.sampled_from(("True", "True", "False"))},
        optional={
            "lastHeartbeatTime": times | times | st.none(),
            "lastTransitionTime": st.just(TIMES[0]),
            "reason": st.just("a"),
        },
    ),
    max_size=4,
)
addresses = st.just([{"type": "Hostname", "address": "a"}]) | st.just(
    [{"type": "Hostname", "address": "a"}] * 2
)
amounts = st.sampled_from(({}, {"cpu": "1"}, {"cpu": "1000m"}, {"cpu": "-1"}))
statuses = st.fixed_dictionaries({}, optional={"addresses": addresses, "capacity": amounts})
heartbeats = st.lists(times, min_size=4, max_size=4)
patches = st.tuples(
    st.sampled_from(("kubelet", "other")),
    st.fixed_dictionaries(
        {},
        optional={
            "metadata": st.sampled_from(
                ({}, {"annotations": {}}, {"labels": {"a": "b"}}, {"annotations": {"x": "y"}})
            ),
            "spec": st.sampled_from(({}, {"unschedulable": True}, {"providerID": "x"})),
            "status": statuses,
        },
    ),
    # Most often only the times of what is there.
    heartbeats | heartbeats | conditions.map(tuple),
)


def context(manager: str) -> Context:
    found = Context(User("u"), manager=manager)
    found.now = "2026-01-02T00:00:00Z"
    return found


def outcome(item: Item, patch: dict[str, Any], manager: str) -> tuple[Any, ...]:
    body = msgspec.json.encode(patch)
    old, managers = STORE.split(item)
    plain = load_patch(STRATEGIC_PATCH, body, STORE)
    new = patched_parts(
        STRATEGIC_PATCH, body, plain, old, STORE.codec, change_of(STRATEGIC_PATCH, plain, STORE)
    )
    if new is None:
        return ()
    by = context(manager)
    try:
        return (*STORE._prepare_update(by, new, old, "status", managers), by.warnings)
    except StatusError as e:
        return (e.code, e.message, e.details)


@given(
    conditions,
    statuses,
    st.sampled_from(({}, {"externalID": "x"}, {"podCIDR": "10.0.0.0/24"})),
    st.lists(patches, min_size=1, max_size=5),
)
def test_a_heartbeat_is_an_update(
    first: list[Any], status: dict[str, Any], spec: dict[str, Any], written: list[Any]
) -> None:
    plain = {
        "metadata": {"name": "n", "labels": {"l": "1"}},
        "spec": spec,
        "status": {**status, "conditions": first},
    }
    try:
        obj = STORE.codec.decode(msgspec.json.encode(plain), "Strict", [])
        value, _ = STORE._prepare_create(context("kubelet"), obj)
    except StatusError:
        return
    item = Item("k", value, (), 1, 1)
    for revision, (manager, patch, heard) in enumerate(written, 2):
        if isinstance(heard, list):
            now = msgspec.json.decode(item.value)["status"].get("conditions") or []
            heard = [
                {**c, "lastHeartbeatTime": time} if time != TIMES[2] else c
                for c, time in zip(now, heard, strict=False)
            ]
        patch = {**patch, "status": {**patch.get("status", {}), "conditions": list(heard)}}
        found = outcome(item, patch, manager)
        with mock.patch.object(type(STORE.strategy), "heartbeat", Strategy.heartbeat):
            expected = outcome(item, patch, manager)
        assert found == expected
        if found and found[0].__class__ is bytes:
            item = Item("k", found[0], (), 1, revision)


def made(status: dict[str, Any], spec: dict[str, Any]) -> Item:
    plain = {"metadata": {"name": "n"}, "spec": spec, "status": status}
    obj = STORE.codec.decode(msgspec.json.encode(plain), "Strict", [])
    return Item("k", STORE._prepare_create(context("kubelet"), obj)[0], (), 1, 1)


def test_what_heartbeats_still_say() -> None:
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": TIMES[0]}
    patch = {"status": {"conditions": [{**ready, "lastHeartbeatTime": TIMES[1]}]}}
    twice = [{"type": "Hostname", "address": "a"}] * 2
    found = outcome(made({"conditions": [ready], "addresses": twice}, {}), patch, "kubelet")
    assert found[0] == 422
    _, _, _, warnings = outcome(made({"conditions": [ready]}, {"externalID": "x"}), patch, "kubelet")
    assert warnings == ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]


def test_a_heartbeat_is_told_from_the_conditions() -> None:
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": TIMES[0]}
    item = made({"conditions": [ready]}, {})
    for change, fields in (
        (
            {"lastHeartbeatTime": TIMES[1]},
            b'{"f:conditions":{"k:{\\"type\\":\\"Ready\\"}":{"f:lastHeartbeatTime":{}}}}',
        ),
        ({}, b""),
        ({"lastHeartbeatTime": None}, b""),
        ({"lastHeartbeatTime": TIMES[1], "status": "False"}, b""),
    ):
        old, new = STORE.decode(item), STORE.decode(item)
        for name, value in change.items():
            setattr(new.status.conditions[0], name, value)
        assert STORE.strategy.heartbeat(new, old) == fields
