"""managedFields at rest: from bytes to bytes it is what `apply.update_managed_fields` makes of them."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.core.events import EventStrategy
from lakh.apis.definitions import schema
from lakh.apis.podspec_known import fields_key
from lakh.machinery import managers
from lakh.machinery.apply import current_managers, server_side_apply, update_managed_fields
from lakh.machinery.tracking import Endpoint

from .strategies import deployments

DEFINITION = "io.k8s.api.apps.v1.Deployment"
NODE = schema().node(DEFINITION)
STRUCT = schema().struct(DEFINITION)
T1, T2 = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
WHOLE = Endpoint("apps/v1", NODE)
STATUS = Endpoint("apps/v1", NODE, "status", ignored=("spec",))
LABELS_KEPT = Endpoint("apps/v1", NODE, resets={"f:metadata": {"f:labels": {}}})

endpoints = st.sampled_from((WHOLE, STATUS, LABELS_KEPT))
who = st.sampled_from(("a", "b", ""))
decode = msgspec.json.Decoder(managers.Entry).decode


def at_rest(entries):
    return msgspec.json.encode([decode(msgspec.json.encode(e)) for e in entries])


@given(st.lists(st.tuples(deployments, who, endpoints, st.booleans()), min_size=2, max_size=5))
def test_it_is_what_decoded_entries_become(writes):
    first, creator, _, _ = writes[0]
    entries = update_managed_fields(None, first, [], creator, T1, WHOLE)
    old = first
    for new, manager, endpoint, applied in writes[1:]:
        if applied:
            outcome = server_side_apply(old, new, entries, manager, T1, endpoint, force=True)
            old, entries = outcome.obj, outcome.managers
            continue
        if not entries:
            break
        before, after = (msgspec.convert(o, STRUCT) for o in (old, new))
        found = managers.update(before, after, at_rest(entries), manager, T2, endpoint)
        entries = update_managed_fields(before, after, entries, manager, T2, endpoint)
        assert msgspec.json.decode(found or b"[]") == entries
        old = new


def test_nothing_changed_are_the_same_bytes():
    obj = msgspec.convert({"metadata": {"name": "a"}, "spec": {"replicas": 1}}, STRUCT)
    entries = at_rest(update_managed_fields(None, obj, [], "a", T1, WHOLE))
    assert managers.update(obj, obj, entries, "b", T2, WHOLE) is entries


def test_entries_of_other_versions_and_many_are_left_to_others():
    old, new = (msgspec.convert({"metadata": {"name": "a"}, "spec": {"replicas": n}}, STRUCT) for n in (1, 2))
    [entry] = update_managed_fields(None, old, [], "a", T1, WHOLE)
    other = {**entry, "apiVersion": "apps/v1beta1"}
    assert managers.update(old, new, at_rest([entry]), "b", T2, WHOLE) is not None
    assert managers.update(old, new, at_rest([other]), "b", T2, WHOLE) is None
    many = [{**entry, "manager": f"m{i}"} for i in range(10)]
    assert managers.update(old, new, at_rest(many), "b", T2, WHOLE) is None


def test_sets_too_long_to_be_kept():
    labels = {f"label-{i:04d}": "x" for i in range(400)}
    old = msgspec.convert({"metadata": {"name": "a", "labels": labels}}, STRUCT)
    new = msgspec.convert({"metadata": {"name": "a", "labels": {"label-0000": "y"}}}, STRUCT)
    entries = update_managed_fields(None, old, [], "a", T1, WHOLE)
    found = managers.update(old, new, at_rest(entries), "b", T2, WHOLE)
    assert found is not None
    assert msgspec.json.decode(found) == update_managed_fields(old, new, entries, "b", T2, WHOLE)


POD = schema().struct("io.k8s.api.core.v1.Pod")
PODS = Endpoint("v1", schema().node("io.k8s.api.core.v1.Pod"), ignored=("status",))
names = st.sampled_from(("a", "b", "c"))
maps = st.none() | st.dictionaries(names, names, max_size=3)
owners = st.lists(
    st.fixed_dictionaries(
        {"uid": names, "kind": st.just("Job"), "name": names, "apiVersion": st.just("v1")},
        optional={"controller": st.booleans()},
    ),
    max_size=2,
)
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"uid": names},
            optional={
                "name": names,
                "generateName": names | st.just(""),
                "labels": maps,
                "annotations": maps,
                "finalizers": st.none() | st.lists(names, max_size=3),
                "ownerReferences": st.none() | owners,
            },
        ),
    },
    optional={
        "spec": st.fixed_dictionaries(
            {
                "containers": st.lists(
                    st.fixed_dictionaries({"name": names}, optional={"image": names}), max_size=2
                )
            },
            optional={"hostname": names | st.just(""), "nodeSelector": maps, "tolerations": st.just([])},
        ),
        "status": st.just({"phase": "Running"}),
    },
)


@given(st.lists(pods, min_size=1, max_size=6))
def test_new_objects_have_the_fields_that_they_have(plains):
    for plain in plains + plains:
        obj = msgspec.convert(plain, POD)
        key = fields_key(obj.spec) if obj.spec is not None else b""
        found = managers.create(obj, key, "m", T1, PODS)
        assert found is not None
        assert msgspec.json.decode(found or b"[]") == update_managed_fields(None, obj, [], "m", T1, PODS)


EVENT = schema().struct("io.k8s.api.core.v1.Event")
EVENTS = Endpoint("v1", schema().node("io.k8s.api.core.v1.Event"))
texts = st.sampled_from(("", "x", "y"))
references = st.fixed_dictionaries({}, optional=dict.fromkeys(("kind", "name", "fieldPath", "uid"), texts))
events = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({}, optional={"name": texts, "labels": maps})},
    optional={
        "involvedObject": references,
        "related": references,
        "source": st.fixed_dictionaries({}, optional={"component": texts, "host": texts}),
        "series": st.fixed_dictionaries({}, optional={"count": st.integers(0, 2)}),
        "count": st.integers(0, 2),
        **dict.fromkeys(("reason", "message", "type", "reportingComponent", "reportingInstance"), texts),
    },
)


@given(st.lists(events, min_size=1, max_size=6))
def test_new_events_have_the_fields_that_they_have(plains):
    for plain in plains + plains:
        obj = msgspec.convert(plain, EVENT)
        found = managers.create(obj, EventStrategy().fields_key(obj), "m", T1, EVENTS)
        assert found is not None
        assert msgspec.json.decode(found or b"[]") == update_managed_fields(None, obj, [], "m", T1, EVENTS)


def test_objects_of_more_parts_are_left_to_others():
    deployment = msgspec.convert({"metadata": {}, "spec": {}}, STRUCT)
    assert managers.create(deployment, b"", "m", T1, LABELS_KEPT) is None
    with_status = msgspec.convert({"metadata": {}, "status": {"phase": "Running"}}, POD)
    assert managers.create(with_status, b"", "m", T1, Endpoint("v1", PODS.shape.node)) is None


entries = st.lists(
    st.fixed_dictionaries(
        {"apiVersion": st.just("v1"), "operation": st.sampled_from(("Update", "Apply", "Other"))},
        optional={
            "manager": who,
            "fieldsType": st.sampled_from(("FieldsV1", "FieldsV2")),
            "fieldsV1": st.sampled_from(({"f:a": {}, "f:b": {}}, {"f:b": {}, "f:a": {}}, {"nonsense": {}})),
            "time": st.sampled_from((T1, "2026-01-01T01:00:00+01:00", T2)),
        },
    )
    | st.just({}),
    max_size=3,
)


@given(entries, entries)
def test_what_clients_send_counts_as_ever(before, sent):

    stored = [
        {"fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}, **e}
        for e in before
        if e.get("operation") != "Other" and e
    ] or [{"apiVersion": "v1", "operation": "Update"}]
    for text in (sent, stored, stored[::-1]):
        expected = current_managers(stored, text)
        found = managers.base(msgspec.json.encode(text), at_rest(stored))
        assert msgspec.json.decode(found or b"[]") == expected
        if expected == stored:
            assert found == at_rest(stored)


LEASE = "io.k8s.api.coordination.v1.Lease"
LEASES = Endpoint("coordination.k8s.io/v1", schema().node(LEASE))


def lease(time: str, holder: str = "n1"):
    plain = {
        "metadata": {
            "name": "a",
            "ownerReferences": [{"kind": "Node", "name": "n1", "uid": "u", "apiVersion": "v1"}],
        },
        "spec": {"holderIdentity": holder, "renewTime": time},
    }
    return msgspec.convert(plain, schema().struct(LEASE))


@given(st.lists(st.tuples(who, st.sampled_from(("n1", "n2"))), max_size=3), who)
def test_a_renewal_is_an_update(writes, manager):
    old = lease("2026-01-01T00:00:00.000000Z")
    entries = at_rest(update_managed_fields(None, old, [], "a", T1, LEASES))
    for number, (writer, holder) in enumerate(writes):
        new = lease(f"2026-01-01T00:01:0{number}.000000Z", holder)
        entries = managers.update(old, new, entries, writer, T1, LEASES)
        old = new
    new = lease("2026-01-01T00:02:00.000000Z", old.spec.holderIdentity)
    found = managers.renew(entries, "renewTime", manager, T2, LEASES)
    assert found in (None, managers.update(old, new, entries, manager, T2, LEASES))
    if not writes:
        assert (found is not None) == (manager == "a")


def test_who_has_not_renewed_before_does_not_renew():
    old = lease("2026-01-01T00:00:00.000000Z")
    [entry] = update_managed_fields(None, old, [], "a", T1, LEASES)
    without = {**entry, "fieldsV1": {"f:spec": {"f:holderIdentity": {}}, "f:metadata": {"f:renewTime": {}}}}
    for other in (
        without,
        {**entry, "operation": "Apply"},
        {**entry, "apiVersion": "coordination.k8s.io/v1beta1"},
    ):
        assert managers.renew(at_rest([other]), "renewTime", "a", T2, LEASES) is None


def test_large_owners_are_not_kept():
    managers._metadata.clear()
    for size, kept in ((10, 1), (managers.MAX_CREATED_BYTES, 1)):
        owner = {"apiVersion": "v1", "kind": "X", "name": "n" * size, "uid": "u"}
        obj = msgspec.convert({"metadata": {"ownerReferences": [owner]}, "spec": {}}, POD)
        assert managers.create(obj, b"", "m", T1, PODS)
        assert len(managers._metadata) == kept


HEARD = b'{"f:conditions":{"k:{\\"type\\":\\"Ready\\"}":{"f:lastHeartbeatTime":{}}}}'
_SETS = (
    HEARD,
    b'{"f:conditions":{"k:{\\"type\\":\\"Ready\\"}":{".":{},"f:lastHeartbeatTime":{},"f:type":{}}},"f:phase":{}}',
    b'{"f:conditions":{"k:{\\"type\\":\\"Other\\"}":{"f:lastHeartbeatTime":{}}}}',
    b'{"f:conditions":{"k:{\\"type\\":\\"},{\\"}":{}}}',
    b"{}",
)
_part = st.sampled_from(("f:status", "f:status", "f:spec"))
_fields = st.dictionaries(_part, st.sampled_from((*_SETS[:2], *_SETS)), max_size=2)
_entry = st.fixed_dictionaries(
    {
        "apiVersion": st.sampled_from(("apps/v1", "apps/v1", "apps/v1", "v1")),
        "manager": st.sampled_from(("a", "a", "b", '},{"', "},{")),
        "operation": st.sampled_from(("Update", "Update", "Apply")),
        "time": st.sampled_from((T1, T1, T2, "2026-01-01T00:00:02Z")),
    },
    optional={"subresource": st.just("status"), "fieldsType": st.just("FieldsV1")},
)


@given(
    st.lists(st.tuples(_entry, _fields), min_size=1, max_size=5),
    st.sampled_from(("a", "b", "},{", "")),
    endpoints,
)
def test_who_wrote_last_writes_again(found, manager, endpoint):
    parts = [(e, {n: msgspec.Raw(f) for n, f in fields.items()}) for e, fields in found]
    entries = [
        managers.Entry(**{"fieldsType": "FieldsV1", **e}, fieldsV1=msgspec.Raw(msgspec.json.encode(f)))
        for e, f in parts
    ]
    before = msgspec.json.encode(
        sorted({managers._order(e): e for e in entries}.values(), key=managers._order)
    )
    again = managers.repeat(before, "f:status", HEARD, manager, T2, endpoint)
    if again is not None:
        assert again == managers.update_part(before, "f:status", HEARD, manager, T2, endpoint)


def test_it_is_known_who_wrote_last():
    entries = b"[]"
    for manager in ("b", "a"):
        entries = managers.update_part(entries, "f:status", HEARD, manager, T1, STATUS)
    assert managers.repeat(entries, "f:status", HEARD, "a", T2, STATUS) == entries.replace(
        T1.encode(), T2.encode()
    )
    assert managers.repeat(entries, "f:status", HEARD, "a", "2025-01-01T00:00:00Z", STATUS) is None
    assert managers.repeat(entries, "f:status", HEARD, "b", T2, STATUS) is None
    assert managers.repeat(entries, "f:status", HEARD, "a", T2, WHOLE) is None
    assert managers.repeat(entries, "f:status", _SETS[1], "a", T2, STATUS) is None
    other = managers.update_part(entries, "f:spec", b'{"f:replicas":{}}', "b", T1, WHOLE)
    assert managers.repeat(other, "f:status", HEARD, "a", T2, STATUS) is None
    kept = managers.update_part(other, "f:status", HEARD, "a", T2, STATUS)
    assert managers.repeat(kept, "f:status", HEARD, "a", T2, STATUS) == kept
