"""Cron schedules, and CronJobs on a fake API server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fake_client import FakeClient, drain, make_context, template

from lakh.client.resources import CRONJOBS, JOBS
from lakh.controllers.cron import Cron, CronError
from lakh.controllers.cronjob import CronJobController


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2024-01-01T00:00:30Z", "2024-01-01T00:01:00Z"),
        ("*/15 * * * *", "2024-01-01T00:16:00Z", "2024-01-01T00:30:00Z"),
        ("0 3 * * *", "2024-01-01T03:00:00Z", "2024-01-02T03:00:00Z"),
        ("0 0 1 * *", "2024-01-15T00:00:00Z", "2024-02-01T00:00:00Z"),
        ("0 0 29 2 *", "2024-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 * * mon", "2024-01-01T00:00:00Z", "2024-01-08T00:00:00Z"),
        ("0 0 13 * 5", "2024-01-01T00:00:00Z", "2024-01-05T00:00:00Z"),
        ("0 0 */2 * 1", "2024-01-01T00:00:00Z", "2024-01-03T00:00:00Z"),
        ("0 0 */2 * 1", "2024-01-07T00:00:00Z", "2024-01-08T00:00:00Z"),
        ("0 0 1-31/1,* * 1", "2024-01-01T00:00:00Z", "2024-01-08T00:00:00Z"),
        ("@every 90m", "2024-01-01T00:00:00Z", "2024-01-01T01:30:00Z"),
        ("@every 10ms", "2024-01-01T00:00:00Z", "2024-01-01T00:00:01Z"),
        ("@hourly", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"),
        ("10-30/10 8,20 * jan,jul 7", "2024-01-01T00:00:00Z", "2024-01-07T08:10:00Z"),
    ],
)
def test_next(schedule: str, after: str, expected: str) -> None:
    assert Cron(schedule).next_after(at(after), UTC) == at(expected)


def test_time_zone() -> None:
    zone = ZoneInfo("UTC")
    assert Cron("30 6 * * *").next_after(at("2024-01-01T00:00:00Z"), zone) == at("2024-01-01T06:30:00Z")


@pytest.mark.parametrize("schedule", ["", "* * * *", "60 * * * *", "x * * * *", "*/0 * * * *", "5-1 * * * *"])
def test_bad_schedules(schedule: str) -> None:
    with pytest.raises(CronError):
        Cron(schedule)


def put(client: FakeClient, **spec: Any) -> None:
    client.put(
        CRONJOBS,
        {
            "metadata": {"name": "tick", "creationTimestamp": "2023-11-14T22:00:00Z"},
            "spec": {
                "schedule": "*/10 * * * *",
                "concurrencyPolicy": "Allow",
                "successfulJobsHistoryLimit": 1,
                "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": template({})}},
                **spec,
            },
        },
    )


async def test_last_missed_time_is_served_once(client: FakeClient) -> None:
    controller = CronJobController(make_context(client))
    put(client)
    await drain(controller)
    [job] = client.all(JOBS)
    when = at("2023-11-14T22:10:00Z")
    assert job["metadata"]["name"] == f"tick-{int(when) // 60}"
    assert job["metadata"]["labels"] == {"a": "b"}
    status = client.one(CRONJOBS, "tick", "default")["status"]
    assert status["lastScheduleTime"] == "2023-11-14T22:10:00Z"
    assert [one["name"] for one in status["active"]] == [job["metadata"]["name"]]
    controller.resync()
    await drain(controller)
    assert len(client.all(JOBS)) == 1


async def test_a_day_that_never_comes(client: FakeClient) -> None:
    context = make_context(client)
    put(client, schedule="0 0 31 2 *")
    await drain(CronJobController(context))
    assert client.all(JOBS) == []
    recorder = context.recorder("cronjob-controller")
    assert recorder.events == [  # type: ignore[attr-defined]
        (
            "Warning",
            "InvalidSchedule",
            "invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second",
        )
    ]


async def test_forbid_and_replace(client: FakeClient) -> None:
    controller = CronJobController(make_context(client))
    put(client, concurrencyPolicy="Forbid")
    await drain(controller)
    client.now += 600
    controller.resync()
    await drain(controller)
    assert len(client.all(JOBS)) == 1
    client.change(CRONJOBS, "tick", {"spec": {"concurrencyPolicy": "Replace"}})
    await drain(controller)
    [job] = client.all(JOBS)
    assert job["metadata"]["name"] == f"tick-{int(at('2023-11-14T22:20:00Z')) // 60}"


async def test_history(client: FakeClient) -> None:
    controller = CronJobController(make_context(client))
    put(client)
    for _ in range(3):
        await drain(controller)
        for job in client.all(JOBS):
            done = {
                "conditions": [{"type": "Complete", "status": "True"}],
                "completionTime": "2023-11-14T22:30:00Z",
            }
            client.change(
                JOBS, job["metadata"]["name"], {"status": {**done, "startTime": job["metadata"]["name"]}}
            )
        client.now += 600
        controller.resync()
    await drain(controller)
    ended = [job for job in client.all(JOBS) if "status" in job and job["status"].get("conditions")]
    assert len(ended) == 1
    status = client.one(CRONJOBS, "tick", "default")["status"]
    assert status["lastSuccessfulTime"] == "2023-11-14T22:30:00Z"


def events(controller: CronJobController) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = controller.context.recorder("cronjob-controller").events  # type: ignore[attr-defined]
    return found


async def test_every_keeps_its_phase_however_long_it_was_idle(client: FakeClient) -> None:
    controller = CronJobController(make_context(client))
    put(client, schedule="@every 7m")
    client.now = at("2023-11-24T22:00:05Z")
    await drain(controller)
    status = client.one(CRONJOBS, "tick", "default")["status"]
    assert status["lastScheduleTime"] == "2023-11-24T21:59:00Z"


async def test_jobs_that_somebody_else_made_are_not_active(client: FakeClient) -> None:
    controller = CronJobController(make_context(client))
    put(client, concurrencyPolicy="Replace")
    uid = client.one(CRONJOBS, "tick", "default")["metadata"]["uid"]
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": uid, "controller": True}
    client.put(JOBS, {"metadata": {"name": "by-hand", "ownerReferences": [owner]}})
    await drain(controller)
    [ours] = client.one(CRONJOBS, "tick", "default")["status"]["active"]
    assert ours["name"].startswith("tick-")
    assert {job["metadata"]["name"] for job in client.all(JOBS)} == {"by-hand", ours["name"]}
    message = "Saw a job that the controller did not create or forgot: by-hand"
    assert ("Warning", "UnexpectedJob", message) in events(controller)


async def test_a_job_that_went_missing_is_no_longer_active(client: FakeClient) -> None:
    controller = CronJobController(make_context(client))
    put(client)
    await drain(controller)
    [job] = client.all(JOBS)
    name = job["metadata"]["name"]
    client.remove(JOBS, name)
    await drain(controller)
    status = client.one(CRONJOBS, "tick", "default")["status"]
    assert not status.get("active")
    assert ("Normal", "MissingJob", f"Active job went missing: {name}") in events(controller)


async def test_a_job_whose_status_was_not_written_is_found_again(client: FakeClient) -> None:
    controller = CronJobController(make_context(client))
    put(client)
    await drain(controller)
    client.change(CRONJOBS, "tick", {"status": {"active": None, "lastScheduleTime": None}})
    await drain(controller)
    [job] = client.all(JOBS)
    status = client.one(CRONJOBS, "tick", "default")["status"]
    assert [one["uid"] for one in status["active"]] == [job["metadata"]["uid"]]
    assert status["lastScheduleTime"] == "2023-11-14T22:10:00Z"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"timeZone": "Mars/Base"}, "UnknownTimeZone"),
        ({"schedule": "nonsense"}, "UnparseableSchedule"),
    ],
)
async def test_what_cannot_be_understood_is_told(
    client: FakeClient, spec: dict[str, Any], expected: str
) -> None:
    controller = CronJobController(make_context(client))
    put(client, **spec)
    await drain(controller)
    [(kind, reason, message)] = events(controller)
    assert (kind, reason) == ("Warning", expected)
    assert message in (
        'invalid timeZone: "Mars/Base": unknown time zone Mars/Base',
        'unparseable schedule: "nonsense" : expected exactly 5 fields, found 1: [nonsense]',
    )
    assert client.all(JOBS) == []
