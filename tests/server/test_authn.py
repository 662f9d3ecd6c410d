"""Authentication: certificates over real TLS, static tokens, service account tokens, nothing, and bad ones."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from lakh.server import authn
from lakh.server.authn import ANONYMOUS, Authenticator, TokensFileError, User
from lakh.server.certs import ADMIN, NODES, Pki
from lakh.server.tokens import Claims, Reference, TokenIssuer
from lakh.server.transport import Request, Response, Server


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.ensure(tmp_path_factory.mktemp("data"))


@pytest.fixture
def issuer(pki: Pki) -> TokenIssuer:
    return TokenIssuer(pki.service_account_key_file.read_bytes())


class FakeConnection:
    """A connection with the certificate that a test gives it."""

    def __init__(self, certificate: dict[str, Any] | None = None) -> None:
        self.user_cache: Any = None
        self.certificate = certificate
        self.reads = 0

    def peer_certificate(self) -> dict[str, Any] | None:
        self.reads += 1
        return self.certificate

    def peer_certificate_der(self) -> bytes:
        return b"der"


def request(authorization: str | None = None, connection: FakeConnection | None = None) -> Request:
    headers = {} if authorization is None else {"authorization": authorization}
    return Request("GET", "/", "", headers, b"", connection or FakeConnection())  # type: ignore[arg-type]


def certificate(name: str, *groups: str, expires: str = "Jan  1 00:00:00 2100 GMT") -> dict[str, Any]:
    subject = [(("organizationName", group),) for group in groups] + [(("commonName", name),)]
    return {"subject": tuple(subject), "notAfter": expires}


def test_no_credential_is_anonymous(pki: Pki) -> None:
    authenticator = Authenticator(pki.tokens_file)
    for authorization in (None, "", "Bearer", "Bearer ", "Basic YTpi", "Digest x y"):
        assert authenticator.authenticate(request(authorization)) is ANONYMOUS
    assert ANONYMOUS.groups == ("system:unauthenticated",)


def test_static_tokens(pki: Pki) -> None:
    authenticator = Authenticator(pki.tokens_file)
    token, _, uid, _ = next(csv.reader(pki.tokens_file.read_text().splitlines()))
    expected = User("kubernetes-admin", uid, ("system:masters", "system:authenticated"))
    for authorization in (f"Bearer {token}", f"bearer {token}", f" BEARER {token} "):
        assert authenticator.authenticate(request(authorization)) == expected


def test_bad_tokens_are_told_from_none(pki: Pki, issuer: TokenIssuer) -> None:
    token = next(csv.reader(pki.tokens_file.read_text().splitlines()))[0]
    for authenticator in (Authenticator(pki.tokens_file), Authenticator(pki.tokens_file, issuer)):
        for bad in ("x", token[:-1], token + "x", token.upper(), "a.b.c", "é"):
            assert authenticator.authenticate(request(f"Bearer {bad}")) is None


def test_a_certificate_comes_before_a_token_and_is_read_once(pki: Pki) -> None:
    authenticator = Authenticator(pki.tokens_file)
    connection = FakeConnection(certificate("jane", "dev", "ops", "dev"))
    for authorization in (None, "Bearer bad"):
        user = authenticator.authenticate(request(authorization, connection))
        assert user is not None
        assert user == User("jane", "", ("dev", "ops", "system:authenticated"), user.extra)
        assert user.extra[authn.CREDENTIAL_ID] == (f"X509SHA256={hashlib.sha256(b'der').hexdigest()}",)
    assert connection.reads == 1


def test_a_connection_without_a_certificate_is_asked_once() -> None:
    connection = FakeConnection()
    for _ in range(3):
        assert Authenticator().authenticate(request(None, connection)) is ANONYMOUS
    assert connection.reads == 1


def test_a_certificate_without_a_name_is_none() -> None:
    assert Authenticator().authenticate(request(None, FakeConnection(certificate("", "dev")))) is ANONYMOUS


def test_a_certificate_that_expires_on_an_open_connection() -> None:
    now = 0.0
    authenticator = Authenticator(clock=lambda: now)
    connection = FakeConnection(certificate("jane", expires="Jan  1 00:01:00 1970 GMT"))
    assert authenticator.authenticate(request(None, connection)) is not None
    now = 60.0
    assert authenticator.authenticate(request(None, connection)) is None


def test_service_account_tokens(issuer: TokenIssuer) -> None:
    token, _ = issuer.issue("prod", "web", "u1", pod=Reference("web-0", "u2"), node=Reference("n1", "u3"))
    user = Authenticator(issuer=issuer).authenticate(request(f"Bearer {token}"))
    assert user is not None
    assert user.name == "system:serviceaccount:prod:web"
    assert user.uid == "u1"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:prod", "system:authenticated")
    assert user.extra[authn.POD_NAME] == ("web-0",)
    assert user.extra[authn.POD_UID] == ("u2",)
    assert user.extra[authn.NODE_NAME] == ("n1",)
    assert user.extra[authn.NODE_UID] == ("u3",)
    assert user.extra[authn.CREDENTIAL_ID][0].startswith("JTI=")
    assert hash(user) == hash(User(user.name, user.uid, user.groups))


def test_verified_tokens_are_remembered_until_they_expire(
    issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    verified = 0
    verify = issuer.verify

    def count(token: str, **options: Any) -> Claims:
        nonlocal verified
        verified += 1
        return verify(token, **options)

    monkeypatch.setattr(issuer, "verify", count)
    monkeypatch.setattr(authn, "VERIFIED_TOKENS", 2)
    authenticator = Authenticator(issuer=issuer, clock=lambda: now)
    tokens = [issuer.issue("a", f"b{i}", "u", expiration_seconds=600, now=now)[0] for i in range(9)]
    for token in tokens:
        for _ in range(3):
            assert authenticator.authenticate_token(token) is not None
        assert len(authenticator._young) + len(authenticator._old) <= 4
    assert verified == len(tokens)
    now += 600
    assert authenticator.authenticate_token(tokens[-1]) is None


def test_a_token_dies_with_what_it_is_bound_to(issuer: TokenIssuer) -> None:
    alive = {"u1"}
    authenticator = Authenticator(issuer=issuer, is_live=lambda claims: claims.service_account.uid in alive)
    token, _ = issuer.issue("prod", "web", "u1")
    assert authenticator.authenticate_token(token) is not None
    alive.clear()
    assert authenticator.authenticate_token(token) is None


def test_the_tokens_file_format(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('t1,u1,1,"a,b"\n\nt2,u2,2\nt3,u3,3,c,ignored\n')
    users = {user.name: user for user in authn.load_tokens(path).values()}
    assert users["u1"].groups == ("a", "b", "system:authenticated")
    assert users["u2"].groups == ("system:authenticated",)
    assert users["u3"].groups == ("c", "system:authenticated")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t1,u1,1\nt2,u2\n", r"tokens\.csv:2: a token needs at least 3 columns"),
        (",u,1\n", ":1: the token is empty"),
    ],
)
def test_malformed_tokens_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(text)
    with pytest.raises(TokensFileError, match=message):
        Authenticator(path)
    with pytest.raises(TokensFileError, match="cannot read"):
        Authenticator(tmp_path / "missing")


async def test_over_tls(pki: Pki, issuer: TokenIssuer) -> None:
    authenticator = Authenticator(pki.tokens_file, issuer)

    def handler(request: Request) -> Response:
        user = authenticator.authenticate(request)
        if user is None:
            return Response(401, b"null")
        return Response(200, json.dumps([user.name, *user.groups]).encode())

    server = Server(handler)
    await server.start("127.0.0.1", 0, pki.server_context())

    async def ask(stem: str | None, header: str = "") -> Any:
        context = ssl.create_default_context(cafile=str(pki.ca_file))
        if stem is not None:
            context.load_cert_chain(pki.directory / f"{stem}.crt", pki.directory / f"{stem}.key")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        writer.write(f"GET / HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    token, _ = issuer.issue("prod", "web", "u1")
    assert await ask(ADMIN.file_stem) == ["kubernetes-admin", "system:masters", "system:authenticated"]
    assert await ask(NODES.file_stem) == ["system:nodes-fleet", "system:nodes", "system:authenticated"]
    assert (await ask(None, f"Authorization: Bearer {token}\r\n"))[0] == "system:serviceaccount:prod:web"
    assert await ask(None) == ["system:anonymous", "system:unauthenticated"]
    assert await ask(None, "Authorization: Bearer nonsense\r\n") is None
    await server.stop(5)
