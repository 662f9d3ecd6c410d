"""Who asks: client certificate or bearer token → `User`.

`Authenticator.authenticate` answers one of three things: a user; `ANONYMOUS` when there is no credential at all; `None` when a
credential was shown and is not good, which is a 401 on every path. A certificate is tried before a token, as upstream does.

A front proxy, which is who shows a certificate of the front-proxy CA, speaks for others: `X-Remote-User`, `X-Remote-Uid`, `X-Remote-Group` (one a
group) and `X-Remote-Extra-<key>` say for whom, as upstream's --requestheader-* flags have it. API servers forward writes to each other so. From
everybody else these headers mean nothing.

Costs: a client certificate is read once a connection and then costs one attribute and one comparison; a static token one
SHA-256; a service account token one SHA-256 once its signature was checked. Tokens are looked up by digest, so a comparison's time tells
nothing about a token. The cache of verified tokens is bounded in entries and in time.
"""

from __future__ import annotations

import csv
import hashlib
import io
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote

from lakh.server.certs import FRONT_PROXY_NAME, IssuerName
from lakh.server.exchange import Request
from lakh.server.http1 import REPEATED
from lakh.server.peer import Peer
from lakh.server.tokens import Claims, InvalidToken, TokenIssuer

ALL_AUTHENTICATED = "system:authenticated"
ALL_UNAUTHENTICATED = "system:unauthenticated"
ALL_NODES = "system:nodes"
ALL_SERVICE_ACCOUNTS = "system:serviceaccounts"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"
NODE_NAME = "authentication.kubernetes.io/node-name"
NODE_UID = "authentication.kubernetes.io/node-uid"

# Two generations of this many verified service account tokens: enough for every component and then some.
VERIFIED_TOKENS = 8192

EXTRA_PREFIX = "x-remote-extra-"

_NO_EXTRA: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated user, as authorisation, admission and `kubectl auth whoami` see it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_EXTRA, hash=False)


ANONYMOUS = User("system:anonymous", groups=(ALL_UNAUTHENTICATED,))
APISERVER = User("system:apiserver", groups=("system:masters", ALL_AUTHENTICATED))
"""An API server itself, as whom it writes what it rests on and asks others."""


class TokensFileError(Exception):
    """The static tokens file cannot be read."""


class _FromCertificate:
    """What a connection's certificate says, kept in `Peer.user_cache`. `user` is None without a usable certificate."""

    __slots__ = ("expires", "proxy", "user")

    def __init__(self, user: User | None, expires: float, *, proxy: bool = False) -> None:
        self.user = user
        self.expires = expires
        self.proxy = proxy


class Loopback:
    """Stands for a connection of a request that the server makes itself."""

    __slots__ = ("user_cache",)

    remote_address = "127.0.0.1:0"

    def __init__(self, user: User) -> None:
        self.user_cache = _FromCertificate(user, float("inf"))


_NO_CERTIFICATE = _FromCertificate(None, float("inf"))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("latin-1", "replace")).digest()


class Authenticator:
    """Tells users by the credentials that the cluster issued."""

    def __init__(
        self,
        tokens_file: Path | None = None,
        issuer: TokenIssuer | None = None,
        *,
        is_live: Callable[[Claims], bool] | None = None,
        front_proxy_issuer: IssuerName | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`is_live` is asked on each request with a service account token whether what it is bound to still exists.

        `front_proxy_issuer`: whose certificates may speak for others.
        """
        self._front_proxy_issuer = front_proxy_issuer
        self._static = load_tokens(tokens_file) if tokens_file is not None else {}
        self._issuer = issuer
        self._is_live = is_live
        self._clock = clock
        self.on_certificate: Callable[[float], None] = lambda seconds: None
        """Told once a connection for how long the client's certificate is still good."""
        self._young: dict[bytes, tuple[Claims, User]] = {}
        self._old: dict[bytes, tuple[Claims, User]] = {}

    def authenticate(self, request: Request) -> User | None:
        """The user; `ANONYMOUS` without a credential; None if the credential is bad."""
        cached = request.connection.user_cache
        if cached is None:
            cached = request.connection.user_cache = self._read_certificate(request.connection)
        if cached.proxy and "x-remote-user" in request.headers:
            return remote_user(request.headers) if self._clock() < cached.expires else None
        if cached.user is not None:
            return cached.user if self._clock() < cached.expires else None
        authorization = request.headers.get("authorization")
        if authorization is None:
            return ANONYMOUS
        parts = authorization.strip().split(" ", 2)
        if len(parts) < 2 or parts[0].lower() != "bearer" or not parts[1]:
            return ANONYMOUS  # another scheme, or an empty token: upstream does not count it as a credential
        return self.authenticate_token(parts[1])

    def review_token(self, token: str, audiences: Sequence[str]) -> tuple[User, tuple[str, ...]] | None:
        """Whose token this is, and which of the audiences it is for: what a TokenReview asks. None for none of them.

        Without audiences, those of this server are meant. Static tokens are for this server only.
        """
        own = self._issuer.audiences if self._issuer is not None else ()
        wanted = tuple(audiences) or own
        user = self._static.get(_digest(token))
        if user is not None:
            shared = tuple(audience for audience in wanted if audience in own)
            return (user, shared) if shared or not wanted else None
        if self._issuer is None:
            return None
        try:
            claims = self._issuer.verify(token, audiences=wanted, now=self._clock())
        except InvalidToken:
            return None
        if self._is_live is not None and not self._is_live(claims):
            return None
        return service_account_user(claims), claims.audiences

    def authenticate_token(self, token: str) -> User | None:
        """The user of a bearer token, or None."""
        digest = _digest(token)
        user = self._static.get(digest)
        if user is not None:
            return user
        if self._issuer is None:
            return None
        known = self._young.get(digest) or self._old.get(digest)
        if known is None:
            try:
                claims = self._issuer.verify(token, now=self._clock())
            except InvalidToken:
                return None
            known = (claims, service_account_user(claims))
            self._remember(digest, known)
        elif self._clock() >= known[0].expires:
            return None
        if self._is_live is not None and not self._is_live(known[0]):
            return None
        return known[1]

    def forwarded(self, request: Request) -> bool:
        """Whether an authenticated request comes from another API server or front proxy."""
        return request.connection.user_cache.proxy  # type: ignore[no-any-return]

    def _read_certificate(self, connection: Peer) -> _FromCertificate:
        certificate = connection.peer_certificate()
        if certificate is None:
            return _NO_CERTIFICATE
        expires = ssl.cert_time_to_seconds(certificate["notAfter"])
        self.on_certificate(expires - self._clock())
        trusted = self._front_proxy_issuer
        if trusted is not None and certificate.get("issuer") == trusted:
            name = next(
                (v for part in certificate.get("subject", ()) for k, v in part if k == "commonName"), ""
            )
            return (
                _FromCertificate(None, expires, proxy=True) if name == FRONT_PROXY_NAME else _NO_CERTIFICATE
            )
        return _user_of_certificate(connection, certificate, expires)

    def _remember(self, digest: bytes, known: tuple[Claims, User]) -> None:
        if len(self._young) >= VERIFIED_TOKENS:
            self._old, self._young = self._young, {}
        self._young[digest] = known


def _user_of_certificate(connection: Peer, certificate: dict[str, Any], expires: float) -> _FromCertificate:
    name = ""
    groups: list[str] = []
    for relative in certificate.get("subject", ()):
        for key, value in relative:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    if not name:
        return _NO_CERTIFICATE
    der = connection.peer_certificate_der() or b""
    extra = {CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)}
    return _FromCertificate(User(name, "", authenticated(groups), MappingProxyType(extra)), expires)


def remote_headers(user: User) -> str:
    """The lines that tell another server who asks. Raises ValueError for a name that no header can carry."""
    lines = [f"X-Remote-User: {_as_header(user.name)}"]
    if user.uid:
        lines.append(f"X-Remote-Uid: {_as_header(user.uid)}")
    lines += [f"X-Remote-Group: {_as_header(group)}" for group in user.groups]
    for key, values in user.extra.items():
        lines += [f"X-Remote-Extra-{quote(key, safe='')}: {_as_header(value)}" for value in values]
    return "".join(line + "\r\n" for line in lines)


def remote_user(headers: Mapping[str, str]) -> User | None:
    """Who asks, as a front proxy says; None when the name is empty."""
    name = from_header(headers["x-remote-user"])
    if not name:
        return None
    extra = {
        unquote(key[len(EXTRA_PREFIX) :]): tuple(map(from_header, value.split(REPEATED)))
        for key, value in headers.items()
        if key.startswith(EXTRA_PREFIX)
    }
    groups = headers.get("x-remote-group")
    return User(
        name,
        from_header(headers.get("x-remote-uid", "")),
        tuple(map(from_header, groups.split(REPEATED))) if groups is not None else (),
        MappingProxyType(extra),
    )


def _as_header(text: str) -> str:
    """A value as it is put into a head, which is written as latin-1."""
    if not text.isprintable() or text != text.strip():
        raise ValueError(f"{text!r} cannot be sent as a header")
    return text.encode().decode("latin-1")


def from_header(text: str) -> str:
    """A header's value, which was read as latin-1, as the UTF-8 that it is."""
    return text.encode("latin-1").decode(errors="replace")


def ignored_token(authorization: str) -> str:
    """The warning about a bearer token that does not count because too many spaces stand before it, or "" (upstream's bearertoken.go)."""
    parts = authorization.strip().split(" ", 2)
    if len(parts) == 3 and parts[0].lower() == "bearer" and not parts[1]:
        return (
            "the provided Authorization header contains extra space before the bearer token, and is ignored"
        )
    return ""


def authenticated(groups: list[str]) -> tuple[str, ...]:
    """The groups with `system:authenticated` among them, each once."""
    return tuple(dict.fromkeys((*groups, ALL_AUTHENTICATED)))


def service_account_user(claims: Claims) -> User:
    """The user that a service account token stands for."""
    extra: dict[str, tuple[str, ...]] = {}
    if claims.token_id:
        extra[CREDENTIAL_ID] = (f"JTI={claims.token_id}",)
    if claims.node is not None:
        extra[NODE_NAME] = (claims.node.name,)
        if claims.node.uid:
            extra[NODE_UID] = (claims.node.uid,)
    if claims.pod is not None:
        extra[POD_NAME] = (claims.pod.name,)
        extra[POD_UID] = (claims.pod.uid,)
    groups = authenticated(service_account_groups(claims.namespace))
    return User(claims.subject, claims.service_account.uid, groups, MappingProxyType(extra))


def service_account_groups(namespace: str) -> list[str]:
    """The groups of a namespace's service accounts."""
    return [ALL_SERVICE_ACCOUNTS, f"{ALL_SERVICE_ACCOUNTS}:{namespace}"]


def load_tokens(path: Path) -> dict[bytes, User]:
    """Read kube-apiserver's static token file: `token,user,uid[,"group1,group2"]`. Users by their token's SHA-256."""
    users: dict[bytes, User] = {}
    try:
        rows = csv.reader(io.StringIO(path.read_text()), skipinitialspace=True)
        for number, row in enumerate(rows, 1):
            if not row:
                continue
            if len(row) < 3:
                raise TokensFileError(
                    f"{path}:{number}: a token needs at least 3 columns (token, user name, user uid), found {len(row)}"
                )
            if not row[0]:
                raise TokensFileError(f"{path}:{number}: the token is empty")
            listed = row[3].split(",") if len(row) > 3 and row[3] else []
            groups = authenticated([group.strip() for group in listed])
            users[hashlib.sha256(row[0].encode()).digest()] = User(row[1], row[2], groups)
    except (OSError, csv.Error, UnicodeError) as error:
        raise TokensFileError(f"cannot read {path}: {error}") from error
    return users
