"""Compressed answers: when, and that they say the same."""

from __future__ import annotations

import gzip
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from lakh.server import compression

from .harness import CONFIGMAPS, Api, configmap


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    server = await Api.start()
    for n in range(3):
        assert (await server.post(CONFIGMAPS, configmap(f"c{n}", k="v" * 60_000))).status == 201
    yield server
    await server.stop()


@pytest.mark.parametrize("encoding", ["gzip", "deflate, gzip", "gzip, br"])
async def test_large_answers(api: Api, encoding: str) -> None:
    plain = await api.get(CONFIGMAPS)
    packed = await api.get(CONFIGMAPS, accept_encoding=encoding)
    assert packed.headers[b"Content-Encoding"] == b"gzip" and packed.headers[b"Vary"] == b"Accept-Encoding"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 20


async def test_lists_in_pieces(api: Api) -> None:
    for n in range(600):
        await api.post(CONFIGMAPS, configmap(f"d{n}", k="v"))
    plain = await api.get(CONFIGMAPS)
    response = await api.raw(api.request("GET", CONFIGMAPS, accept_encoding="gzip"))
    assert (b"Content-Encoding", b"gzip") in response.headers
    packed = await api.get(CONFIGMAPS, accept_encoding="gzip")
    assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize("encoding", ["", "identity", "gzip;q=0", "br"])
async def test_clients_that_do_not_take_it(api: Api, encoding: str) -> None:
    assert b"Content-Encoding" not in (await api.get(CONFIGMAPS, accept_encoding=encoding)).headers


async def test_small_answers_watches_and_writes_are_left_alone(api: Api) -> None:
    assert b"Content-Encoding" not in (await api.get(f"{CONFIGMAPS}/c1", accept_encoding="gzip")).headers
    watch = await api.raw(api.request("GET", f"{CONFIGMAPS}?watch=1", accept_encoding="gzip"))
    assert not watch.headers
    big = await api.post(CONFIGMAPS, configmap("big", k="v" * 200_000), accept_encoding="gzip")
    assert big.status == 201 and b"Content-Encoding" not in big.headers
    assert b"Content-Encoding" in (await api.get(f"{CONFIGMAPS}/big", accept_encoding="gzip")).headers


async def test_protobuf_too(api: Api) -> None:
    accept = "application/vnd.kubernetes.protobuf"
    plain = await api.get(CONFIGMAPS, accept=accept)
    packed = await api.get(CONFIGMAPS, accept=accept, accept_encoding="gzip")
    assert gzip.decompress(packed.body) == plain.body


async def test_long_answers_leave_the_loop_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    squeeze = compression._squeeze
    in_loop: list[int] = []
    apart: list[int] = []

    def noted(gzip: Any, pieces: Sequence[bytes], last: bool) -> list[bytes]:
        here = threading.current_thread() is threading.main_thread()
        (in_loop if here else apart).append(sum(map(len, pieces)))
        return squeeze(gzip, pieces, last)

    monkeypatch.setattr(compression, "_squeeze", noted)
    for n in range(300):
        await api.post(CONFIGMAPS, configmap(f"e{n}", k="v" * 5_000))
    for accept in ("application/json", "application/vnd.kubernetes.protobuf"):
        plain = await api.get(CONFIGMAPS, accept=accept)
        packed = await api.get(CONFIGMAPS, accept=accept, accept_encoding="gzip")
        assert gzip.decompress(packed.body) == plain.body
    assert sum(apart) > 3_000_000
    assert max(in_loop, default=0) <= compression.INLINE_BYTES
