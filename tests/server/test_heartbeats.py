"""Heartbeats of nodes: what is not looked at again is as it would be if it were."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.apis.registry import Strategy
from lakh.machinery.errors import StatusError
from lakh.server.authn import User
from lakh.server.context import Context
from lakh.server.heartbeats import heartbeat
from lakh.server.patches import (
    STRATEGIC_PATCH,
    change_of,
    load_patch,
    patch_findings,
    patched_object,
    patched_parts,
)
from lakh.server.storage import ResourceStore
from lakh.store.state import Item
from tests.server.harness import Api

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


# From bytes to bytes

NOW = "2026-01-02T00:00:00Z"
Patch = dict[str, Any]


def as_any_patch(item: Item, body: bytes, manager: str) -> Any:
    """What is stored after a patch of status, its terms and the warnings; else the code of the refusal."""
    by, codec = context(manager), STORE.codec
    try:
        plain = load_patch(STRATEGIC_PATCH, body, STORE)
        change = change_of(STRATEGIC_PATCH, plain, STORE)
        twice = patch_findings(STRATEGIC_PATCH, body, plain, by.validation)
        old, managers = STORE.split(item)
        new = patched_parts(STRATEGIC_PATCH, body, plain, old, codec, change) if not twice else None
        if new is None:
            new = patched_object(STRATEGIC_PATCH, body, change(codec.to_plain(old)), codec, by, list(twice))
        with mock.patch.object(type(STORE.strategy), "heartbeat", Strategy.heartbeat):
            return (*STORE._prepare_update(by, new, old, "status", managers), by.warnings)
    except StatusError as e:
        return e.code


def is_heartbeat(item: Item, body: bytes, manager: str = "kubelet") -> bool:
    """Whether it is a heartbeat, which then is what any patch would have made of it."""
    found = heartbeat(item.value, body, manager, NOW, STORE.codec.endpoint("status"))
    if found is not None:
        assert (found, item.terms, False, []) == as_any_patch(item, body, manager)
    return found is not None


def condition(kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True",
        "lastHeartbeatTime": TIMES[0],
        "lastTransitionTime": TIMES[0],
        "reason": "a",
        "message": "b",
        **fields,
    }


def stored(
    conditions: list[Any],
    *,
    metadata: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    writers: tuple[tuple[str, int], ...] = (("kubelet", 1),),
) -> Item:
    """A node at rest, and after it was written by some managers, each with the conditions from a place on."""
    plain = {
        "metadata": {"name": "n", "annotations": {"a": "b"}, **(metadata or {})},
        "spec": {"podCIDR": "10.0.0.0/24", **(spec or {})},
        "status": {
            "addresses": [{"type": "Hostname", "address": "n"}],
            "conditions": conditions,
            **(status or {}),
        },
    }
    obj = STORE.codec.decode(msgspec.json.encode(plain), "Strict", [])
    value, _ = STORE._prepare_create(context("kubelet"), obj)
    for manager, start in writers:
        heard = [{**c, "lastHeartbeatTime": TIMES[1]} for c in conditions[start - 1 :]]
        value = as_any_patch(
            Item("k", value, (), 1, 1), msgspec.json.encode({"status": {"conditions": heard}}), manager
        )[0]
    return Item("k", value, (), 1, 1)


def deleted(item: Item) -> Item:
    """A node that waits for somebody's finalizer."""
    obj = STORE.decode(item)
    obj.metadata.deletionTimestamp, obj.metadata.finalizers = NOW, ["example.com/f"]
    return Item("k", STORE.codec.encode_stored(obj), (), 1, 1)


def _of(conditions: Any) -> Callable[[Patch], Patch]:
    """A change of the conditions that are sent."""
    return lambda patch: {
        **patch,
        "status": {**patch["status"], "conditions": conditions(patch["status"]["conditions"])},
    }


def _first(**fields: Any) -> Callable[[Patch], Patch]:
    return _of(lambda sent: [{**c, **fields} if n == 0 else c for n, c in enumerate(sent)])


def _less(*names: str) -> Callable[[Patch], Patch]:
    return _of(lambda sent: [{n: v for n, v in c.items() if n not in names} for c in sent])


def _order(*kinds: str) -> Callable[[Patch], Patch]:
    order = [{"type": kind} for kind in kinds]
    return lambda patch: {**patch, "status": {"$setElementOrder/conditions": order, **patch["status"]}}


KINDS = ("MemoryPressure", "DiskPressure", "Ready")
BEFORE = {
    "all": stored([condition(kind) for kind in KINDS]),
    "never heard": stored([condition(kind) for kind in KINDS], writers=()),
    "by another": stored([condition(kind) for kind in KINDS], writers=(("kubelet", 1), ("other", 3))),
    "by two": stored([condition(kind) for kind in KINDS], writers=(("other", 1), ("kubelet", 2))),
    "another order": stored([condition(kind) for kind in reversed(KINDS)]),
    "without transitions": stored([condition(kind, lastTransitionTime=None) for kind in KINDS]),
    "texts": stored([condition(kind, message='}],"{"', reason='"conditions":[') for kind in KINDS]),
    "texts that end": stored([condition(kind, message="}],") for kind in KINDS]),
    "no annotations": stored([condition(kind) for kind in KINDS], metadata={"annotations": None}),
    "annotated": stored(
        [condition(kind) for kind in KINDS],
        metadata={"annotations": {"x": '"uid":"', "conditions": "[", "status": '"deletionTimestamp":'}},
    ),
    "annotated with an uid": stored(
        [condition(kind) for kind in KINDS], metadata={"annotations": {"uid": "x", "a": '],"name":"'}}
    ),
    "being deleted": deleted(stored([condition(kind) for kind in KINDS])),
    "finalizers": stored([condition(kind) for kind in KINDS], metadata={"finalizers": ["example.com/f"]}),
    "no fields": stored([], writers=()),
    "warned of": stored([condition(kind) for kind in KINDS], spec={"externalID": "x"}),
    "two addresses": stored(
        [condition(kind) for kind in KINDS],
        status={"addresses": [{"type": "A", "address": "},{"}, {"type": "A", "address": '}],"'}]},
    ),
    "an address that ends": stored(
        [condition(kind) for kind in KINDS],
        status={"addresses": [{"type": "A", "address": "}],"}, {"type": "A", "address": "}"}]},
    ),
    "half an address": stored([condition(kind) for kind in KINDS], status={"addresses": [{"type": "A"}]}),
    "no addresses": stored([condition(kind) for kind in KINDS], status={"addresses": []}),
    "addresses": stored(
        [condition(kind) for kind in KINDS],
        status={"addresses": [{"type": t, "address": a} for t in "AB" for a in ("1", "2", "11")]},
    ),
    "the last twice": stored(
        [condition(kind) for kind in KINDS],
        status={"addresses": [{"type": "A", "address": a} for a in ("1", "2", "2")]},
        writers=(),
    ),
    "the first twice": stored(
        [condition(kind) for kind in KINDS],
        status={"addresses": [{"type": "A", "address": a} for a in ("1", "1", "2")]},
        writers=(),
    ),
    "half an address twice": stored(
        [condition(kind) for kind in KINDS],
        status={"addresses": [{"type": "A", "address": "1"}, {"type": "A"}, {"type": "A"}]},
        writers=(),
    ),
    "an address twice": stored(
        [condition(kind) for kind in KINDS],
        status={"addresses": [{"type": "Hostname", "address": "}],"}] * 2},
        writers=(),
    ),
}
CHANGES: tuple[Callable[[Patch], Patch], ...] = (
    lambda patch: patch,
    lambda patch: {**patch, "metadata": {}},
    lambda patch: {**patch, "metadata": {"annotations": {}}},
    lambda patch: {**patch, "metadata": {"annotations": {"x": "y"}}},
    lambda patch: {**patch, "metadata": {"annotations": {"x": None}}},
    lambda patch: {**patch, "metadata": {"annotations": None}},
    lambda patch: {**patch, "metadata": {"labels": {"x": "y"}}},
    lambda patch: {**patch, "metadata": None},
    lambda patch: {**patch, "spec": {"unschedulable": True}},
    lambda patch: {**patch, "kind": "Pod"},
    lambda patch: {**patch, "unknown": 1},
    lambda patch: {**patch, "status": {**patch["status"], "phase": "Running"}},
    lambda patch: {**patch, "status": {**patch["status"], "images": []}},
    _order(*KINDS),
    _order(*reversed(KINDS)),
    _order(*KINDS[1:]),
    _order(*KINDS, "x"),
    _of(lambda sent: sent[1:]),
    _of(lambda sent: sent[:1]),
    _of(lambda sent: sent[::2]),
    _of(lambda sent: sent[::-1]),
    _of(lambda sent: []),
    _of(lambda sent: [*sent, condition("x")]),
    _of(lambda sent: [*sent, *sent]),
    _of(lambda sent: None),
    _less("lastHeartbeatTime"),
    _less("type"),
    _less("message", "reason", "status", "lastTransitionTime"),
    _less("lastTransitionTime"),
    _first(lastHeartbeatTime=TIMES[1]),
    _first(lastHeartbeatTime=TIMES[0]),
    _first(lastHeartbeatTime=None),
    _first(lastHeartbeatTime="2026-02-30T00:00:00Z"),
    _first(lastHeartbeatTime="0001-01-01T00:00:00Z"),
    _first(lastHeartbeatTime="2026-01-01T01:00:00+01:00"),
    _first(lastTransitionTime=TIMES[2]),
    _first(lastTransitionTime=None),
    _first(status="False"),
    _first(message='}],"{"', reason='"conditions":['),
    _first(message="}],"),
    _first(message=None),
    _first(type=""),
    _first(unknown=1),
)
TEXTS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: text.replace(",", ", ", 1),
    lambda text: text.replace('"type":', '"type":"x","type":', 1),
    lambda text: text.replace('"reason":"a"', '"reason":"\\u0061"'),
    lambda text: text.replace('{"status":', '{"status":{"conditions":[]},"status":', 1),
    lambda text: text[:-1],
    lambda text: text + " ",
    lambda text: f"[{text}]",
)


def patched(changes: list[Callable[[Patch], Patch]], text: Callable[[str], str] = TEXTS[0]) -> bytes:
    patch: Patch = {"status": {"conditions": [condition(kind, lastHeartbeatTime=TIMES[2]) for kind in KINDS]}}
    for change in changes:
        if isinstance(patch["status"]["conditions"], list):
            patch = change(patch)
    return text(json.dumps(patch, separators=(",", ":"))).encode()


@pytest.mark.parametrize("before", BEFORE)
def test_each_change(before: str) -> None:
    for change in CHANGES:
        for manager in ("kubelet", "other"):
            is_heartbeat(BEFORE[before], patched([change]), manager)
    for text in TEXTS:
        is_heartbeat(BEFORE[before], patched([], text))


@given(
    st.sampled_from(sorted(BEFORE)),
    st.lists(st.sampled_from(CHANGES), max_size=3),
    st.sampled_from(TEXTS),
    st.sampled_from(("kubelet", "other", "")),
)
def test_changes_together(
    before: str, changes: list[Callable[[Patch], Patch]], text: Callable[[str], str], manager: str
) -> None:
    is_heartbeat(BEFORE[before], patched(changes, text), manager)


@pytest.mark.parametrize(
    "before",
    [
        "all",
        "never heard",
        "by another",
        "by two",
        "annotated",
        "finalizers",
        "two addresses",
        "an address that ends",
        "no addresses",
        "addresses",
    ],
)
def test_heartbeats(before: str) -> None:
    empty = CHANGES[2]
    new = _less("message", "reason", "status", "lastTransitionTime")
    for changes in ([], [empty], [new], [new, _order(*KINDS)], [_of(lambda sent: sent[::2])]):
        assert is_heartbeat(BEFORE[before], patched(changes))
        assert is_heartbeat(BEFORE[before], patched(changes), "other")


@pytest.mark.parametrize(
    "before",
    [
        "being deleted",
        "half an address",
        "the last twice",
        "the first twice",
        "half an address twice",
        "annotated with an uid",
        "another order",
        "an address twice",
        "warned of",
        "no fields",
        "without transitions",
    ],
)
def test_no_heartbeats(before: str) -> None:
    assert not is_heartbeat(BEFORE[before], patched([]))


async def test_a_heartbeat_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    api = await Api.start()
    try:
        node = {
            "metadata": {"name": "n", "annotations": {"a": "b"}},
            "status": {"conditions": [condition(kind) for kind in KINDS]},
        }
        made = (await api.post("/api/v1/nodes", node, user_agent="kubelet/1")).json
        with monkeypatch.context() as patch:
            patch.setattr(ResourceStore, "split", None)
            done = await api.patch(
                "/api/v1/nodes/n/status", patched([]), "strategic-merge-patch+json", user_agent="kubelet/1"
            )
        assert done.status == 200
        assert done.json["metadata"]["resourceVersion"] > made["metadata"]["resourceVersion"]
        assert [c["lastHeartbeatTime"] for c in done.json["status"]["conditions"]] == [TIMES[2]] * 3
        assert (await api.get("/api/v1/nodes/n")).json == done.json
        with monkeypatch.context() as patch:
            patch.setattr(ResourceStore, "split", None)
            with pytest.raises(TypeError):
                await api.patch("/api/v1/nodes/n", patched([]), "strategic-merge-patch+json")
            with pytest.raises(TypeError):
                await api.patch(
                    "/api/v1/nodes/n/status?dryRun=All", patched([]), "strategic-merge-patch+json"
                )
        missing = await api.patch("/api/v1/nodes/m/status", patched([]), "strategic-merge-patch+json")
        assert missing.status == 404
    finally:
        await api.stop()
