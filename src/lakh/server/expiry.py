"""Events are kept for an hour (upstream's --event-ttl), then deleted by whoever writes their partition."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

import msgspec

from lakh.machinery import times
from lakh.server.cluster import Cluster
from lakh.store.errors import Conflict, StoreError

log = logging.getLogger(__name__)

EVENT_TTL_SECONDS = 3600.0
SWEEP_SECONDS = 60.0
# Events looked at in one go; about 2 ms.
PIECE = 1000


class _Times(msgspec.Struct, gc=False):
    class Metadata(msgspec.Struct, gc=False):
        """Of an event's metadata."""

        creationTimestamp: str = ""

    metadata: Metadata
    lastTimestamp: str | None = None


_decode = msgspec.json.Decoder(_Times).decode


async def expire_events(cluster: Cluster) -> None:
    """Runs until cancelled. An event's hour begins anew with each update, as it does with a lease in etcd.

    Of millions of events few are due: the revisions of the last hour's sweeps tell which were written since, and those are not looked into.
    """
    marks: deque[tuple[float, int]] = deque()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        partition = cluster.partitions["events"]
        now = time.time()
        marks.append((now, partition.revision))
        while marks[0][0] < now - EVENT_TTL_SECONDS:
            marks.popleft()
        if not partition.is_writer:
            continue
        try:
            await sweep(cluster, now - EVENT_TTL_SECONDS, marks[0][1])
        except StoreError as e:
            log.warning("events are not expired: %s", e)


async def sweep(cluster: Cluster, before: float, revision: int | None = None) -> int:
    """Deletes the events not touched since `before` (epoch seconds); returns how many.

    What was written after `revision`, if given, was touched since then.
    """
    partition = cluster.partitions["events"]
    limit = times.of_seconds(before)
    after, count = "", 0
    while True:
        page = partition.range("events", after=after, limit=PIECE)
        pending = []
        for item in page.items:
            if revision is not None and item.revision > revision:
                continue
            found = _decode(item.value)
            # RFC 3339 in UTC sorts as text.
            if max(found.metadata.creationTimestamp, found.lastTimestamp or "") < limit:
                try:
                    pending.append(partition.delete(item.key, expect=item.revision))
                except Conflict:
                    continue
        if pending:
            await asyncio.gather(*pending)
            count += len(pending)
        if not page.more:
            return count
        after = page.items[-1].key
        await asyncio.sleep(0)
