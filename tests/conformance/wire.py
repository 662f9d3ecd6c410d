"""Requests in the wire forms of client-go's clients, and answers taken apart: what Kubernetes' own components send and read.

Four clients, as client-go has them: *typed* (protobuf both ways), *metadata* (`PartialObjectMetadata`, protobuf first), *dynamic* (JSON) and
*discovery*. Watches are read frame by frame.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from lakh.machinery import protobuf

from .rest import WATCH_SECONDS, Rest

PROTOBUF = protobuf.MEDIA_TYPE
JSON = "application/json"
STREAM = f"{PROTOBUF};stream=watch"
# rest.Config with ContentType protobuf and no AcceptContentTypes: kube-controller-manager, kube-scheduler, kubelet.
TYPED = f"{PROTOBUF}, */*"
# What generated clients ask for by themselves since v1.33.
PREFERRED = f"{PROTOBUF},{JSON}"
_PARTIAL = "as={};g=meta.k8s.io;v=v1"


def partial(kind: str) -> str:
    """The metadata client's Accept header for `PartialObjectMetadata` or its list."""
    form = _PARTIAL.format(kind)
    return f"{PROTOBUF};{form},{JSON};{form},{JSON}"


AGGREGATED = ",".join(
    [f"{JSON};g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList" for v in ("v2", "v2beta1")] + [JSON]
)
OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
# A reflector's first request (WatchListClient), and its list where a server has no such watches.
WATCH_LIST = (
    f"allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true"
    f"&timeoutSeconds={WATCH_SECONDS}&watch=true"
)
LIST = "limit=500&resourceVersion=0"
ZERO_TIME = "0001-01-01T00:00:00Z"
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


def with_query(path: str, query: str) -> str:
    """A path with one more piece of query."""
    return f"{path}{'&' if '?' in path else '?'}{query}"


_ZEROS: dict[str, Any] = {"b": False, "i": 0, "l": 0, "s": "", "t": ZERO_TIME, "u": ZERO_TIME}


def go_encoded(obj: dict[str, Any]) -> bytes:
    """An object as Go's generated code writes it: every field that is no pointer, list or map, whether it is set or not; and a status."""
    kind = protobuf.message_of(obj["apiVersion"], obj["kind"])
    filled = _filled(obj, kind)
    if "status" in {field.name for field in kind.fields}:
        filled.setdefault("status", {})
    return protobuf.encode({**filled, "apiVersion": obj["apiVersion"], "kind": obj["kind"]})


def _filled(obj: dict[str, Any], kind: protobuf.Message) -> dict[str, Any]:
    pointers = set(re.findall(r"(\S+)=\d+\?", protobuf._table()[0][kind.name]))
    filled = dict(obj)
    for field in kind.fields:
        value = obj.get(field.name)
        if field.code != "m":
            if value is None and not field.shape and field.name not in pointers and field.code in _ZEROS:
                filled[field.name] = _ZEROS[field.code]
            continue
        of_field = protobuf.message(field.message)
        if of_field.union:
            continue
        if field.name == "*":
            filled |= _filled(obj, of_field)
        elif field.shape == "[]" and value:
            filled[field.name] = [_filled(item, of_field) for item in value]
        elif field.shape == "{}" and value:
            filled[field.name] = {name: _filled(item, of_field) for name, item in value.items()}
        elif isinstance(value, dict):
            filled[field.name] = _filled(value, of_field)
    return filled


class Reply:
    """An answer: its status, media type, bytes, and the object in them, whichever way it is encoded."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status
        self.headers = response.headers
        self.media: str = response.headers.get("Content-Type", "")
        self.body: bytes = response.data
        self.object: dict[str, Any] = {}
        if self.media == PROTOBUF:
            self.object = protobuf.decode(self.body)
        elif self.media.startswith(JSON):
            self.object = json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.media} {self.object or self.body[:300]!r}>"


class Wire:
    """Requests to one server as one component makes them."""

    def __init__(self, rest: Rest, agent: str = "component") -> None:
        self._pool, self._host = rest._pool, rest._host
        self._agent = agent
        self._token = ""

    def with_token(self, token: str, authority: Path) -> Wire:
        """The same server, asked by whom a bearer token stands for, over connections without a certificate."""
        other = copy.copy(self)
        other._pool, other._token = urllib3.PoolManager(ca_certs=str(authority)), token
        return other

    def _headers(self, accept: str) -> dict[str, str]:
        # Go's transport asks for gzip by itself.
        agent = f"{self._agent}/v1.36.0 (linux/amd64) kubernetes/0000000"
        headers = {"User-Agent": agent, "Accept": accept, "Accept-Encoding": "gzip"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | bytes | None = None,
        *,
        accept: str = TYPED,
        content_type: str = PROTOBUF,
    ) -> Reply:
        """One request; a body is encoded as `content_type` says."""
        headers = self._headers(accept)
        data: bytes | None = None
        if body is not None:
            headers["Content-Type"] = content_type
            if isinstance(body, bytes):
                data = body
            else:
                data = go_encoded(body) if content_type == PROTOBUF else json.dumps(body).encode()
        return Reply(self._pool.request(method, self._host + path, body=data, headers=headers, retries=False))

    @contextmanager
    def watch(self, path: str, accept: str = TYPED) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """The events of a watch in protobuf: their types and objects. The path has its query."""
        headers = self._headers(accept)
        response = self._pool.request(
            "GET", self._host + path, headers=headers, preload_content=False, retries=False
        )
        try:
            assert response.status == 200, (path, response.status, response.read()[:500])
            media = response.headers["Content-Type"]
            assert media == STREAM, (path, media)
            yield _events(response)
        finally:
            response.close()


def _events(response: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    data = b""
    for chunk in response.stream(None, decode_content=False):
        data += chunk
        while len(data) >= 4 and len(data) >= 4 + (size := int.from_bytes(data[:4], "big")):
            event, data = data[4 : 4 + size], data[4 + size :]
            parts = protobuf._parts(event)
            kind, extension = parts[1], parts[2]
            assert isinstance(kind, bytes) and isinstance(extension, bytes)
            raw = protobuf._parts(extension)[1]
            assert isinstance(raw, bytes)
            yield kind.decode(), protobuf.decode(raw)


def initial(events: Iterator[tuple[str, dict[str, Any]]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The objects that a `sendInitialEvents` watch begins with, and the bookmark that ends them."""
    found = []
    for kind, obj in events:
        if kind == "BOOKMARK":
            assert (obj["metadata"].get("annotations") or {}).get(INITIAL_EVENTS_END) == "true", obj
            assert obj["metadata"]["resourceVersion"], obj
            return found, obj
        assert kind == "ADDED", (kind, obj)
        found.append(obj)
    raise AssertionError("the watch ended before its initial events did")
