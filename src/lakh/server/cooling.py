"""Packs what is cold in memory and was not packed in time: what was loaded at the start, and what was written while there was little."""

from __future__ import annotations

import asyncio

from lakh.server.cluster import Cluster

PASS_SECONDS = 60.0
"""Between two passes over everything."""
PAUSE_SECONDS = 0.03
"""Between two pieces of a pass: it takes a twentieth of the core, and a million pods half an hour."""


async def pack_cold(cluster: Cluster, pass_seconds: float = PASS_SECONDS) -> None:
    """Runs until cancelled."""
    while True:
        await asyncio.sleep(pass_seconds)
        for partition in cluster.partitions.values():
            await partition.pack_cold(PAUSE_SECONDS)
