from __future__ import annotations

from tests.server.harness import PODS, Api, pod


async def test_logs() -> None:
    api = await Api.start()
    try:
        made = pod("p", nodeName="n1", containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "x"}])
        await api.post(PODS, made)
        path = f"{PODS}/p/log"
        which = await api.get(path)
        assert which.status == 400 and "choose one of: [a b]" in which.json["message"]
        assert (await api.get(f"{path}?container=c")).json["message"] == "container c is not valid for pod p"
        waiting = await api.get(f"{path}?container=a")
        assert waiting.json["message"] == 'container "a" in pod "p" is waiting to start: ContainerCreating'
        began = "2026-01-02T03:04:05Z"
        statuses = [{"name": "a", "state": {"running": {"startedAt": began}}}]
        await api.patch(f"{PODS}/p/status", {"status": {"containerStatuses": statuses}})
        log = await api.get(f"{path}?container=a")
        assert log.status == 200 and log.body.decode().startswith(f"{began} a: started on n1")
        assert (await api.get(f"{path}?container=a&tailLines=0")).body == b""
    finally:
        await api.stop()
