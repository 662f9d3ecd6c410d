"""What clients send and is refused or not stored leaves nothing behind, however long its names are."""

from __future__ import annotations

import gc
import tracemalloc

from tests.server.harness import PODS, Api, pod

SIZE_BYTES = 300_000


async def test_long_names_do_not_stay_in_memory() -> None:
    api = await Api.start()
    await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})

    async def send(number: int) -> None:
        long = f"{number}" + "n" * SIZE_BYTES
        owner = {"apiVersion": "v1", "kind": "X", "name": long, "uid": "u"}
        for metadata, status in (
            ({"labels": {long: "v"}}, 422),
            ({"annotations": {long: "v"}}, 422),
            ({"finalizers": [long]}, 422),
            ({"ownerReferences": [owner]}, 201),
        ):
            body = pod("p")
            body["metadata"] |= metadata
            assert (await api.post(f"{PODS}?dryRun=All", body)).status == status
        image = pod("p", containers=[{"name": "c", "image": long}])
        assert (await api.post(f"{PODS}?dryRun=All", image)).status == 201

    await send(0)
    tracemalloc.start()
    for number in range(1, 9):
        await send(number)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await api.stop()
    assert kept < 8 * SIZE_BYTES
