from __future__ import annotations

import time

from lakh.server.expiry import sweep
from tests.server.harness import Api

EVENTS = "/api/v1/namespaces/default/events"


async def test_old_events_are_deleted() -> None:
    api = await Api.start()
    try:
        for number in range(3):
            event = {"metadata": {"name": f"e{number}"}, "involvedObject": {"namespace": "default"}}
            assert (await api.post(EVENTS, event)).status == 201
        events = api.server.cluster.partitions["events"]
        assert await sweep(api.server.cluster, time.time() - 60) == 0
        assert await sweep(api.server.cluster, time.time() + 60, events.revision - 1) == 2, (
            "the last is young"
        )
        assert await sweep(api.server.cluster, time.time() + 60, events.revision) == 1
        assert (await api.get(EVENTS)).json["items"] == []
    finally:
        await api.stop()
