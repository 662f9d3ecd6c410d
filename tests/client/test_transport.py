from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest
import uvloop

from lakh.client import errors, restmetrics
from lakh.client import request as request_module
from lakh.client import transport as transport_module
from lakh.client.client import Client
from lakh.client.kubeconfig import Config
from lakh.client.resources import NODES
from lakh.client.transport import DEFAULT_TIMEOUT_SECONDS
from lakh.machinery.metrics import Family

from ..certificates import self_signed


async def test_connections_are_reused_and_bounded(api):
    api.put("nodes", "n")
    async with api.client(max_connections=3) as client:
        await asyncio.gather(*(client.get(NODES, "n") for _ in range(50)))
        assert api.connections == 3
        assert len(api.requests) == 50
        await client.get(NODES, "n")
        assert api.connections == 3


async def test_requests_are_counted_by_outcome(api, monkeypatch):
    # Those of the process may already count another test's server on this port.
    for name in ("_REQUESTS", "_SECONDS"):
        family = getattr(restmetrics, name)
        monkeypatch.setattr(restmetrics, name, Family(family.name, family.text, family.labels, family._make))
    api.put("nodes", "n")
    async with api.client() as client:
        for name in ("n", "n", "missing"):
            with contextlib.suppress(errors.ApiError):
                await client.get(NODES, name)
        host = client.config.server.partition("://")[2]
    counted = restmetrics._REQUESTS.series
    assert counted["200", "GET", host].value == 2
    assert counted["404", "GET", host].value == 1
    assert sum(restmetrics._SECONDS.series["GET", host].counts) == 3
    async with api.client() as client:
        await api.stop()
        with pytest.raises(errors.ClientError):
            await client.get(NODES, "n")
    assert counted[restmetrics.ERROR, "GET", host].value == 1


async def test_waiting_requests_are_served_in_order(api):
    for number in range(20):
        api.put("nodes", f"n{number:02}")
    async with api.client(max_connections=1) as client:
        await asyncio.gather(*(client.get(NODES, f"n{number:02}") for number in range(20)))
    assert [request.path[-3:] for request in api.requests] == [f"n{number:02}" for number in range(20)]


async def test_a_get_is_retried_once_on_a_reused_connection(api):
    api.put("nodes", "n")
    async with api.client(max_connections=1) as client:
        await client.get(NODES, "n")
        api.faults.append(api.DROP)
        await client.get(NODES, "n")
        assert len(api.requests) == 3
        api.faults += [api.DROP, api.DROP]
        with pytest.raises(errors.ConnectionLost):
            await client.get(NODES, "n")


async def test_a_write_is_never_sent_twice(api):
    api.put("nodes", "n")
    async with api.client(max_connections=1) as client:
        await client.get(NODES, "n")
        api.faults.append(api.DROP)
        with pytest.raises(errors.ConnectionLost):
            await client.create(NODES, {"metadata": {"name": "m"}})
        assert len(api.requests) == 2
        await client.get(NODES, "n")


async def test_an_answer_that_breaks_off_is_lost(api):
    api.put("nodes", "n")
    async with api.client() as client:
        await client.get(NODES, "n")
        api.faults.append(api.CUT)
        with pytest.raises(errors.ConnectionLost):
            await client.get(NODES, "n")
        await client.get(NODES, "n")


async def test_connection_close_and_bodies_without_length(api):
    api.put("nodes", "n")
    async with api.client(max_connections=1) as client:
        api.faults += [api.CLOSE, api.EOF]
        assert (await client.get(NODES, "n"))["metadata"]["name"] == "n"
        assert (await client.get(NODES, "n"))["metadata"]["name"] == "n"
        assert (await client.get(NODES, "n"))["metadata"]["name"] == "n"
        assert api.connections == 3


async def test_idle_connections_closed_by_the_server_do_not_fail_writes(api):
    api.put("nodes", "n")
    async with api.client() as client:
        await client.get(NODES, "n")
        api.break_connections()
        await api.until(lambda: not api.open)
        transport = client._transport
        while transport.exchanges:
            await asyncio.sleep(0)
        assert not transport._idle
        await client.create(NODES, {"metadata": {"name": "m"}})


async def test_timeout(api, monkeypatch):
    monkeypatch.setattr(transport_module, "SWEEP_SECONDS", 0.01)
    api.put("nodes", "n")
    async with api.client(max_connections=1) as client:
        await client.get(NODES, "n")
        api.faults += [api.HANG]
        first = asyncio.ensure_future(client.get(NODES, "n"))
        await asyncio.sleep(0)
        client.timeout_seconds = 0.05
        with pytest.raises(errors.ConnectionLost):
            await client.get(NODES, "n")  # waits for the only connection
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        client.timeout_seconds = DEFAULT_TIMEOUT_SECONDS
        await client.get(NODES, "n")
        api.faults += [api.HANG]
        client.timeout_seconds = 0.05
        with pytest.raises(errors.RequestTimeout):
            await client.get(NODES, "n")
        client.timeout_seconds = DEFAULT_TIMEOUT_SECONDS
        await client.get(NODES, "n")


async def test_cancelled_requests_give_their_place_back(api):
    api.put("nodes", "n")
    async with api.client(max_connections=1) as client:
        api.faults += [api.HANG]
        first = asyncio.ensure_future(client.get(NODES, "n"))
        await api.until(lambda: api.requests)
        waiting = [asyncio.ensure_future(client.get(NODES, "n")) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        first.cancel()
        results = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [
            True,
            True,
            False,
            False,
        ]
        assert client._transport._slots_used == 1
    assert client._transport._slots_used == 0


async def test_cancel_at_every_moment_leaks_no_slot(api):
    api.put("nodes", "n")
    async with api.client(max_connections=2) as client:
        for turns in range(12):
            requests = [asyncio.ensure_future(client.get(NODES, "n")) for _ in range(6)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for request in requests[::2]:
                request.cancel()
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert all(isinstance(result, dict) for result in results[1::2])
        assert client._transport._slots_used <= 2
        assert len(client._transport._idle) == client._transport._slots_used
        await asyncio.gather(*(client.get(NODES, "n") for _ in range(6)))


async def test_connect_is_retried_until_the_server_is_there(api, fake_api, monkeypatch):
    await api.stop()
    server = fake_api()
    server.put("nodes", "n")
    monkeypatch.setattr(transport_module, "CONNECT_BACKOFF_SECONDS", 0.001)
    async with api.client() as client:
        with pytest.raises(errors.ConnectFailed, match="cannot connect"):
            await client.get(NODES, "n")
        assert client._transport._slots_used == 0
        await server.start(api.port)
        await client.create(NODES, {"metadata": {"name": "m"}})
    await server.stop()


async def test_raw(api):
    api.put("nodes", "n")
    async with api.client() as client:
        response = await client.raw("GET", "/api/v1/nodes/none", headers={"Accept": "x/y"})
        assert response.status == 404
        assert api.requests[-1].headers["accept"] == "x/y"
        assert (await client.raw("HEAD", "/api/v1/nodes/n")).body == b""
        assert response.header("Content-Length") == str(len(response.body))
        with pytest.raises(ValueError, match="line break"):
            await client.raw("GET", "/", headers={"X": "a\r\nb: c"})
        assert (await client.raw("GET", "/api/v1/nodes/n")).status == 200


async def test_garbage_is_a_bad_response():
    async def garbage(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-hello\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Client(Config(f"http://127.0.0.1:{port}"), user_agent="t") as client:
        with pytest.raises(errors.BadResponse):
            await client.get(NODES, "n")
    server.close()
    await server.wait_closed()


async def test_token_file_is_read_again(api, tmp_path, monkeypatch):
    api.put("nodes", "n")
    file = tmp_path / "token"
    file.write_text("one\n")
    async with Client(Config(api.url, token_file=file), user_agent="t") as client:
        await client.get(NODES, "n")
        file.write_text("two\n")
        await client.get(NODES, "n")
        monkeypatch.setattr(request_module, "TOKEN_FILE_SECONDS", 0.0)
        await client.get(NODES, "n")
    assert [r.headers["authorization"] for r in api.requests] == ["Bearer one", "Bearer one", "Bearer two"]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_tls_with_client_certificate(run, fake_api, tmp_path):
    pem, key = self_signed()
    (tmp_path / "both.pem").write_bytes(pem + key)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(tmp_path / "both.pem")
    server_context.load_verify_locations(cadata=pem.decode())
    server_context.verify_mode = ssl.CERT_REQUIRED

    async def scenario() -> None:
        api = fake_api()
        await api.start(ssl=server_context)
        api.put("nodes", "n")
        config = Config(api.url, ca_pem=pem, client_certificate_pem=pem, client_key_pem=key)
        async with Client(config, user_agent="t", max_connections=2) as client:
            await asyncio.gather(*(client.get(NODES, "n") for _ in range(10)))
            assert api.connections == 2
        other, _ = self_signed()
        async with Client(Config(api.url, ca_pem=other), user_agent="t") as client:
            with pytest.raises(errors.ConnectFailed, match="TLS handshake"):
                await client.get(NODES, "n")
        await api.stop()

    run(scenario())
