"""What the store refuses reaches clients as the right Status, and what leads to a deletion is not refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lakh.server.exchange import status_response
from lakh.server.quotas import QuotaError, Quotas
from lakh.server.refusals import status_of
from lakh.store import errors
from lakh.store.limits import DISK_BYTES, Limits
from lakh.store.memory_journal import MemoryJournal
from lakh.store.partition import Partition

from .harness import CONFIGMAPS, LEASES, PODS, Api, configmap, pod

CASES: list[tuple[errors.StoreError, int, str, int | None]] = [
    (errors.Overloaded("pods", 9), 429, "TooManyRequests", 1),
    (errors.NotWriter("pods", "b"), 503, "ServiceUnavailable", 1),
    (errors.JournalUnavailable("silence"), 503, "ServiceUnavailable", 1),
    (errors.QuotaExceeded("pods", "memory", 9, 8), 507, "InsufficientStorage", None),
    (errors.JournalFull(Path("/d")), 507, "InsufficientStorage", None),
    (errors.ValueTooLarge("pods/a/b", 9, 8), 413, "RequestEntityTooLarge", None),
    (errors.Compacted(2, 9), 410, "Expired", None),
    (errors.FutureRevision(9, 2), 504, "Timeout", 1),
    (errors.OutcomeUnknown("silence"), 504, "Timeout", None),
    (errors.JournalFailed("EIO"), 500, "InternalError", None),
    (errors.JournalCorrupt(Path("/d/1.log"), 7, "rot"), 500, "InternalError", None),
    (errors.PartitionClosed("pods"), 503, "ServiceUnavailable", None),
    (errors.JournalClosed(), 503, "ServiceUnavailable", None),
]


@pytest.mark.parametrize(("error", "code", "reason", "retry"), CASES, ids=lambda v: type(v).__name__)
def test_status(error: errors.StoreError, code: int, reason: str, retry: int | None) -> None:
    status = status_of(error)
    assert (status.code, status.reason, status.retry_after_seconds) == (code, reason, retry)
    assert ((b"Retry-After", b"1") in status_response(status).headers) == bool(retry)


def test_what_may_have_happened_is_not_sent_again_by_itself() -> None:
    for error in (errors.OutcomeUnknown("silence"), errors.JournalFailed("EIO")):
        assert status_of(error).retry_after_seconds is None


def test_wordings() -> None:
    assert status_of(errors.ValueTooLarge("a", 9, 8)).message == "Request entity too large: limit is 8"
    assert status_of(errors.FutureRevision(9, 2)).message == "Too large resource version: 9, current: 2"
    assert "--memory-quota" in status_of(errors.QuotaExceeded("pods", "memory", 9, 8)).message


def test_quotas() -> None:
    quotas = Quotas.parse("4Gi,events=1Gi", "")
    assert quotas.of("pods") == Limits(4 << 30, DISK_BYTES)
    assert quotas.of("events") == Limits(1 << 30, DISK_BYTES)
    assert Quotas().of("pods") == Limits()
    for bad in ("x", "pods=", "nothing=1Gi", "1Mi", "-1Gi"):
        with pytest.raises(QuotaError, match="--disk-quota"):
            Quotas.parse("", bad)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    started = await Api.start()
    yield started
    await started.stop()


def partition(api: Api, name: str) -> Partition:
    return api.server.cluster.partitions[name]


def journal(api: Api, name: str) -> MemoryJournal:
    found = partition(api, name)._journal
    assert isinstance(found, MemoryJournal)
    return found


def at_quota(api: Api, *names: str) -> None:
    for name in names:
        full = partition(api, name)
        full.limits = Limits(memory_bytes=full.memory_bytes)


async def running_pod(api: Api, name: str, **metadata: Any) -> dict[str, Any]:
    made = pod(name, nodeName="n1", terminationGracePeriodSeconds=30)
    made["metadata"].update(metadata)
    assert (await api.post(PODS, made)).status == 201
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    answer = await api.patch(f"{PODS}/{name}/status", {"status": status})
    assert answer.status == 200
    return answer.json  # type: ignore[no-any-return]


async def test_growth_is_refused_at_a_quota(api: Api) -> None:
    await running_pod(api, "a")
    at_quota(api, "pods")
    refused = await api.post(PODS, pod("b"))
    assert (refused.status, refused.json["reason"]) == (507, "InsufficientStorage")
    assert "partition pods is at its memory quota" in refused.json["message"]
    assert "deletes are always taken" in refused.json["message"]
    grown = await api.patch(f"{PODS}/a", {"metadata": {"labels": {"x": "y" * 60}}})
    assert grown.status == 507
    # Other partitions do not mind.
    assert (await api.post(CONFIGMAPS, configmap("a"))).status == 201
    assert (await api.get("/metrics")).body.count(b'reason="quota"} 2\n') == 1


async def test_a_lease_is_renewed_at_a_quota(api: Api) -> None:
    spec = {"holderIdentity": "me", "renewTime": "2026-01-01T00:00:00.000000Z"}
    made = (await api.post(LEASES, {"metadata": {"name": "a"}, "spec": spec})).json
    at_quota(api, "leases")
    made["spec"]["renewTime"] = "2026-01-01T00:00:10.000000Z"
    assert (await api.put(f"{LEASES}/a", made)).status == 200


async def test_a_running_pod_is_deleted_at_a_quota(api: Api) -> None:
    await running_pod(api, "a", finalizers=["example.com/wait"])
    at_quota(api, "pods")
    marked = await api.delete(f"{PODS}/a")
    assert (marked.status, marked.json["metadata"]["deletionGracePeriodSeconds"]) == (200, 30)
    ended = {"state": {"terminated": {"exitCode": 143, "reason": "Error", "message": "x" * 200}}}
    container = {"name": "c", "image": "nginx", "imageID": "", "ready": False, "restartCount": 0, **ended}
    status = {"status": {"phase": "Failed", "containerStatuses": [container]}}
    assert (await api.patch(f"{PODS}/a/status", status)).status == 200
    forced = await api.delete(f"{PODS}/a", {"gracePeriodSeconds": 0})
    assert forced.status == 200
    released = await api.patch(f"{PODS}/a", {"metadata": {"finalizers": None}})
    assert released.status == 200
    assert (await api.get(f"{PODS}/a")).status == 404
    assert (await api.post(PODS, pod("b"))).status == 201, "what the pod took is free again"


async def test_a_finalizer_is_removed_at_a_quota(api: Api) -> None:
    await running_pod(api, "a", finalizers=["example.com/a", "example.com/b"])
    at_quota(api, "pods")
    change = {"metadata": {"finalizers": ["example.com/a"], "annotations": {"why": "x" * 100}}}
    assert (await api.patch(f"{PODS}/a", change)).status == 200


async def test_an_eviction_at_a_quota_spends_a_budget(api: Api) -> None:
    await running_pod(api, "a", labels={"app": "a"})
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    spec = {"minAvailable": 0, "selector": {"matchLabels": {"app": "a"}}}
    await api.post(budgets, {"metadata": {"name": "a"}, "spec": spec})
    status = {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 0}
    status |= {"expectedPods": 1}
    assert (await api.patch(f"{budgets}/a/status", {"status": status})).status == 200
    at_quota(api, "pods", "default")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
    assert (await api.post(f"{PODS}/a/eviction", eviction)).status == 201
    assert (await api.get(f"{PODS}/a")).json["metadata"]["deletionTimestamp"]


async def test_a_namespace_is_deleted_at_a_quota(api: Api) -> None:
    await api.post("/api/v1/namespaces", {"metadata": {"name": "old"}})
    await api.post("/api/v1/namespaces/old/configmaps", configmap("a"))
    at_quota(api, *api.server.cluster.partitions)
    marked = (await api.delete("/api/v1/namespaces/old")).json
    assert marked["status"]["phase"] == "Terminating"
    conditions = [
        {"type": "NamespaceContentRemaining", "status": "True", "reason": "Some", "message": "x" * 300}
    ]
    marked["status"]["conditions"] = conditions
    answer = await api.put("/api/v1/namespaces/old/status", marked)
    assert answer.status == 200
    assert (await api.delete("/api/v1/namespaces/old/configmaps")).status == 200
    answer.json["spec"]["finalizers"] = []
    assert (await api.put("/api/v1/namespaces/old/finalize", answer.json)).status == 200
    assert (await api.get("/api/v1/namespaces/old")).status == 404


async def test_deletions_go_through_on_a_full_disk(api: Api) -> None:
    await running_pod(api, "a")
    pods = journal(api, "pods")
    room = asyncio.Event()

    class Full(MemoryJournal):
        async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
            if not urgent and not room.is_set():
                raise errors.JournalFull
            return await super().append(batch, after=after)

    pods.__class__ = Full
    refused = await api.post(PODS, pod("b"))
    assert (refused.status, refused.json["reason"]) == (507, "InsufficientStorage")
    assert (await api.get(f"{PODS}/a")).status == 200
    assert (await api.delete(f"{PODS}/a")).json["metadata"]["deletionTimestamp"]
    status = {"status": {"phase": "Failed", "message": "x" * 300}}
    assert (await api.patch(f"{PODS}/a/status", status)).status == 200
    assert (await api.delete(f"{PODS}/a", {"gracePeriodSeconds": 0})).status == 200
    assert (await api.get(f"{PODS}/a")).status == 404
    assert (await api.post(PODS, pod("b"))).status == 507
    room.set()
    assert (await api.post(PODS, pod("b"))).status == 201


async def test_a_broken_disk_refuses_writes_and_serves_reads(api: Api) -> None:
    await api.post(CONFIGMAPS, configmap("a"))
    journal(api, "default").faults.append(errors.JournalFailed("fdatasync: EIO"))
    for name in ("b", "c"):
        broken = await api.post(CONFIGMAPS, configmap(name))
        assert (broken.status, broken.json["reason"]) == (500, "InternalError")
        assert "fdatasync: EIO" in broken.json["message"]
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 200
    assert (await api.post(PODS, pod("a"))).status != 500, "another partition"
    assert (await api.get("/readyz")).status == 500
    assert (await api.get("/metrics")).body.count(b'lakh_store_failed{partition="default"} 1\n') == 1


async def test_an_unknown_outcome_does_not_look_like_a_refusal(api: Api) -> None:
    journal(api, "default").faults.append(errors.OutcomeUnknown("no answer"))
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert (answer.status, answer.json["reason"]) == (504, "Timeout")
    assert "may have been applied or not" in answer.json["message"]
    assert b"Retry-After" not in answer.headers


async def test_an_object_that_no_entry_holds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryJournal, "max_batch_bytes", 1_000)
    answer = await api.post(CONFIGMAPS, configmap("a", data="x" * 1_000))
    assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")
    assert answer.json["message"] == "Request entity too large: limit is 1000"
