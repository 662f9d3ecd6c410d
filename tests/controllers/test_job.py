"""Jobs: the decision, the tracker, and whole Jobs on a fake API server with pods that live, fail and vanish."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import msgspec
import pytest
from fake_client import NOW, FakeClient, drain, make_context, template
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.client.errors import ApiError
from lakh.client.resources import JOBS, PODS
from lakh.controllers import clock
from lakh.controllers.indexes import parse_indexes
from lakh.controllers.job import JobController
from lakh.controllers.jobdecision import Verdict, action_for, backoff_left, decide, is_ignored
from lakh.controllers.jobpods import JobPods
from lakh.controllers.jobtracker import FINALIZER, JobTracker
from lakh.controllers.ttlafterfinished import TTLAfterFinishedController, expires_at
from lakh.controllers.views import Condition, ContainerStatus, Job, Pod
from tests.examples import examples


def job_view(status: dict[str, Any] | None = None, **spec: Any) -> Job:
    return msgspec.convert(
        {
            "metadata": {"name": "train", "namespace": "default", "uid": "j"},
            "spec": {"parallelism": 2, "completions": 5, "backoffLimit": 3, **spec},
            "status": status or {},
        },
        Job,
    )


def pod_view(name: str, phase: str = "Running", index: int | None = None, **extra: Any) -> Pod:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": name, "finalizers": [FINALIZER]}
    if index is not None:
        metadata["annotations"] = {"batch.kubernetes.io/job-completion-index": str(index)}
    metadata |= extra.pop("metadata", {})
    return msgspec.convert({"metadata": metadata, "status": {"phase": phase, **extra}}, Pod)


# ---------------------------------------------------------------- the decision


@pytest.mark.parametrize(
    ("spec", "status", "pods", "expected"),
    [
        ({}, {}, [], (2, 0, None)),
        ({}, {}, [pod_view("a")], (1, 0, None)),
        ({}, {"succeeded": 4}, [], (1, 0, None)),
        ({}, {"succeeded": 4}, [pod_view("a"), pod_view("b")], (0, 1, None)),
        ({}, {"succeeded": 5}, [], (0, 0, "CompletionsReached")),
        (
            {},
            {"succeeded": 3},
            [pod_view("a", "Succeeded"), pod_view("b", "Succeeded")],
            (0, 0, "CompletionsReached"),
        ),
        ({}, {"failed": 4}, [], (0, 0, "BackoffLimitExceeded")),
        ({}, {"failed": 3}, [], (2, 0, None)),
        ({"suspend": True}, {}, [pod_view("a")], (0, 1, None)),
        ({"completions": None}, {}, [pod_view("a", "Succeeded"), pod_view("b")], (0, 0, None)),
        ({"completions": None}, {}, [pod_view("a", "Succeeded")], (0, 0, "CompletionsReached")),
        ({"parallelism": 0}, {}, [pod_view("a")], (0, 1, None)),
        ({"completions": 0}, {}, [], (0, 0, "CompletionsReached")),
        (
            {"activeDeadlineSeconds": 10},
            {"startTime": "2023-11-14T22:00:00Z"},
            [pod_view("a")],
            (0, 0, "DeadlineExceeded"),
        ),
        (
            {"completionMode": "Indexed"},
            {"completedIndexes": "0-3"},
            [pod_view("a", "Succeeded", 4)],
            (0, 0, "CompletionsReached"),
        ),
        (
            {"completionMode": "Indexed", "backoffLimitPerIndex": 0},
            {"completedIndexes": "0-3"},
            [pod_view("a", "Failed", 4)],
            (0, 0, "FailedIndexes"),
        ),
        (
            {
                "completionMode": "Indexed",
                "successPolicy": {"rules": [{"succeededIndexes": "0,2", "succeededCount": 1}]},
            },
            {"completedIndexes": "2"},
            [],
            (0, 0, "SuccessPolicy"),
        ),
    ],
)
def test_decide(
    spec: dict[str, Any], status: dict[str, Any], pods: list[Pod], expected: tuple[int, int, str | None]
) -> None:
    job = job_view(status, **spec)
    plan = decide(job, JobTracker(job, pods), NOW)
    assert (plan.create, plan.delete, plan.verdict.reason if plan.verdict else None) == expected


def test_backoff_doubles_and_is_capped() -> None:
    job = job_view(backoffLimit=100)
    tracker = JobTracker(job, [])
    waits = []
    for n in range(8):
        tracker.apply(pod_view(f"p{n}", "Failed"), NOW)
        waits.append(backoff_left(tracker, NOW))
    assert waits == [10, 20, 40, 80, 160, 320, 360, 360]
    plan = decide(job, tracker, NOW)
    assert plan.create == 0
    assert plan.requeue_seconds == 360
    assert decide(job, tracker, NOW + 361).create == 2
    tracker.apply(pod_view("ok", "Succeeded"), NOW)
    assert backoff_left(tracker, NOW) <= 0


def failed_at(name: str, index: int, at: float, failures: int = 0, **extra: Any) -> Pod:
    notes = {
        "batch.kubernetes.io/job-completion-index": str(index),
        "batch.kubernetes.io/job-index-failure-count": str(failures),
    }
    ended = [{"name": "main", "state": {"terminated": {"exitCode": 1, "finishedAt": clock.stamp(at)}}}]
    return pod_view(name, "Failed", containerStatuses=ended, metadata={"annotations": notes}, **extra)


def test_with_a_limit_per_index_each_index_waits_by_itself() -> None:
    job = job_view(
        completionMode="Indexed", backoffLimitPerIndex=3, backoffLimit=2**31 - 1, parallelism=4, completions=4
    )
    tracker = JobTracker(job, [])
    tracker.apply(failed_at("a", 0, NOW, failures=1), NOW)
    tracker.apply(failed_at("b", 1, NOW - 12), NOW)
    plan = decide(job, tracker, NOW)
    assert (plan.create, plan.requeue_seconds) == (3, 20)
    assert tracker.take(plan.create, NOW) == [1, 2, 3]
    tracker.settle()
    assert decide(job, tracker, NOW + 21).create == 4
    assert tracker.take(4, NOW + 21) == [0, 1, 2, 3]
    assert (tracker.index_failures[0], tracker.index_failures[1]) == (2, 1)


def test_a_new_tracker_knows_how_often_indexes_have_failed() -> None:
    job = job_view(completionMode="Indexed", backoffLimitPerIndex=3, backoffLimit=2**31 - 1)
    counted = failed_at("a", 0, NOW - 5, failures=2)
    counted.metadata.finalizers = None
    tracker = JobTracker(job, [counted])
    assert tracker.index_failures == {0: 3}
    assert tracker.delayed(NOW) == (1, 35)


def test_ignored_failures_of_an_index_are_counted_apart() -> None:
    job = job_view(
        completionMode="Indexed",
        backoffLimitPerIndex=0,
        backoffLimit=2**31 - 1,
        podFailurePolicy=failure_policy("FailJob"),
        template=msgspec.Raw(msgspec.json.encode(template({}))),
    )
    tracker = JobTracker(job, [], ignores=partial(is_ignored, job))
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    tracker.apply(failed_at("a", 0, NOW, conditions=disrupted), NOW)
    assert (tracker.index_failures[0], tracker.index_ignored[0], tracker.failed_indexes) == (0, 1, set())
    assert tracker.delayed(NOW) == (1, 10)
    tracker.apply(failed_at("b", 1, NOW), NOW)
    assert tracker.failed_indexes == {1}
    pod = msgspec.json.decode(JobPods(job).make(0, 0, 1))
    notes = pod["metadata"]["annotations"]
    assert notes["batch.kubernetes.io/job-index-failure-count"] == "0"
    assert notes["batch.kubernetes.io/job-index-ignored-failure-count"] == "1"


def failure_policy(action: str) -> dict[str, Any]:
    codes = {"operator": "In", "values": [42]}
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    return {
        "rules": [
            {"action": action, "onExitCodes": codes},
            {"action": "Ignore", "onPodConditions": disrupted},
        ]
    }


def exited(code: int) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": code}}}]}


def test_failure_policy() -> None:
    job = job_view(podFailurePolicy=failure_policy("FailJob"))
    pod = pod_view("a", "Failed", **exited(42))
    assert action_for(job, pod) == (
        "FailJob",
        "Container main for pod default/a failed with exit code 42 matching FailJob rule at index 0",
    )
    assert decide(job, JobTracker(job, [pod]), NOW).verdict == Verdict(
        "Failed", "PodFailurePolicy", action_for(job, pod)[1]
    )
    evicted = pod_view("b", "Failed", conditions=[{"type": "DisruptionTarget", "status": "True"}])
    assert action_for(job, evicted) == (
        "Ignore",
        "Pod default/b has condition DisruptionTarget matching Ignore rule at index 1",
    )
    assert action_for(job, pod_view("c", "Failed", **exited(1)))[0] == "Count"


# ---------------------------------------------------------------- the tracker


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.sampled_from(["run", "ready", "restarts", "untracked", "ok", "fail", "delete", "gone"]),
        ),
        max_size=60,
    )
)
def test_tracker_equals_one_built_anew(steps: list[tuple[int, str]]) -> None:
    """Counts kept by changes are the counts of a fresh walk over the pods."""
    job = job_view(completionMode="Indexed", completions=8)
    tracker = JobTracker(job, [])
    pods: dict[str, Pod] = {}
    for number, step in steps:
        name = f"p{number}"
        phase = {"ok": "Succeeded", "fail": "Failed"}.get(step, "Running")
        pod = pod_view(name, phase, number % 4)
        if name in pods:
            pod.metadata.annotations = pods[name].metadata.annotations  # as informers share them
        if step == "ready":
            pod.status.conditions = [Condition(type="Ready", status="True")]
        if step == "restarts":
            pod.status.containerStatuses = [ContainerStatus(name="a", restartCount=number)]
        if step == "untracked":
            pod.metadata.finalizers = None
        if step == "delete":
            pod.metadata.deletionTimestamp = "2023-11-14T22:00:00Z"
        if step == "gone":
            if name in pods:
                tracker.drop(pods.pop(name))
            continue
        pods[name] = pod
        tracker.apply(pod, NOW)
    fresh = JobTracker(job, pods.values())
    assert {name: entry.pod for name, entry in tracker.pods.items()} == pods
    for field in ("active", "ready", "terminating", "restarts", "tracked", "occupied"):
        assert getattr(tracker, field) == getattr(fresh, field), field
    assert set(tracker.succeeded) == set(fresh.succeeded)
    assert set(tracker.failed) == set(fresh.failed)
    free = tracker.take(8)
    assert len(free) == len(set(free))
    assert set(free) == set(range(8)) - tracker.completed - set(tracker.occupied)


def test_worked_example() -> None:
    job = job_view(completionMode="Indexed", completions=4)
    tracker = JobTracker(job, [])
    tracker.apply(pod_view("a", "Succeeded", 0), NOW)
    tracker.apply(pod_view("b", "Running", 1), NOW)
    tracker.apply(pod_view("c", "Running", 2), NOW)
    tracker.apply(pod_view("c", "Failed", 2), NOW)
    assert tracker.completed == {0}
    assert tracker.occupied == {1: 1}
    assert tracker.take(2) == [2, 3]
    assert tracker.take(2) == []
    tracker.give_back(3)
    assert tracker.take(2) == [3]


# ---------------------------------------------------------------- the shell


def put_job(client: FakeClient, **spec: Any) -> None:
    labels = {"batch.kubernetes.io/controller-uid": "j", "job-name": "train"}
    client.put(
        JOBS,
        {
            "metadata": {"name": "train", "uid": "j"},
            "spec": {
                "parallelism": 2,
                "completions": 2,
                "backoffLimit": 6,
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "j"}},
                "template": template(labels, restartPolicy="Never"),
                **spec,
            },
        },
    )


def status_of(client: FakeClient) -> dict[str, Any]:
    status: dict[str, Any] = client.one(JOBS, "train", "default").get("status", {})
    return status


def conditions_of(client: FakeClient) -> dict[str, str]:
    return {c["type"]: c["reason"] for c in status_of(client).get("conditions", []) if c["status"] == "True"}


async def work(controller: JobController) -> None:
    """Let the controller come to rest, strays included; conflicts of stale memory are retried as the queue would."""
    for _ in range(100):
        revision = controller.client.revision  # type: ignore[attr-defined]
        controller.resync()
        try:
            await drain(controller)
        except ApiError as error:
            if error.reason != "Conflict":
                raise
            continue
        while len(controller.strays):
            key = await controller.strays.get()
            await controller.release_stray(key)
            controller.strays.done(key)
        if controller.client.revision == revision:  # type: ignore[attr-defined]
            return
    raise AssertionError("the job never came to rest")


def end(client: FakeClient, name: str, phase: str, **extra: Any) -> None:
    client.change(PODS, name, {"status": {"phase": phase, **extra}})


async def test_runs_to_completion(client: FakeClient) -> None:
    context = make_context(client)
    controller = JobController(context)
    put_job(client, completions=3)
    await work(controller)
    pods = client.all(PODS)
    assert len(pods) == 2
    assert pods[0]["metadata"]["finalizers"] == [FINALIZER]
    assert pods[0]["metadata"]["generateName"] == "train-"
    assert status_of(client)["active"] == 2
    assert status_of(client)["startTime"]
    for _ in range(3):
        running = [pod for pod in client.all(PODS) if pod["status"]["phase"] == "Pending"]
        end(client, running[0]["metadata"]["name"], "Succeeded")
        await work(controller)
    status = status_of(client)
    assert status["succeeded"] == 3
    assert status["completionTime"]
    assert "active" not in status
    assert status["uncountedTerminatedPods"] == {}
    assert conditions_of(client) == {
        "SuccessCriteriaMet": "CompletionsReached",
        "Complete": "CompletionsReached",
    }
    assert not any(pod["metadata"].get("finalizers") for pod in client.all(PODS))
    reasons = context.recorder("job-controller").reasons  # type: ignore[attr-defined]
    assert reasons == ["SuccessfulCreate"] * 3 + ["Completed"]


async def test_indexed_pods(client: FakeClient) -> None:
    controller = JobController(make_context(client))
    put_job(client, completionMode="Indexed", completions=3, parallelism=3)
    await work(controller)
    pods = {pod["spec"]["hostname"]: pod for pod in client.all(PODS)}
    assert set(pods) == {"train-0", "train-1", "train-2"}
    pod = pods["train-1"]
    index = "batch.kubernetes.io/job-completion-index"
    assert pod["metadata"]["generateName"] == "train-1-"
    assert pod["metadata"]["labels"][index] == pod["metadata"]["annotations"][index] == "1"
    assert pod["spec"]["containers"][0]["env"] == [
        {
            "name": "JOB_COMPLETION_INDEX",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{index}']"}},
        }
    ]
    end(client, pods["train-0"]["metadata"]["name"], "Succeeded")
    end(client, pods["train-2"]["metadata"]["name"], "Succeeded")
    await work(controller)
    assert status_of(client)["completedIndexes"] == "0,2"
    assert status_of(client)["succeeded"] == 2


async def test_big_job_starts_in_one_sync(client: FakeClient) -> None:
    controller = JobController(make_context(client))
    put_job(client, completionMode="Indexed", completions=512, parallelism=512)
    await controller.reconcile(await controller.queue.get())
    assert len(client.all(PODS)) == 512
    assert status_of(client)["active"] == 512


async def test_backoff_limit(client: FakeClient) -> None:
    context = make_context(client)
    controller = JobController(context)
    put_job(client, backoffLimit=1, parallelism=1, completions=1)
    await work(controller)
    for _ in range(2):
        running = [pod for pod in client.all(PODS) if pod["status"]["phase"] == "Pending"]
        end(client, running[0]["metadata"]["name"], "Failed")
        await work(controller)
        client.now += 400
        await work(controller)
    assert status_of(client)["failed"] == 2
    assert conditions_of(client) == {
        "FailureTarget": "BackoffLimitExceeded",
        "Failed": "BackoffLimitExceeded",
    }
    assert len(client.all(PODS)) == 2
    events = context.recorder("job-controller").events  # type: ignore[attr-defined]
    assert events[-1] == ("Warning", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


async def test_failed_job_waits_for_its_pods(client: FakeClient) -> None:
    controller = JobController(make_context(client))
    put_job(client, backoffLimit=0, parallelism=3, completions=3)
    await work(controller)
    client.graceful = True
    end(client, client.all(PODS)[0]["metadata"]["name"], "Failed")
    await work(controller)
    assert conditions_of(client) == {"FailureTarget": "BackoffLimitExceeded"}
    assert status_of(client)["terminating"] == 2
    for pod in client.all(PODS):
        if pod["metadata"].get("deletionTimestamp"):
            client.remove(PODS, pod["metadata"]["name"])
    await work(controller)
    assert conditions_of(client)["Failed"] == "BackoffLimitExceeded"
    assert status_of(client)["failed"] == 3


async def test_suspend_and_resume(client: FakeClient) -> None:
    context = make_context(client)
    controller = JobController(context)
    put_job(client)
    await work(controller)
    client.change(JOBS, "train", {"spec": {"suspend": True}})
    await work(controller)
    assert client.all(PODS) == []
    assert conditions_of(client) == {"Suspended": "JobSuspended"}
    assert "startTime" not in status_of(client)
    client.change(JOBS, "train", {"spec": {"suspend": False}})
    await work(controller)
    assert len(client.all(PODS)) == 2
    assert conditions_of(client) == {}
    assert status_of(client)["startTime"]
    assert status_of(client).get("failed") is None
    reasons = context.recorder("job-controller").reasons  # type: ignore[attr-defined]
    assert [reason for reason in reasons if not reason.startswith("Success")] == ["Suspended", "Resumed"]


async def test_pods_of_a_deleted_job_are_released(client: FakeClient) -> None:
    controller = JobController(make_context(client))
    put_job(client)
    await work(controller)
    client.remove(JOBS, "train")
    await work(controller)
    assert [pod["metadata"].get("finalizers", []) for pod in client.all(PODS)] == [[], []]


async def test_parallelism_lowered_is_no_failure(client: FakeClient) -> None:
    controller = JobController(make_context(client))
    put_job(client, parallelism=4, completions=8)
    await work(controller)
    client.change(JOBS, "train", {"spec": {"parallelism": 1}})
    await work(controller)
    assert len(client.all(PODS)) == 1
    assert status_of(client).get("failed") is None


@settings(max_examples=examples(60))
@given(st.integers(0, 2**32 - 1), st.booleans())
async def test_no_pod_is_counted_twice(seed: int, indexed: bool) -> None:
    """Pods succeed, fail, vanish; the watch stalls; the controller restarts. The counters tell the truth."""
    rng = random.Random(seed)
    client = FakeClient()
    controller = JobController(make_context(client))
    put_job(
        client,
        completions=6,
        parallelism=3,
        backoffLimit=1000,
        completionMode="Indexed" if indexed else "NonIndexed",
    )
    outcome: dict[str, str] = {}
    for _ in range(60):
        action = rng.random()
        pending = [pod for pod in client.all(PODS) if pod["status"]["phase"] == "Pending"]
        if action < 0.2 and client._held is None:
            client.hold()
        elif action < 0.25 and client._held is not None:
            client.release()
        elif action < 0.4 and client._held is not None:
            client.release_some(rng.randint(1, 3))
        elif action < 0.45:
            if client._held is not None:
                client.release()
            client.informers.clear()
            controller = JobController(make_context(client))
        elif action < 0.8 and pending:
            pod = rng.choice(pending)
            phase = rng.choice(["Succeeded", "Succeeded", "Failed"])
            outcome[pod["metadata"]["uid"]] = phase
            end(client, pod["metadata"]["name"], phase)
            # The kubelet goes on writing: a stalled watch shows the finalizer after we took it off.
            for turn in range(rng.randint(0, 3)):
                end(client, pod["metadata"]["name"], phase, reason=str(turn))
        client.now += 400
        try:
            await work(controller)
        except AssertionError:
            # With the watch held back, memory stays stale and so do conflicts.
            if client._held is None:
                raise
    if client._held is not None:
        client.release()
    for _ in range(40):
        client.now += 400
        await work(controller)
        for pod in client.all(PODS):
            if pod["status"]["phase"] == "Pending":
                outcome[pod["metadata"]["uid"]] = "Succeeded"
                end(client, pod["metadata"]["name"], "Succeeded")
    status = status_of(client)
    assert "Complete" in conditions_of(client)
    phases = list(outcome.values())
    assert status.get("failed", 0) == phases.count("Failed")
    if indexed:
        assert parse_indexes(status["completedIndexes"], 6) == set(range(6))
        assert status["succeeded"] == 6
    else:
        assert status["succeeded"] == phases.count("Succeeded")
        assert status["succeeded"] == 6


# ---------------------------------------------------------------- time to live


async def test_ttl(client: FakeClient) -> None:
    controller = TTLAfterFinishedController(make_context(client))
    complete = {"type": "Complete", "status": "True", "lastTransitionTime": "2023-11-14T22:13:20Z"}
    put_job(client, ttlSecondsAfterFinished=60)
    await drain(controller)
    client.change(JOBS, "train", {"status": {"conditions": [complete]}})
    assert expires_at(job_view({"conditions": [complete]}, ttlSecondsAfterFinished=60)) == NOW + 60
    await drain(controller)
    assert "deletionTimestamp" not in client.one(JOBS, "train", "default")["metadata"]
    client.now += 61
    controller.resync()
    await drain(controller)
    assert client.one(JOBS, "train", "default")["metadata"]["deletionTimestamp"]
