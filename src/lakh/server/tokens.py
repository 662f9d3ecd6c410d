"""Service account tokens: signed JWTs, as the TokenRequest subresource issues them and the authenticator checks them.

`TokenIssuer` signs with the cluster's key (ES256, or RS256 when the key is RSA) and verifies what it or an earlier key signed. A
token's algorithm is fixed by the key that its `kid` names, never by the token, so no token can choose how it is checked. Claims are
those of kube-apiserver: `sub` is `system:serviceaccount:<namespace>:<name>`, and `kubernetes.io` tells what it is bound to.

Verification costs about 100 µs (the curve); the authenticator remembers its results.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

ISSUER = "https://kubernetes.default.svc.cluster.local"
DEFAULT_EXPIRATION_SECONDS = 3600
MIN_EXPIRATION_SECONDS = 600  # upstream's, for TokenRequest.spec.expirationSeconds
MAX_EXPIRATION_SECONDS = 1 << 32
MAX_TOKEN_BYTES = 16 * 1024
_COORDINATE_BYTES = 32

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class InvalidToken(Exception):
    """The token is not one of ours, or not valid now."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The object that a token is bound to."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    namespace: str
    service_account: Reference
    audiences: tuple[str, ...]
    token_id: str
    not_before: float
    expires: float
    pod: Reference | None = None
    node: Reference | None = None
    secret: Reference | None = None

    @property
    def subject(self) -> str:
        """The user name."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account.name}"


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""


class _Reference(msgspec.Struct):
    name: str
    uid: str = ""


class _Private(msgspec.Struct):
    namespace: str
    serviceaccount: _Reference
    pod: _Reference | None = None
    node: _Reference | None = None
    secret: _Reference | None = None
    warnafter: float | None = None


class _Payload(msgspec.Struct):
    iss: str
    sub: str
    exp: float
    private: _Private = msgspec.field(name="kubernetes.io")
    aud: list[str] | str = msgspec.field(default_factory=list)
    nbf: float = 0
    jti: str = ""


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode
_encode = msgspec.json.Encoder().encode


def _to_base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _from_base64(text: bytes) -> bytes:
    if len(text) % 4 == 1:
        raise InvalidToken("malformed base64")
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _key_id(key: PublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _to_base64(hashlib.sha256(der).digest()).decode()


def _algorithm(key: PublicKey) -> str:
    return "ES256" if isinstance(key, ec.EllipticCurvePublicKey) else "RS256"


def _sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


def _verify(key: PublicKey, signature: bytes, data: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        return
    if len(signature) != 2 * _COORDINATE_BYTES:
        raise InvalidToken("malformed signature")
    r = int.from_bytes(signature[:_COORDINATE_BYTES], "big")
    s = int.from_bytes(signature[_COORDINATE_BYTES:], "big")
    key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))


class TokenIssuer:
    """Issues and verifies service account tokens."""

    def __init__(
        self,
        private_key_pem: bytes,
        *,
        issuer: str = ISSUER,
        audiences: Sequence[str] = (),
        verification_keys_pem: Sequence[bytes] = (),
    ) -> None:
        """`audiences`: those of this API server (the issuer if none). `verification_keys_pem`: earlier public keys still trusted."""
        key = serialization.load_pem_private_key(private_key_pem, None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            if not isinstance(key.curve, ec.SECP256R1):
                raise ValueError("the service account key must be RSA or ECDSA P-256")
        elif not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("the service account key must be RSA or ECDSA P-256")
        self._key: PrivateKey = key
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)
        self._trusted: dict[str, PublicKey] = {}
        public = key.public_key()
        self._trusted[_key_id(public)] = public
        for pem in verification_keys_pem:
            other = serialization.load_pem_public_key(pem)
            if not isinstance(other, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
                raise ValueError("a service account key must be RSA or ECDSA P-256")
            self._trusted[_key_id(other)] = other
        header = {"alg": _algorithm(public), "kid": _key_id(public)}
        self._header = _to_base64(_encode(header))

    def issue(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        audiences: Sequence[str] = (),
        expiration_seconds: int = DEFAULT_EXPIRATION_SECONDS,
        pod: Reference | None = None,
        node: Reference | None = None,
        secret: Reference | None = None,
        warn_after_seconds: int | None = None,
        now: float | None = None,
    ) -> tuple[str, int]:
        """A token for a service account, and the Unix time at which it expires.

        `warn_after_seconds`: from when on its bearer should have fetched another one.
        """
        issued = int(time.time() if now is None else now)
        private: dict[str, Any] = {"namespace": namespace}
        for kind, reference in (("node", node), ("pod", pod), ("secret", secret)):
            if reference is not None:
                private[kind] = {"name": reference.name, **({"uid": reference.uid} if reference.uid else {})}
        private["serviceaccount"] = {"name": name, "uid": uid}
        if warn_after_seconds is not None:
            private["warnafter"] = issued + warn_after_seconds
        expires = issued + expiration_seconds
        payload = {
            "aud": list(audiences or self.audiences),
            "exp": expires,
            "iat": issued,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": issued,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        signed = self._header + b"." + _to_base64(_encode(payload))
        return (signed + b"." + _to_base64(_sign(self._key, signed))).decode(), expires

    def verify(self, token: str, *, audiences: Sequence[str] = (), now: float | None = None) -> Claims:
        """The claims of a token that is ours and valid now for one of the audiences. Raises `InvalidToken`."""
        try:
            raw = token.encode("ascii")
            if len(raw) > MAX_TOKEN_BYTES:
                raise InvalidToken("too long")
            signed, _, signature = raw.rpartition(b".")
            head, _, body = signed.partition(b".")
            header = _decode_header(_from_base64(head))
            key = self._trusted.get(header.kid)
            if key is None or header.alg != _algorithm(key):
                raise InvalidToken("unknown key")
            _verify(key, _from_base64(signature), signed)
            payload = _decode_payload(_from_base64(body))
        except (InvalidSignature, msgspec.MsgspecError, binascii.Error, UnicodeError, ValueError) as error:
            raise InvalidToken("malformed token, or not signed by this cluster") from error
        return self._judge(payload, tuple(audiences) or self.audiences, time.time() if now is None else now)

    def _judge(self, payload: _Payload, wanted: tuple[str, ...], now: float) -> Claims:
        if payload.iss != self.issuer:
            raise InvalidToken("another issuer")
        given = (payload.aud,) if isinstance(payload.aud, str) else tuple(payload.aud)
        shared = tuple(audience for audience in given if audience in wanted)
        if not shared:
            raise InvalidToken("another audience")
        if now >= payload.exp:
            raise InvalidToken("expired")
        if now < int(payload.nbf):
            raise InvalidToken("not valid yet")

        def reference(of: _Reference | None) -> Reference | None:
            return None if of is None else Reference(of.name, of.uid)

        private = payload.private
        claims = Claims(
            private.namespace,
            Reference(private.serviceaccount.name, private.serviceaccount.uid),
            shared,
            payload.jti,
            payload.nbf,
            payload.exp,
            reference(private.pod),
            reference(private.node),
            reference(private.secret),
        )
        if payload.sub != claims.subject:
            raise InvalidToken("the subject does not match the claims")
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517), as served under `/openid/v1/jwks`."""
        keys: list[dict[str, str]] = []
        for kid, key in self._trusted.items():
            common = {"use": "sig", "kid": kid, "alg": _algorithm(key)}
            if isinstance(key, rsa.RSAPublicKey):
                numbers = key.public_numbers()
                size = (numbers.n.bit_length() + 7) // 8
                e = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")
                keys.append(
                    {**common, "kty": "RSA", "n": _number(numbers.n, size), "e": _to_base64(e).decode()}
                )
            else:
                point = key.public_numbers()
                x, y = _number(point.x, _COORDINATE_BYTES), _number(point.y, _COORDINATE_BYTES)
                keys.append({**common, "kty": "EC", "crv": "P-256", "x": x, "y": y})
        return {"keys": keys}


def _number(value: int, size: int) -> str:
    return _to_base64(value.to_bytes(size, "big")).decode()
