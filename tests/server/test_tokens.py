"""Service account tokens: issued, verified, refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from lakh.server.tokens import ISSUER, Claims, InvalidToken, Reference, TokenIssuer

NOW = 1_800_000_000.0


def pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
ISSUERS = {"ES256": TokenIssuer(pem(EC_KEY)), "RS256": TokenIssuer(pem(RSA_KEY))}


def part(token: str, index: int) -> Any:
    text = token.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_token_says_what_it_was_issued_for(algorithm: str) -> None:
    issuer = ISSUERS[algorithm]
    token, expires = issuer.issue(
        "prod",
        "web",
        "u1",
        expiration_seconds=600,
        pod=Reference("web-0", "u2"),
        node=Reference("n1", "u3"),
        now=NOW,
    )
    assert expires == NOW + 600
    assert part(token, 0)["alg"] == algorithm
    payload = part(token, 1)
    assert payload["sub"] == "system:serviceaccount:prod:web"
    assert payload["aud"] == [ISSUER]
    assert payload["kubernetes.io"] == {
        "namespace": "prod",
        "node": {"name": "n1", "uid": "u3"},
        "pod": {"name": "web-0", "uid": "u2"},
        "serviceaccount": {"name": "web", "uid": "u1"},
    }
    assert issuer.verify(token, now=NOW) == Claims(
        "prod",
        Reference("web", "u1"),
        (ISSUER,),
        payload["jti"],
        NOW,
        NOW + 600,
        Reference("web-0", "u2"),
        Reference("n1", "u3"),
    )


def test_time_bounds() -> None:
    issuer = ISSUERS["ES256"]
    token, _ = issuer.issue("a", "b", "u", expiration_seconds=600, now=NOW)
    issuer.verify(token, now=NOW + 599)
    with pytest.raises(InvalidToken, match="expired"):
        issuer.verify(token, now=NOW + 600)
    with pytest.raises(InvalidToken, match="not valid yet"):
        issuer.verify(token, now=NOW - 1)


def test_audiences() -> None:
    issuer = ISSUERS["ES256"]
    token, _ = issuer.issue("a", "b", "u", audiences=["vault", "x"], now=NOW)
    with pytest.raises(InvalidToken, match="another audience"):
        issuer.verify(token, now=NOW)
    assert issuer.verify(token, audiences=["x", "y"], now=NOW).audiences == ("x",)


def test_another_clusters_tokens_are_refused() -> None:
    token, _ = ISSUERS["RS256"].issue("a", "b", "u", now=NOW)
    with pytest.raises(InvalidToken, match="unknown key"):
        ISSUERS["ES256"].verify(token, now=NOW)
    other = TokenIssuer(pem(EC_KEY), issuer="https://other")
    token, _ = other.issue("a", "b", "u", audiences=[ISSUER], now=NOW)
    with pytest.raises(InvalidToken, match="another issuer"):
        ISSUERS["ES256"].verify(token, now=NOW)


def test_an_earlier_key_is_still_trusted() -> None:
    public = EC_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    token, _ = ISSUERS["ES256"].issue("a", "b", "u", now=NOW)
    issuer = TokenIssuer(pem(RSA_KEY), verification_keys_pem=[public])
    assert issuer.verify(token, now=NOW).service_account.name == "b"
    keys = issuer.jwks()["keys"]
    assert [(key["kty"], key["alg"]) for key in keys] == [("RSA", "RS256"), ("EC", "ES256")]
    assert keys[1]["kid"] == part(token, 0)["kid"]


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "", "es256"])
def test_a_token_cannot_choose_its_algorithm(algorithm: str) -> None:
    issuer = ISSUERS["ES256"]
    token, _ = issuer.issue("a", "b", "u", now=NOW)
    _, body, signature = token.split(".")
    head = encode({"alg": algorithm, "kid": part(token, 0)["kid"]})
    for end in ("", signature):
        with pytest.raises(InvalidToken):
            issuer.verify(f"{head}.{body}.{end}", now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"sub": "system:serviceaccount:kube-system:admin"},
        {"kubernetes.io": {"namespace": "a"}},
        {"kubernetes.io": None},
        {"exp": "never"},
        {"aud": 7},
    ],
)
def test_signed_nonsense_is_refused(change: dict[str, Any]) -> None:
    issuer = ISSUERS["RS256"]
    token, _ = issuer.issue("a", "b", "u", now=NOW)
    signed = f"{token.split('.')[0]}.{encode({**part(token, 1), **change})}"
    signature = RSA_KEY.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidToken):
        issuer.verify(f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}", now=NOW)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(where: int, change: int) -> None:
    issuer = ISSUERS["ES256"]
    token, _ = issuer.issue("a", "b", "u", now=NOW)
    raw = bytearray(token.encode())
    raw[where % len(raw)] ^= change
    changed = raw.decode("latin-1")
    try:
        issuer.verify(changed, now=NOW)
    except InvalidToken:
        return
    # Only the unused bits of a last base64 digit may change without changing what was signed.
    assert where % len(raw) == len(raw) - 1


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "é.é.é", "x" * 100_000, "e30.e30.", "W10.W10.W10", "\x00"]
)
def test_garbage_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        ISSUERS["ES256"].verify(token, now=NOW)


def test_keys_of_other_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="P-256"):
        TokenIssuer(pem(ec.generate_private_key(ec.SECP384R1())))
