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
