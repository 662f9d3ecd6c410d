"""What a server keeps as it should be while it runs, if the default partition is written here.

The objects that it rests on itself are put back when somebody deletes them, and a flow schema's condition `Dangling` says whether there is the
priority level that it names, as upstream's priority and fairness does. A change of either wakes the keeper; all else it looks at every
`RECONCILE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from lakh.apis.definitions import schema
from lakh.machinery import errors
from lakh.server import ownendpoints
from lakh.server.authn import APISERVER
from lakh.server.bootstrap import repair
from lakh.server.cluster import Cluster
from lakh.server.context import Context
from lakh.server.following import Following
from lakh.server.storage import ResourceStore
from lakh.store.errors import StoreError
from lakh.store.state import Event, Item

log = logging.getLogger(__name__)

FLOW_CONTROL = "flowcontrol.apiserver.k8s.io"
FLOW_MANAGER = "api-priority-and-fairness-config-consumer-v1"
DANGLING = "Dangling"


class Keeper:
    """Of one server. `publishes`: the endpoints of the service `kubernetes` are this server's alone. Nothing is done before `is_ready`."""

    def __init__(self, cluster: Cluster, port: int, is_ready: Callable[[], bool], *, publishes: bool) -> None:
        self._cluster = cluster
        self._is_ready = is_ready
        self._port = port
        self._publishes = publishes
        self._news = asyncio.Event()
        flow = "io.k8s.api.flowcontrol.v1.FlowSchema"
        self._status_type = schema().struct(flow + "Status")
        self._condition_type = schema().struct(flow + "Condition")
        self._follows = [
            Following(store.partition, store.table, self._on_change, self._news.set)
            for store in (self._store("flowschemas"), self._store("prioritylevelconfigurations"))
        ]

    def _store(self, plural: str) -> ResourceStore:
        return self._cluster.named(FLOW_CONTROL, "v1", plural)

    def _on_change(self, events: list[Event]) -> None:
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._news.clear()
                if self._is_ready() and self._cluster.partitions["default"].is_writer:
                    try:
                        await self.keep()
                    except (StoreError, errors.StatusError) as e:
                        log.warning("what the cluster rests on is not looked after: %s", e)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ownendpoints.RECONCILE_SECONDS):
                        await self._news.wait()
        finally:
            for follow in self._follows:
                follow.stop()

    async def keep(self) -> None:
        """Looks at everything once; raises StatusError, StoreError."""
        await repair(self._cluster, self._port)
        await self.judge_schemas()
        if self._publishes:
            own = ownendpoints.own(self._port)
            await ownendpoints.publish(self._cluster, () if own is None else (own,), APISERVER)

    async def judge_schemas(self) -> None:
        """Makes the conditions of flow schemas say which of them lead nowhere."""
        levels = self._store("prioritylevelconfigurations")
        schemas = self._store("flowschemas")
        context = Context(APISERVER, manager=FLOW_MANAGER)
        for item in schemas.partition.range(schemas.table).items:
            found = schemas.decode(item)
            level = found.spec.priorityLevelConfiguration.name or ""
            dangles = levels.partition.get(levels.key("", level)) is None
            if _dangling(found) != ("True" if dangles else "False"):
                await self._judge(context, found.metadata.name, level, dangles)

    async def _judge(self, context: Context, name: str, level: str, dangles: bool) -> None:
        schemas = self._store("flowschemas")
        what = "but there is no such object" if dangles else "and it exists"
        condition = self._condition_type(
            type=DANGLING,
            status="True" if dangles else "False",
            lastTransitionTime=context.now,
            reason="NotFound" if dangles else "Found",
            message=f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" {what}',
        )

        def judged(item: Item, old: Any) -> Any:
            new = schemas.decode(item)
            others = (new.status and new.status.conditions) or ()
            new.status = self._status_type(conditions=[*(c for c in others if c.type != DANGLING), condition])
            return new

        await schemas.update(context, "", name, judged, subresource="status")


def _dangling(found: Any) -> str:
    conditions = (found.status and found.status.conditions) or ()
    return next((c.status or "" for c in conditions if c.type == DANGLING), "")
