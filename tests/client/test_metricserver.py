from __future__ import annotations

import asyncio
import socket

import pytest

from lakh.client.metricserver import CHECKS, MetricsPortError, answer, serving_metrics
from lakh.client.workqueue import WorkQueue


async def fetch(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    found = await reader.read()
    writer.close()
    return found


async def test_a_component_serves_its_metrics() -> None:
    queue = WorkQueue("of-the-test")
    queue.add("a")
    async with serving_metrics(0) as port:
        found = await fetch(port, "/metrics")
        assert found.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'workqueue_adds_total{name="of-the-test"} 1' in found
        assert b'workqueue_depth{name="of-the-test"} 1' in found
        assert b"process_resident_memory_bytes" in found
        assert (await fetch(port, "/healthz")).endswith(b"\r\n\r\nok")


async def test_a_port_that_a_supervisor_holds() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        held = holder.getsockname()[1]
        for _ in range(2):
            async with serving_metrics(held, held=True) as port:
                assert port == held
                assert (await fetch(port, "/livez")).endswith(b"\r\n\r\nok")
            with pytest.raises(ConnectionRefusedError):
                await fetch(held, "/livez")
        with pytest.raises(MetricsPortError, match=f"cannot serve metrics on 127.0.0.1:{held}: "):
            async with serving_metrics(held):
                pass


async def test_not_asked_for() -> None:
    async with serving_metrics(None) as port:
        assert port == 0


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"GET /nothing HTTP/1.1", b"404"), (b"POST /metrics HTTP/1.1", b"405"), (b"", b"404")],
)
def test_what_it_does_not_have(line: bytes, status: bytes) -> None:
    assert answer(line).split()[1] == status


def test_ready_when_its_checks_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHECKS, "synced", lambda: False)
    assert answer(b"GET /readyz HTTP/1.1").startswith(b"HTTP/1.1 500 ")
    assert b"[-]synced failed" in answer(b"GET /readyz HTTP/1.1")
    assert answer(b"GET /livez HTTP/1.1").endswith(b"\r\n\r\nok")
    assert answer(b"GET /readyz/ping HTTP/1.1").endswith(b"\r\n\r\nok")
    assert answer(b"GET /readyz/nothing HTTP/1.1").startswith(b"HTTP/1.1 404 ")
    monkeypatch.setitem(CHECKS, "synced", lambda: True)
    assert b"[+]synced ok" in answer(b"GET /readyz?verbose HTTP/1.1")
    assert b'kubernetes_healthcheck{name="synced",type="readyz"} 1' in answer(b"GET /metrics/slis HTTP/1.1")
