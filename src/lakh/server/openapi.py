"""OpenAPI: v3 a document a group version, and v2 in one, from Kubernetes' own definitions.

A document is made when it is first asked for, and its bytes are kept compressed; nothing else is. The v3 index gives each document a hash of
everything that it is made of (not of its bytes, so the index needs no documents): clients cache by that URL for ever, and one who comes
with an old hash is redirected to the new one.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from wsgiref.handlers import format_date_time

from lakh import __version__
from lakh.apis.custom import CustomResource
from lakh.apis.definitions import KUBERNETES_VERSION, schema
from lakh.apis.registry import Registry
from lakh.machinery import errors
from lakh.server import openapi_build, openapi_custom, openapi_operations, openapi_proto, openapi_schemas
from lakh.server.codec import encode_json
from lakh.server.documents import Document, best_type
from lakh.server.openapi_operations import Kinds, Operation
from lakh.server.openapi_schemas import Version
from lakh.server.transport import Request, Response

JSON = "application/json"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# The name that clients sent first and still send; it is no valid media type, so the answer bears the other one.
V2_PROTOBUF_OLD = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_TYPES = (JSON, V2_PROTOBUF, V2_PROTOBUF_OLD)
V3_TYPES = (JSON,)

INDEX_PATH = "/openapi/v3"
V2_PATH = "/openapi/v2"
RELEASE = f"v{KUBERNETES_VERSION}.0"
YEAR_SECONDS = 365 * 24 * 3600


class OpenApi:
    """Serves /openapi/v2 and /openapi/v3. When the registry changes, only the documents that differ are made again."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._documents: dict[str, Document] = {}
        self._known_places: dict[str, str] | None = None

    def _follow(self) -> None:
        """Forgets what was made of a registry that has changed."""
        if self._generation == self._registry.generation:
            return
        self._generation = self._registry.generation
        self._known_places = None
        for name in ("", *V2_TYPES):
            self._documents.pop(name, None)

    def _definitions(self, version: Version) -> Mapping[str, Any]:
        """All definitions, those of custom resources included."""
        resources = [r for r in self._registry.all() if isinstance(r, CustomResource)]
        built_in = schema().definitions()
        return {**built_in, **openapi_custom.definitions(resources, version)} if resources else built_in

    def handle(self, request: Request, path: str, query: dict[str, str]) -> Response | None:
        """The document at a path; None when the path is of no document. Raises 406."""
        path = path.rstrip("/")
        if not path.startswith("/openapi/"):
            return None
        self._follow()
        if path == V2_PATH:
            return self._v2(request)
        if path == INDEX_PATH:
            return self._index().answer(request)
        if path.startswith(INDEX_PATH + "/"):
            return self._v3(request, path.removeprefix(INDEX_PATH + "/"), query.get("hash", ""))
        return None

    @property
    def _places(self) -> dict[str, str]:
        """The places of the v3 index with their hashes."""
        places = self._known_places
        if places is None:
            made_by = _builder_digest()
            custom: dict[str, str] = {}
            for resource in self._registry.all():
                if isinstance(resource, CustomResource):
                    place = f"apis/{resource.api_version}"
                    custom[place] = custom.get(place, "") + resource.structural.digest
            places = self._known_places = {
                place: _digest(made_by, place, repr(listed), custom.get(place, ""))
                for place, listed in self._operations(self._definitions(3)).items()
            }
            self._documents = {
                name: document
                for name, document in self._documents.items()
                if name in places or name in ("", *V2_TYPES)
            }
        return places

    def _operations(self, definitions: Mapping[str, Any]) -> dict[str, list[Operation]]:
        return openapi_build.places(self._registry, Kinds.of(definitions))

    def _index(self) -> Document:
        document = self._documents.get("")
        if document is None:
            paths = {
                place: {"serverRelativeURL": _place_url(place, digest)}
                for place, digest in self._places.items()
            }
            document = self._documents[""] = Document(encode_json({"paths": paths}))
        return document

    def _v3(self, request: Request, place: str, wanted_hash: str) -> Response | None:
        digest = self._places.get(place)
        if digest is None:
            return None
        if best_type(request.headers.get("accept", ""), V3_TYPES) is None:
            raise errors.not_acceptable(V3_TYPES)
        if wanted_hash and wanted_hash != digest:
            location = (b"Location", _place_url(place, digest).encode())
            return Response(301, b"", b"text/html; charset=utf-8", (location,))
        document = self._documents.get(place)
        if document is None or document.etag != f'"{digest}"':
            definitions = self._definitions(3)
            listed = self._operations(definitions)[place]
            made = openapi_build.v3_document(definitions, listed, RELEASE)
            document = self._documents[place] = Document(encode_json(made), etag=digest)
        if not wanted_hash:
            return document.answer(request)
        expires = format_date_time(time.time() + YEAR_SECONDS).encode()
        return document.answer(request, ((b"Cache-Control", b"public, immutable"), (b"Expires", expires)))

    def _v2(self, request: Request) -> Response:
        kind = best_type(request.headers.get("accept", ""), V2_TYPES)
        if kind is None:
            raise errors.not_acceptable(V2_TYPES)
        kind = V2_PROTOBUF if kind == V2_PROTOBUF_OLD else kind
        document = self._documents.get(kind)
        if document is None:
            definitions = self._definitions(2)
            everything = [op for listed in self._operations(definitions).values() for op in listed]
            made = openapi_build.v2_document(definitions, everything, RELEASE)
            body = encode_json(made) if kind == JSON else openapi_proto.encode_v2(made)
            document = self._documents[kind] = Document(body, kind.encode())
        return document.answer(request)


def _place_url(place: str, digest: str) -> str:
    return f"{INDEX_PATH}/{place}?hash={digest}"


@functools.cache
def _builder_digest() -> str:
    """A digest of what turns operations into documents: the definitions' package, and our own code."""
    code = [
        Path(module.__file__).read_bytes().hex()
        for module in (openapi_build, openapi_custom, openapi_operations, openapi_schemas)
        if module.__file__
    ]
    return _digest(__version__, KUBERNETES_VERSION, metadata.version("kubernetes-validate"), *code)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest().upper()
