from __future__ import annotations

import re
import time
from typing import Any

import pytest

from .harness import Api


@pytest.fixture
async def api() -> Any:
    it = await Api.start()
    yield it
    await it.stop()


async def scrape(api: Api, path: str = "/metrics") -> dict[str, float]:
    answer = await api.get(path)
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
    end = 'component="apiserver",dry_run=""'
    total = "apiserver_request_total"
    assert found[f'{total}{{verb="POST",{of},scope="resource",{end},code="201"}}'] == 1
    assert found[f'{total}{{verb="POST",{of},scope="resource",{end},code="409"}}'] == 1
    assert found[f'{total}{{verb="GET",{of},scope="resource",{end},code="200"}}'] == 1
    assert found[f'{total}{{verb="GET",{of},scope="resource",{end},code="404"}}'] == 1
    assert found[f'{total}{{verb="LIST",{of},scope="namespace",{end},code="200"}}'] == 1
    seconds = "apiserver_request_duration_seconds"
    assert found[f'{seconds}_count{{verb="POST",{of},scope="resource",{end}}}'] == 2
    assert found[f'{seconds}_bucket{{verb="POST",{of},scope="resource",{end},le="0.015"}}'] <= 2


async def test_state_is_read_when_asked(api: Api) -> None:
    await api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
    stream = await api.watch("/api/v1/configmaps?watch=true")
    await stream.until(1)
    found = await scrape(api)
    # With the server's own.
    assert found['apiserver_storage_objects{resource="configmaps"}'] == 2
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


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
OF = 'group="",version="v1",resource="configmaps",subresource=""'


async def test_dry_runs_and_applies_are_told_apart(api: Api) -> None:
    await api.post(f"{CONFIGMAPS}?dryRun=All", {"metadata": {"name": "a"}})
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    await api.patch(f"{CONFIGMAPS}/a?fieldManager=m&force=true", body, "apply-patch+yaml")
    found = await scrape(api)
    end = 'scope="resource",component="apiserver"'
    assert found[f'apiserver_request_total{{verb="POST",{OF},{end},dry_run="All",code="201"}}'] == 1
    assert found[f'apiserver_request_total{{verb="APPLY",{OF},{end},dry_run="",code="201"}}'] == 1


async def test_sizes_of_answers_to_reads(api: Api) -> None:
    for i in range(300):
        await api.post(CONFIGMAPS, {"metadata": {"name": f"c{i}"}, "data": {"k": "x" * 100}})
    whole = await api.get(CONFIGMAPS)
    one = await api.get(f"{CONFIGMAPS}/c1")
    found = await scrape(api)
    sizes = "apiserver_response_sizes"
    of_list = f'verb="LIST",{OF},scope="namespace",component="apiserver"'
    of_get = f'verb="GET",{OF},scope="resource",component="apiserver"'
    assert found[f"{sizes}_sum{{{of_list}}}"] == len(whole.body) > 30_000
    assert found[f"{sizes}_sum{{{of_get}}}"] == len(one.body)
    assert found[f'{sizes}_bucket{{{of_list},le="1e+06"}}'] == 1
    assert not any(name.startswith(sizes) and 'verb="POST"' in name for name in found)


async def test_the_time_in_queues_is_not_the_servers_own(api: Api) -> None:
    record = api.server.metrics.other
    with pytest.MonkeyPatch.context() as stopped:
        stopped.setattr(time, "perf_counter", lambda: 103.5)
        record.done(100.0, 200, waited=3.0)
    found = await scrape(api)
    of = 'verb="GET",group="",version="",resource="",subresource="",scope="",component="apiserver",dry_run=""'
    for name, bound, expected in (
        ("apiserver_request_duration_seconds", "3", 0),
        ("apiserver_request_duration_seconds", "4", 1),
        ("apiserver_request_sli_duration_seconds", "0.4", 0),
        ("apiserver_request_sli_duration_seconds", "0.6", 1),
    ):
        assert found[f'{name}_bucket{{{of},le="{bound}"}}'] == expected, (name, bound)
    whole, own = (found[f"apiserver_request{name}_duration_seconds_sum{{{of}}}"] for name in ("", "_sli"))
    assert whole - own == pytest.approx(3.0)


async def test_deprecated_apis_that_were_asked_for(api: Api) -> None:
    name = 'apiserver_requested_deprecated_apis{group="",version="v1",resource="endpoints",subresource="",removed_release=""}'
    assert name not in await scrape(api)
    await api.get("/api/v1/endpoints")
    assert (await scrape(api))[name] == 1


async def test_health_checks_are_counted(api: Api) -> None:
    api.server.ready = False
    assert (await api.get("/readyz")).status == 500
    api.server.ready = True
    assert (await api.get("/readyz")).status == 200
    assert (await api.get("/readyz/poststarthook/bootstrap")).status == 200
    assert (await api.get("/readyz/nothing")).status == 404
    assert (await api.get("/livez?verbose")).body.endswith(b"livez check passed\n")
    found = await scrape(api, "/metrics/slis")
    check = 'name="poststarthook/bootstrap",type="readyz"'
    assert found[f"kubernetes_healthcheck{{{check}}}"] == 1
    for status in ("error", "success"):
        assert found[f'kubernetes_healthchecks_total{{{check},status="{status}"}}'] == 1
    assert not any(name.startswith("kubernetes_healthcheck") for name in await scrape(api))


async def test_the_index_lists_what_answers(api: Api) -> None:
    paths = (await api.get("/")).json["paths"]
    assert {"/metrics/slis", "/readyz/poststarthook/bootstrap", "/livez/ping", "/version"} <= set(paths)
    for path in paths:
        if path != "/openapi/v3/":  # what is below it: upstream lists it, too
            assert (await api.get(path)).status == 200, path


async def test_admission_of_new_objects_is_timed(api: Api) -> None:
    await api.post(CONFIGMAPS, {"metadata": {"name": "a"}})
    await api.post("/api/v1/namespaces/missing/configmaps", {"metadata": {"name": "a"}})
    found = await scrape(api)
    for rejected, count in (("false", 1), ("true", 1)):
        name = "apiserver_admission_step_admission_duration_seconds_count"
        assert found[f'{name}{{type="admit",operation="CREATE",rejected="{rejected}"}}'] == count
