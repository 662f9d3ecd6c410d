from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lakh.server import fairness
from lakh.server.authn import User
from lakh.server.routing import resolve

from .harness import ADMIN, Api, FakeStream

NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))
ACCOUNT = User(
    "system:serviceaccount:team:robot",
    groups=("system:serviceaccounts", "system:serviceaccounts:team", "system:authenticated"),
)
SCHEDULER = User("system:kube-scheduler", groups=("system:authenticated",))
SOMEBODY = User("jane", groups=("system:authenticated",))


@pytest.fixture
async def api() -> Any:
    it = await Api.start()
    yield it
    await it.stop()


def as_user(api: Api, user: User) -> None:
    api.server.authenticator.authenticate = lambda request: user  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("user", "method", "path", "schema", "level"),
    [
        (ADMIN, "GET", "/api/v1/pods", "exempt", None),
        (NODE, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", "system-node-high", "node-high"),
        (NODE, "PATCH", "/api/v1/nodes/n1/status", "system-node-high", "node-high"),
        (NODE, "GET", "/api/v1/pods", "system-nodes", "system"),
        (ACCOUNT, "GET", "/api/v1/pods", "service-accounts", "workload-low"),
        (SCHEDULER, "GET", "/api/v1/pods", "kube-scheduler", "workload-high"),
        (SCHEDULER, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/s", "system-leader-election", "leader-election"),
        (SOMEBODY, "GET", "/api/v1/pods", "global-default", "global-default"),
    ],
)  # fmt: skip
async def test_classification(
    api: Api, user: User, method: str, path: str, schema: str, level: str | None
) -> None:
    info = resolve(api.server.cluster.registry, method, path, {})
    assert info is not None
    flow = api.server.fairness.classify(user, info)
    assert flow.schema == schema
    assert (flow.level.name if flow.level else None) == level


async def test_levels_share_the_seats(api: Api) -> None:
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    seats = {name: level.seats for name, level in api.server.fairness.levels.items()}
    assert seats["workload-low"] == 245 and seats["catch-all"] == 13
    assert 600 <= sum(seats.values()) <= 607


async def test_answers_tell_their_schema_and_level(api: Api) -> None:
    as_user(api, SOMEBODY)
    answer = await api.get("/api/v1/pods")
    as_user(api, ADMIN)
    found = (await api.get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/global-default")).json
    level = (
        await api.get("/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/global-default")
    ).json
    assert answer.headers[b"X-Kubernetes-PF-FlowSchema-UID"].decode() == found["metadata"]["uid"]
    assert answer.headers[b"X-Kubernetes-PF-PriorityLevel-UID"].decode() == level["metadata"]["uid"]


async def test_seats_come_back_on_the_next_turn(api: Api) -> None:
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    await asyncio.sleep(0)
    assert all(level.used == 0 for level in api.server.fairness.levels.values())


async def shrink(api: Api, length: int = 50) -> None:
    """One seat for everybody else, so that tests fill it."""
    path = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
    as_user(api, ADMIN)
    for name in list(api.server.fairness.levels) or ["global-default"]:
        body = {"spec": {"limited": {"lendablePercent": 0}}}
        await api.patch(f"{path}/{name}", body)
    queuing = {"queues": 2, "handSize": 1, "queueLengthLimit": length}
    body = {
        "spec": {
            "limited": {
                "nominalConcurrencyShares": 1,
                "lendablePercent": 0,
                "limitResponse": {"type": "Queue", "queuing": queuing},
            }
        }
    }
    assert (await api.patch(f"{path}/global-default", body)).status == 200


async def test_full_queues_answer_429_with_retry_after(api: Api) -> None:
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    await shrink(api, length=1)
    as_user(api, SOMEBODY)
    request = api.request("GET", "/api/v1/pods")
    answers = [asyncio.ensure_future(api.raw(request)) for _ in range(20)]
    done = await asyncio.gather(*answers)
    codes = [a.status for a in done]
    assert codes.count(200) >= 2 and codes.count(429) >= 10
    refused = next(a for a in done if a.status == 429)
    headers = dict(refused.headers)
    assert headers[b"Retry-After"] == b"1" and b"X-Kubernetes-PF-FlowSchema-UID" in headers
    await asyncio.sleep(0)
    level = api.server.fairness.levels["global-default"]
    assert level.used == 0 and level.waiting == 0
    assert (
        b'apiserver_flowcontrol_rejected_requests_total{priority_level="global-default"'
        in (await api.get("/metrics")).body
    )


async def test_waiting_too_long_is_429(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "WAIT_SECONDS", 0.01)
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    await shrink(api)
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    await asyncio.sleep(0)
    level = api.server.fairness.levels
    level["global-default"].used = level["global-default"].seats = 1
    api.server.fairness.seats = 0
    assert (await api.get("/api/v1/pods")).status == 429
    assert level["global-default"].waiting == 0


async def test_a_client_that_leaves_gives_its_place_back(api: Api) -> None:
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    await shrink(api)
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    await asyncio.sleep(0)
    level = api.server.fairness.levels["global-default"]
    level.used = level.seats = 1
    api.server.fairness.seats = 0
    task = asyncio.ensure_future(api.get("/api/v1/pods"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert level.waiting == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert level.waiting == 0


async def test_streams_give_their_seats_back_whatever_happens(api: Api) -> None:
    for i in range(200):
        await api.post(
            "/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{i}"}, "data": {"a": "b"}}
        )
    as_user(api, SOMEBODY)
    whole = await api.get("/api/v1/configmaps")
    level = api.server.fairness.levels
    assert len(whole.json["items"]) >= 200
    # A client that goes away before the first piece.
    response: Any = await api.raw(api.request("GET", "/api/v1/configmaps"))
    assert level["global-default"].used == 1
    stream = FakeStream()
    rest = response.start(stream)
    stream.abort()
    rest.close()
    assert level["global-default"].used == 0
    # A watch holds its seats for its initial list only.
    watching = await api.watch("/api/v1/configmaps?watch=true")
    await watching.until(200)
    for _ in range(5):
        await asyncio.sleep(0)
    assert level["global-default"].used == 0
    assert api.server.metrics.in_flight == [0, 0]


async def test_many_lists_hold_the_loop_no_longer_than_one(api: Api) -> None:
    """Between any two pieces of any lists, everybody else has a turn."""
    for i in range(300):
        await api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{i}"}})
    turn = api.server.watching.turn
    pieces_by_turn: list[int] = []
    made = 0

    async def count() -> None:
        nonlocal made
        while True:
            pieces_by_turn.append(made)
            made = 0
            await asyncio.sleep(0)

    acquire = turn.acquire

    async def counted() -> bool:
        nonlocal made
        result = await acquire()
        made += 1
        return result

    turn.acquire = counted  # type: ignore[method-assign]
    counter = asyncio.ensure_future(count())
    await asyncio.gather(*(api.get("/api/v1/configmaps") for _ in range(50)))
    counter.cancel()
    assert sum(pieces_by_turn) >= 100 and max(pieces_by_turn) <= 2


async def test_dumps(api: Api) -> None:
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    await shrink(api)
    as_user(api, SOMEBODY)
    await api.get("/api/v1/pods")
    await asyncio.sleep(0)
    level = api.server.fairness.levels["global-default"]
    level.used = level.seats = 1
    api.server.fairness.seats = 0
    waiting = asyncio.ensure_future(api.get("/api/v1/namespaces/default/pods"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    as_user(api, ADMIN)
    path = "/debug/api_priority_and_fairness/"

    async def rows(what: str) -> list[list[str]]:
        answer = await api.get(path + what)
        assert answer.status == 200 and answer.content_type.startswith("text/plain")
        return [[cell.strip() for cell in line.split(",")] for line in answer.body.decode().splitlines()]

    levels = {row[0]: row for row in await rows("dump_priority_levels")}
    assert levels["exempt"][1:] == ["<none>"] * 9
    assert levels["global-default"][1:6] == ["1", "false", "false", "1", "0"]
    (queue,) = [r for r in await rows("dump_queues") if r[0] == "global-default" and r[2] == "1"]
    assert queue[6] == queue[7] == "1" and queue[8].endswith("ss")
    heading, request = await rows("dump_requests?includeRequestDetails=1")
    found = dict(zip(heading, request, strict=True))
    assert found["FlowSchemaName"] == "global-default" and found["FlowDistingsher"] == "jane"
    assert found["APIPath"] == "/api/v1/namespaces/default/pods" and found["Verb"] == "list"
    assert found["ArriveTime"].endswith("Z") and found["InitialSeats"] == "1"
    assert len((await rows("dump_requests"))[0]) == 9
    assert (await api.get(path + "dump_nothing")).status == 404
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    levels = {row[0]: row for row in await rows("dump_priority_levels")}
    assert levels["global-default"][4] == "0" and levels["global-default"][9] == "1", "cancelled"


async def test_what_is_under_way_is_counted_by_schema(api: Api) -> None:
    for i in range(200):
        await api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{i}"}})
    as_user(api, SOMEBODY)
    response: Any = await api.raw(api.request("GET", "/api/v1/configmaps"))
    key = ("global-default", "global-default")
    traffic = api.server.fairness.traffic[key]
    assert traffic.executing == 1 and traffic.seats >= 1 and traffic.waiting == 0
    stream = FakeStream()
    await response.start(stream)
    assert traffic.executing == traffic.seats == 0
    text = (await api.get("/metrics")).body.decode()
    labels = 'priority_level="global-default",flow_schema="global-default"'
    assert f"apiserver_flowcontrol_current_executing_seats{{{labels}}} 0" in text
    assert f"apiserver_flowcontrol_dispatched_requests_total{{{labels}}} 1" in text
    assert f'apiserver_flowcontrol_request_execution_seconds_count{{{labels},type="regular"}} 1' in text


async def test_a_lists_width_is_its_size(api: Api) -> None:
    """A seat for each 100 KB that are in memory at once, ten at most; a limit counts."""
    fair = api.server.fairness
    info = resolve(api.server.cluster.registry, "GET", "/api/v1/pods", {})
    assert info is not None
    for query, objects, size, width in (
        ({}, 100, 1_000, 1),
        ({}, 100, 6_000, 6),
        ({}, 17_500, 6_000, 10),
        ({"limit": "50"}, 17_500, 6_000, 3),
        ({}, 0, 0, 1),
    ):
        grant = fair.enter(SOMEBODY, info, query, 0, objects, size)
        assert grant is not None and grant.ticket.width == width
        grant.leave()
