from __future__ import annotations

import asyncio
import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from lakh.client import events as events_module
from lakh.client.events import _SUBDOMAIN, NORMAL, WARNING, EventCorrelator, EventRecorder, event_name
from lakh.client.types import ObjectReference
from lakh.machinery.metrics import PROCESS

POD = ObjectReference(kind="Pod", namespace="ns", name="web-0", uid="u", apiVersion="v1")
SECOND_NS = 1_000_000_000


async def no_sleep(_seconds: float) -> None:
    await asyncio.sleep(0)


def test_fields_and_name():
    write = EventCorrelator("scheduler", "host-1").correlate(
        POD, NORMAL, "Scheduled", "ok", 1_700_000_000 * SECOND_NS
    )
    assert write.name == "web-0.17979cfe362a0000"
    assert write.patch is None
    assert write.event == {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": write.name, "namespace": "ns"},
        "involvedObject": {"kind": "Pod", "namespace": "ns", "name": "web-0", "uid": "u", "apiVersion": "v1"},
        "reason": "Scheduled",
        "message": "ok",
        "source": {"component": "scheduler", "host": "host-1"},
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:13:20Z",
        "count": 1,
        "type": "Normal",
        "reportingComponent": "scheduler",
        "reportingInstance": "host-1",
    }


def test_the_same_event_is_counted():
    correlator = EventCorrelator("c")
    first = correlator.correlate(POD, WARNING, "Failed", "m", SECOND_NS)
    again = correlator.correlate(POD, WARNING, "Failed", "m", 61 * SECOND_NS)
    assert again.name == first.name
    assert again.patch == {"count": 2, "lastTimestamp": "1970-01-01T00:01:01Z", "message": "m"}
    assert again.event["firstTimestamp"] == "1970-01-01T00:00:01Z"


def test_many_messages_are_combined():
    correlator = EventCorrelator("c")
    writes = [correlator.correlate(POD, WARNING, "Failed", f"m{n}", SECOND_NS) for n in range(12)]
    assert len({write.name for write in writes}) == 10
    assert writes[9].event["message"] == "(combined from similar events): m9"
    assert writes[9].name == writes[11].name
    assert writes[11].patch["count"] == 3


def test_spam_is_filtered_for_one_object_only():
    correlator = EventCorrelator("c")
    writes = [correlator.correlate(POD, WARNING, "Failed", "m", SECOND_NS) for _ in range(40)]
    assert [write is not None for write in writes] == [True] * 25 + [False] * 15
    assert correlator.correlate(POD, WARNING, "Failed", "m", 302 * SECOND_NS) is not None
    other = ObjectReference(kind="Pod", namespace="ns", name="web-1")
    assert correlator.correlate(other, WARNING, "Failed", "m", SECOND_NS) is not None


def test_caches_are_bounded():
    correlator = EventCorrelator("c", size=10)
    for number in range(100):
        correlator.correlate(ObjectReference(kind="Pod", name=f"p{number}"), NORMAL, "R", "m", SECOND_NS)
    for cache in (correlator._aggregates, correlator._written, correlator._buckets):
        assert len(cache._entries) == 10


def test_names_an_event_cannot_carry():
    assert event_name("a", 255) == "a.ff"
    assert len(event_name("a" * 253, 255)) == 39
    assert event_name("system:node", 255).endswith(".ff")


@given(st.text(alphabet="a0-._:", max_size=8), st.integers(0, 1 << 70))
def test_an_event_is_named_after_its_object_where_that_is_a_name(name, unix_ns):
    named = f"{name}.{unix_ns:x}"
    assert (event_name(name, unix_ns) == named) == bool(_SUBDOMAIN(named))


async def test_recorder_creates_then_patches(api):
    async with api.client() as client:
        recorder = EventRecorder(client, "c")
        for _ in range(3):
            recorder.event(POD, NORMAL, "R", "m")
        recorder.event({"kind": "Node", "name": "n1"}, NORMAL, "R", "m")
        await recorder.close()
        assert (recorder.written, recorder.dropped) == (4, 0)
    stored = [obj for (plural, _), obj in api.objects.items() if plural == "events"]
    assert sorted((obj["metadata"]["namespace"], obj["count"]) for obj in stored) == [
        ("default", 1),
        ("ns", 3),
    ]


async def test_few_are_written_at_a_time_and_what_waits_is_told(api):
    async with api.client() as client:
        recorder = EventRecorder(client, "of-the-events")
        for number in range(50):
            recorder.event(structs.replace(POD, name=f"p{number}"), NORMAL, "R", "m")
        assert recorder.waiting == 50
        assert b'lakh_events_waiting{component="of-the-events"} 50' in PROCESS.expose()
        await recorder.close()
        told = PROCESS.expose()
    assert api.connections == events_module.WRITERS < 50
    assert recorder.waiting == 0 and len(api.objects) == 50
    assert b'lakh_events_total{component="of-the-events",outcome="written"} 50' in told


async def test_an_event_that_has_expired_is_made_again(api):
    async with api.client() as client:
        recorder = EventRecorder(client, "c")
        recorder.event(POD, NORMAL, "R", "m")
        await recorder.flush()
        api.objects.clear()
        recorder.event(POD, NORMAL, "R", "m")
        await recorder.close()
    assert [obj["count"] for obj in api.objects.values()] == [2]


async def test_what_cannot_be_written_is_dropped_and_counted(api, monkeypatch):
    monkeypatch.setattr(events_module, "QUEUE_SIZE", 3)
    async with api.client() as client:
        recorder = EventRecorder(client, "c", sleep=no_sleep)
        api.faults += [api.Reply(403, b"no"), api.DROP]
        for number in range(5):
            recorder.event(POD, NORMAL, "R", f"m{number}")
        await recorder.close()
        recorder.event(POD, NORMAL, "R", "late")
        assert (recorder.written, recorder.dropped) == (2, 4)
    assert [json.loads(request.body)["message"] for request in api.requests] == ["m0", "m1", "m1", "m2"]
