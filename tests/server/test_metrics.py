from __future__ import annotations

import re
from typing import Any

import pytest

from .harness import Api


@pytest.fixture
async def api() -> Any:
    it = await Api.start()
    yield it
    await it.stop()


async def scrape(api: Api) -> dict[str, float]:
    answer = await api.get("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for line in answer.body.decode().splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r'[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? [-+0-9.e]+', line), line
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


async def test_requests_are_counted_by_kind_and_code(api: Api) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    for _ in range(2):
        await api.post(path, {"metadata": {"name": "a"}})
    await api.get(f"{path}/a")
    await api.get(f"{path}/missing")
    await api.get(path)
    found = await scrape(api)
    of = 'group="",version="v1",resource="configmaps",subresource=""'
    total = "apiserver_request_total"
    assert found[f'{total}{{verb="POST",{of},scope="namespace",code="201"}}'] == 1
    assert found[f'{total}{{verb="POST",{of},scope="namespace",code="409"}}'] == 1
    assert found[f'{total}{{verb="GET",{of},scope="resource",code="200"}}'] == 1
    assert found[f'{total}{{verb="GET",{of},scope="resource",code="404"}}'] == 1
    assert found[f'{total}{{verb="LIST",{of},scope="namespace",code="200"}}'] == 1
    seconds = "apiserver_request_duration_seconds"
    assert found[f'{seconds}_count{{verb="POST",{of},scope="namespace"}}'] == 2
    assert found[f'{seconds}_bucket{{verb="POST",{of},scope="namespace",le="0.015"}}'] <= 2


async def test_state_is_read_when_asked(api: Api) -> None:
    await api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
    stream = await api.watch("/api/v1/configmaps?watch=true")
    await stream.until(1)
    found = await scrape(api)
    assert found['apiserver_storage_objects{resource="configmaps"}'] == 1
    assert found['lakh_store_revision{partition="default"}'] > 1
    assert found['lakh_store_appended_bytes_total{partition="default"}'] > 0
    assert (
        found[
            'apiserver_longrunning_requests{verb="WATCH",group="",version="v1",resource="configmaps",subresource="",'
            'scope="cluster",component="apiserver"}'
        ]
        == 1
    )
    assert found["process_resident_memory_bytes"] > 1e6
    await api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "b"}})
    await stream.until(2)
    found = await scrape(api)
    assert found['apiserver_watch_events_total{group="",version="v1",resource="configmaps"}'] == 1


async def test_what_clients_make_up_is_no_label(api: Api) -> None:
    await api.get("/api/v1/namespaces/default/pods/a/nonsense")
    assert not any("nonsense" in name for name in await scrape(api))
