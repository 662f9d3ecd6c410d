"""An API server of pods and nodes in memory, whose answers and watch events come when the test says so."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import Any

import msgspec

from lakh.client.errors import ApiError, ClientError, ConnectionLost
from lakh.scheduler.shell import Scheduler
from lakh.scheduler.views import Pod

from .clusters import as_node, as_pod

Json = dict[str, Any]


def not_found(name: str) -> ApiError:
    return ApiError(404, "NotFound", f'pods "{name}" not found')


class Bind:
    """A bind request on its way."""

    def __init__(self, body: Json, namespace: str, name: str) -> None:
        self.body, self.namespace, self.name = body, namespace, name
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class FakeApi:
    """The client (`create`, `get`, `patch`), the recorder (`event`) and the truth (`pods`, `nodes`)."""

    def __init__(self) -> None:
        self.pods: dict[str, Json] = {}
        self.nodes: dict[str, Json] = {}
        self.binds: list[Bind] = []
        self.patches: list[tuple[str, Json]] = []
        self.events: list[tuple[str, str, str]] = []
        self.pod_stream: deque[tuple[str, Json]] = deque()
        self.node_stream: deque[tuple[str, Json]] = deque()
        self.lost_gets = 0
        self.evicted: list[str] = []
        self.graceful = False
        self.auto = True
        self.patience = 100
        """So many steps until nothing moves."""
        self.now = 0.0
        self.scheduler = Scheduler(self, self, clock=self.clock, sleep=self.sleep)  # type: ignore[arg-type]

    def clock(self) -> float:
        """The time. It goes on a little with each look, so that a step that would spin for ever ends."""
        self.now += 1e-6
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    # The client

    async def create(self, resource: Any, obj: Json, namespace: str, **how: Any) -> bytes:
        assert how["subresource"] == "binding"
        assert obj["metadata"]["namespace"] == namespace
        bind = Bind(obj, namespace, how["name"])
        if self.auto:
            self.carry_out(bind)
        else:
            self.binds.append(bind)
        return await bind.answer

    def writer(self) -> FakeApi:
        return self

    def write(self, method: str, target: str, body: bytes, content_type: str, done: Any) -> None:
        """As `client.writer` does."""

        async def finish() -> None:
            try:
                done(
                    await self.create(None, msgspec.json.decode(body), namespace, name=name, subresource=sub)
                )
            except ClientError as error:
                done(error)

        *_, namespace, _, name, sub = target.split("/")
        self.scheduler._guard.spawn(finish(), name="bind")

    async def get(self, resource: Any, name: str, namespace: str, **how: Any) -> Pod:
        await asyncio.sleep(0)
        if self.lost_gets:
            self.lost_gets -= 1
            raise ConnectionLost("lost")
        if name not in self.pods:
            raise not_found(name)
        return as_pod(self.pods[name])

    async def patch(self, resource: Any, name: str, patch: Json, namespace: str, **how: Any) -> bytes:
        await asyncio.sleep(0)
        if name not in self.pods:
            raise not_found(name)
        self.patches.append((name, patch))
        return b""

    async def delete(self, resource: Any, name: str, namespace: str, *, uid: str) -> None:
        await asyncio.sleep(0)
        if name not in self.pods:
            raise not_found(name)
        assert self.pods[name]["metadata"]["uid"] == uid
        self.evicted.append(name)
        if self.graceful:
            self.pods[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self.changed(name)
        else:
            self.delete_pod(name)

    def event(self, ref: Any, kind: str, reason: str, message: str) -> None:
        self.events.append((ref.name, reason, message))

    # What happens at the server

    def carry_out(self, bind: Bind, *, lose: bool = False) -> None:
        """Bind as the API server does, and answer, or lose the answer."""
        pod = self.pods.get(bind.name)
        error: Exception | None = None
        if pod is None:
            error = not_found(bind.name)
        elif pod["metadata"]["uid"] != bind.body["metadata"]["uid"]:
            error = ApiError(409, "Conflict", "Precondition failed: UID in precondition")
        elif pod["spec"].get("nodeName"):
            error = ApiError(409, "Conflict", f"pod {bind.name} is already assigned to node")
        else:
            self.assign(bind.name, bind.body["target"]["name"])
        self.answer(bind, ConnectionLost("lost") if lose else error)

    def answer(self, bind: Bind, error: Exception | None) -> None:
        if error is None:
            bind.answer.set_result(b"")
        else:
            bind.answer.set_exception(error)

    def assign(self, name: str, node: str) -> None:
        self.pods[name]["spec"]["nodeName"] = node
        self.changed(name)

    def changed(self, name: str) -> None:
        self.pod_stream.append(("set", copy.deepcopy(self.pods[name])))

    def add_pod(self, pod: Json) -> None:
        self.pods[pod["metadata"]["name"]] = copy.deepcopy(pod)
        self.changed(pod["metadata"]["name"])

    def delete_pod(self, name: str) -> None:
        self.pod_stream.append(("delete", self.pods.pop(name)))

    def set_node(self, node: Json) -> None:
        self.nodes[node["metadata"]["name"]] = node
        self.node_stream.append(("set", node))

    def delete_node(self, name: str) -> None:
        self.node_stream.append(("delete", self.nodes.pop(name)))

    # What the scheduler sees

    def deliver_pod(self) -> None:
        verb, pod = self.pod_stream.popleft()
        scheduler = self.scheduler
        (scheduler.on_pod if verb == "set" else scheduler.on_pod_deleted)(as_pod(pod))

    def deliver_node(self) -> None:
        verb, node = self.node_stream.popleft()
        scheduler = self.scheduler
        (scheduler.on_node if verb == "set" else scheduler.on_node_deleted)(as_node(node))

    def deliver(self) -> None:
        while self.node_stream:
            self.deliver_node()
        while self.pod_stream:
            self.deliver_pod()

    async def settle(self) -> None:
        """Deliver, decide and answer until nothing moves."""
        for _ in range(self.patience):
            self.deliver()
            more = self.scheduler.step()
            for _ in range(4):
                await asyncio.sleep(0)
            if not (more or self.pod_stream or self.node_stream):
                return
        raise AssertionError("the scheduler does not settle")

    def node_of(self, name: str) -> str | None:
        found: str | None = self.pods[name]["spec"].get("nodeName")
        return found

    async def close(self) -> None:
        await self.scheduler._guard.close()
