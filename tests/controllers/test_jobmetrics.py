from __future__ import annotations

from typing import Any

import msgspec

from lakh.controllers import jobmetrics
from lakh.controllers.views import Job


def job(mode: str = "Indexed", **status: Any) -> Job:
    return msgspec.convert(
        {
            "metadata": {"name": "train", "namespace": "default", "uid": "j"},
            "spec": {"completionMode": mode},
            "status": status,
        },
        Job,
    )


def count(family: Any, *labels: str) -> float:
    series = family.series.get(labels)
    return series.value if series is not None else 0.0


def test_what_a_status_counts_for_the_first_time() -> None:
    pods, finished = jobmetrics._PODS, jobmetrics._FINISHED
    before = [count(pods, "Indexed", r) for r in ("succeeded", "failed")]
    ended = count(finished, "Indexed", "failed", "BackoffLimitExceeded")
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    first = job(succeeded=3, failed=1)
    second = job(succeeded=5, failed=2, conditions=[failed])
    jobmetrics.written(first, second.status)
    jobmetrics.written(second, second.status)
    assert [count(pods, "Indexed", r) for r in ("succeeded", "failed")] == [before[0] + 2, before[1] + 1]
    assert count(finished, "Indexed", "failed", "BackoffLimitExceeded") == ended + 1


def test_syncs() -> None:
    labels = ("NonIndexed", "error", "pods_created")
    before = count(jobmetrics._SYNCS, *labels)
    seconds = list(jobmetrics._SECONDS.child(*labels).counts)
    jobmetrics.synced(job(mode="NonIndexed"), jobmetrics.CREATED, 0.01, failed=True)
    assert count(jobmetrics._SYNCS, *labels) == before + 1
    seconds[2] += 1
    assert jobmetrics._SECONDS.series[labels].counts == seconds, "0.008 < 0.01 <= 0.016"


def test_indexes_and_pods() -> None:
    before = [count(jobmetrics._INDEXES, outcome, "perIndex") for outcome in ("succeeded", "failed")]
    first = job(succeeded=3, failedIndexes="1")
    first.spec.backoffLimitPerIndex = 0
    jobmetrics.written(first, job(succeeded=5, failedIndexes="1,4-6").status)
    after = [count(jobmetrics._INDEXES, outcome, "perIndex") for outcome in ("succeeded", "failed")]
    assert after == [before[0] + 2, before[1] + 3]
    first.spec.podReplacementPolicy = "Failed"
    labels = ("recreate_failed", "succeeded")
    before = [count(jobmetrics._CREATED, *labels)]
    jobmetrics.created(first, 4, 0, replaces=True)
    assert count(jobmetrics._CREATED, *labels) == before[0] + 4
