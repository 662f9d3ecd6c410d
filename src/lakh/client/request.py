"""Requests before they are sent: what one asks for, and what all of a client say of it, in the words of HTTP/1.1 and of HTTP/2.

A `Request` is made before it has a connection, which may speak either. Whatever can be wrong with it is found then: putting it into bytes never fails.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from .errors import ConnectFailed
from .kubeconfig import Config

__all__ = ["RETRIABLE", "Field", "Heads", "Request"]

TOKEN_FILE_SECONDS = 60.0
"""A token file is read again when this old, as client-go does it."""
RETRIABLE = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that may be carried out twice. They have no body."""

Field = tuple[bytes, bytes]

_JSON = (b"Accept", b"application/json")


class Request:
    """One request. With `payload` it is in bytes of HTTP/1.1 already, and can be sent on such connections only."""

    __slots__ = ("body", "content_type", "fields", "method", "path", "payload")

    def __init__(
        self,
        method: str,
        path: bytes,
        body: bytes | None,
        content_type: str | None,
        fields: list[Field] | None,
        payload: bytes | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.body = body
        self.content_type = content_type
        self.fields = fields
        """Header fields of its own, Accept among them; None when it wants JSON."""
        self.payload = payload

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path!r}>"


def raw(method: str, payload: bytes) -> Request:
    """A request that its caller has put into bytes."""
    return Request(method, b"", None, None, None, payload)


class Heads:
    """Of one client: server, user agent, token."""

    def __init__(self, config: Config, user_agent: str) -> None:
        if not user_agent or not user_agent.isascii() or not user_agent.isprintable():
            raise ValueError(f"user_agent {user_agent!r} must be printable ASCII")
        parts = urlsplit(config.server)
        self.host = parts.netloc.rpartition("@")[2]
        self.era = 0
        """Changes with the token."""
        self._scheme = parts.scheme.encode()
        self._prefix = parts.path
        self._user_agent = user_agent.encode()
        self._token_file = config.token_file
        self._token_read_at = float("-inf")
        self._set_token(config.token)

    def __repr__(self) -> str:
        return f"<Heads of {self.host}>"

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None,
        content_type: str | None,
        headers: Mapping[str, str] | None,
    ) -> Request:
        """Raises ValueError for what would break the request's head, `ConnectFailed` without a token."""
        if self._token_file is not None:
            self._refresh_token()
        path = (self._prefix + target).encode("latin-1")
        if headers is None:
            return Request(method, path, body, content_type, None)
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        text = "".join((*headers, *headers.values()))
        if "\n" in text or "\r" in text or not target.isprintable() or " " in target or " " in method:
            raise ValueError("line break or space in the request's head")
        if not any(name.lower() == b"accept" for name, _ in fields):
            fields.insert(0, _JSON)
        return Request(method, path, body, content_type, fields)

    def payload(self, request: Request) -> bytes:
        """In bytes of HTTP/1.1."""
        if request.payload is not None:
            return request.payload
        method, body, fields = request.method.encode(), request.body, request.fields
        if fields is None:
            extra = b"Accept: application/json\r\n"
        else:
            extra = b"".join([b"%s: %s\r\n" % field for field in fields])
        if body is None:
            length = b"" if request.method in RETRIABLE else b"Content-Length: 0\r\n"
            return b"%s %s%s%s%s\r\n" % (method, request.path, self._head, extra, length)
        if request.content_type:
            extra += b"Content-Type: %s\r\n" % request.content_type.encode()
        return b"%s %s%s%sContent-Length: %d\r\n\r\n%s" % (
            method,
            request.path,
            self._head,
            extra,
            len(body),
            body,
        )

    def fields(self, method: str, content_type: str | None, *, json: bool) -> tuple[list[Field], list[Field]]:
        """Of HTTP/2, what stands before the path and, but for fields of the request's own, behind it."""
        before = [
            (b":method", method.encode()),
            (b":scheme", self._scheme),
            (b":authority", self.host.encode()),
        ]
        after = [(b"user-agent", self._user_agent)]
        if self._authorization:
            after.append((b"authorization", self._authorization))
        if json:
            after.append((b"accept", b"application/json"))
        if content_type:
            after.append((b"content-type", content_type.encode()))
        return before, after

    def _set_token(self, token: str | None) -> None:
        if token and "\n" in token:
            raise ValueError("the token contains a line break")
        self._token = token
        self.era += 1
        self._authorization = f"Bearer {token}".encode("latin-1") if token else b""
        head = b" HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n" % (self.host.encode(), self._user_agent)
        self._head = head + (b"Authorization: %s\r\n" % self._authorization if token else b"")

    def _refresh_token(self) -> None:
        now = time.monotonic()
        if self._token_file is None or now - self._token_read_at < TOKEN_FILE_SECONDS:
            return
        try:
            token = self._token_file.read_text().strip()
        except OSError as error:
            if self._token is None:
                raise ConnectFailed(f"token file {self._token_file}: {error}") from error
            token = self._token  # keep the old one; the server judges it
        self._token_read_at = now
        if token != self._token:
            self._set_token(token)
