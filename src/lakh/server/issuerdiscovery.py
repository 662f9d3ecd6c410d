"""OpenID discovery of the service account issuer: who issues tokens, and by which keys they are checked (KEP-1393).

Others that trust this cluster's tokens (cloud providers, other clusters) read these two documents and need nothing else of the server.
"""

from __future__ import annotations

from lakh.server.codec import encode_json
from lakh.server.documents import Document, Headers, only_get
from lakh.server.tokens import TokenIssuer
from lakh.server.transport import Request, Response

CONFIGURATION_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/openid/v1/jwks"
KEYS_TYPE = b"application/jwk-set+json"
CACHEABLE: Headers = ((b"Cache-Control", b"public, max-age=3600"),)


class IssuerDiscovery:
    """The two documents. `url` is where clients reach this server."""

    def __init__(self, issuer: TokenIssuer, url: str) -> None:
        keys = issuer.jwks()
        configuration = {
            "issuer": issuer.issuer,
            "jwks_uri": url + KEYS_PATH,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key["alg"] for key in keys["keys"]}),
        }
        self._documents = {
            CONFIGURATION_PATH: Document(encode_json(configuration)),
            KEYS_PATH: Document(encode_json(keys), KEYS_TYPE),
        }

    def handle(self, request: Request, path: str) -> Response | None:
        """The document at a path; None when it is of neither. Raises 405."""
        document = self._documents.get(path)
        if document is None:
            return None
        only_get(request)
        return document.answer(request, CACHEABLE)
