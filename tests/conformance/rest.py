"""Raw HTTP over the official client's own connections: requests as any client writes them, answers as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubernetes import client
from urllib3 import HTTPHeaderDict

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

# How long a watch that brings nothing is waited for.
WATCH_SECONDS = 240


class Answer:
    """A response: status, headers, and the body as JSON where it is JSON."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status
        self.headers = response.headers
        self.text: str = response.data.decode(errors="replace")
        self.json: Any = None
        if response.headers.get("Content-Type", "").startswith("application/json") and self.text:
            self.json = json.loads(self.text)

    def __repr__(self) -> str:
        return f"<{self.status} {self.text[:2000]}>"

    def ok(self, *codes: int) -> Any:
        """The body of a success (or of one of `codes`)."""
        assert self.status in codes if codes else 200 <= self.status < 300, self
        return self.json

    def refused(self, code: int, reason: str, *texts: str) -> dict[str, Any]:
        """The Status of a refusal, whose message holds `texts`."""
        assert self.status == code, self
        status: dict[str, Any] = self.json
        assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", code), status
        assert status["reason"] == reason, status
        for text in texts:
            assert text in status["message"], (text, status["message"])
        return status

    @property
    def warnings(self) -> list[str]:
        """The texts of Warning headers."""
        return list(self.headers.getlist("Warning"))


class Events:
    """A watch that is being read."""

    def __init__(self, response: Any) -> None:
        self._lines = _lines(response)

    def next(self) -> dict[str, Any]:
        """The next event."""
        event: dict[str, Any] = json.loads(next(self._lines))
        return event

    def until(self, kind: str, *, name: str | None = None) -> dict[str, Any]:
        """The object of the next event of this type (and object)."""
        while True:
            event = self.next()
            if event["type"] == kind and name in (None, event["object"]["metadata"].get("name")):
                found: dict[str, Any] = event["object"]
                return found


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(None, decode_content=False):
        rest += chunk
        *lines, rest = rest.split(b"\n")
        yield from (line for line in lines if line)


class Rest:
    """Requests to one cluster."""

    def __init__(self, api: client.ApiClient) -> None:
        self._pool = api.rest_client.pool_manager
        self._host = api.configuration.host

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request."""
        sent = HTTPHeaderDict({"User-Agent": "conformance/1", "Accept": "application/json"})
        if headers is not None:
            for name in headers:
                sent.discard(name)
            sent.extend(headers)
        if body is not None:
            sent["Content-Type"] = kind
            if not isinstance(body, bytes):
                body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        return Answer(self._pool.request(method, self._host + path, body=body, headers=sent, retries=False))

    def get(self, path: str, accept: str = "application/json") -> Answer:
        return self.call("GET", path, headers={"Accept": accept})

    def post(self, path: str, body: Any, **options: Any) -> Answer:
        return self.call("POST", path, body, **options)

    def put(self, path: str, body: Any, **options: Any) -> Answer:
        return self.call("PUT", path, body, **options)

    def patch(self, path: str, body: Any, kind: str = MERGE_PATCH, **options: Any) -> Answer:
        return self.call("PATCH", path, body, kind, **options)

    def apply(self, path: str, body: Any, manager: str = "applier", *, force: bool = False) -> Answer:
        """A server-side apply."""
        query = f"fieldManager={manager}" + ("&force=true" if force else "")
        return self.patch(f"{path}{'&' if '?' in path else '?'}{query}", body, APPLY_PATCH)

    def delete(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.call("DELETE", path, body, **options)

    @contextmanager
    def watch(self, path: str) -> Iterator[Events]:
        """Events from a path with its query."""
        separator = "&" if "?" in path else "?"
        response = self._pool.request(
            "GET",
            f"{self._host}{path}{separator}watch=true&timeoutSeconds={WATCH_SECONDS}",
            preload_content=False,
            retries=False,
        )
        assert response.status == 200, response.read()
        try:
            yield Events(response)
        finally:
            # Closed, not returned to the pool: there may be more in it.
            response.close()
