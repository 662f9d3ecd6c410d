"""Events are kept for an hour (upstream's --event-ttl), then deleted by whoever writes their partition."""

from __future__ import annotations

import asyncio
import logging
import time

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
    """Runs until cancelled. An event's hour begins anew with each update, as it does with a lease in etcd."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        if not cluster.partitions["events"].is_writer:
            continue
        try:
            await sweep(cluster, time.time() - EVENT_TTL_SECONDS)
        except StoreError as e:
            log.warning("events are not expired: %s", e)


async def sweep(cluster: Cluster, before: float) -> int:
    """Deletes the events not touched since `before` (epoch seconds); returns how many."""
    partition = cluster.partitions["events"]
    limit = times.of_seconds(before)
    after, count = "", 0
    while True:
        page = partition.range("events", after=after, limit=PIECE)
        pending = []
        for item in page.items:
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
